"""Torch modules that act on each row alone, under MinkowskiEngine's names."""

from typing import Any, TypeVar

from torch import nn

from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor_field import TensorField

Rows = TypeVar("Rows", SparseTensor, TensorField)


class MinkowskiModule(nn.Module):
    """Applies ``MODULE(*args, **kwargs)`` of torch.nn to the features of a sparse tensor or tensor field."""

    MODULE: type[nn.Module]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.module = self.MODULE(*args, **kwargs)

    def forward(self, input: Rows) -> Rows:
        return input.with_features(self.module(input.F))


class MinkowskiReLU(MinkowskiModule):
    MODULE = nn.ReLU


class MinkowskiReLU6(MinkowskiModule):
    MODULE = nn.ReLU6


class MinkowskiPReLU(MinkowskiModule):
    MODULE = nn.PReLU


class MinkowskiLeakyReLU(MinkowskiModule):
    MODULE = nn.LeakyReLU


class MinkowskiELU(MinkowskiModule):
    MODULE = nn.ELU


class MinkowskiSELU(MinkowskiModule):
    MODULE = nn.SELU


class MinkowskiCELU(MinkowskiModule):
    MODULE = nn.CELU


class MinkowskiGELU(MinkowskiModule):
    MODULE = nn.GELU


class MinkowskiSiLU(MinkowskiModule):
    MODULE = nn.SiLU


class MinkowskiHardswish(MinkowskiModule):
    MODULE = nn.Hardswish


class MinkowskiSoftplus(MinkowskiModule):
    MODULE = nn.Softplus


class MinkowskiSigmoid(MinkowskiModule):
    MODULE = nn.Sigmoid


class MinkowskiTanh(MinkowskiModule):
    MODULE = nn.Tanh


class MinkowskiThreshold(MinkowskiModule):
    MODULE = nn.Threshold


class MinkowskiSoftmax(MinkowskiModule):
    MODULE = nn.Softmax


class MinkowskiLogSoftmax(MinkowskiModule):
    MODULE = nn.LogSoftmax


class MinkowskiDropout(MinkowskiModule):
    MODULE = nn.Dropout


class MinkowskiAlphaDropout(MinkowskiModule):
    MODULE = nn.AlphaDropout
