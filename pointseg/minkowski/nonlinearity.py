"""Torch modules that act on each row alone, under MinkowskiEngine's names."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor_field import TensorField

Rows = TypeVar("Rows", SparseTensor, TensorField)


class MinkowskiNonlinearityBase(MinkowskiModuleBase):
    """Applies ``MODULE(*args, **kwargs)`` of torch.nn to the features of a sparse tensor or tensor field."""

    MODULE: type[nn.Module]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.module = self.MODULE(*args, **kwargs)

    def forward(self, input: Rows) -> Rows:
        return input.with_features(self.module(input.F))


class MinkowskiELU(MinkowskiNonlinearityBase):
    MODULE = nn.ELU


class MinkowskiHardshrink(MinkowskiNonlinearityBase):
    MODULE = nn.Hardshrink


class MinkowskiHardsigmoid(MinkowskiNonlinearityBase):
    MODULE = nn.Hardsigmoid


class MinkowskiHardtanh(MinkowskiNonlinearityBase):
    MODULE = nn.Hardtanh


class MinkowskiHardswish(MinkowskiNonlinearityBase):
    MODULE = nn.Hardswish


class MinkowskiLeakyReLU(MinkowskiNonlinearityBase):
    MODULE = nn.LeakyReLU


class MinkowskiLogSigmoid(MinkowskiNonlinearityBase):
    MODULE = nn.LogSigmoid


class MinkowskiPReLU(MinkowskiNonlinearityBase):
    MODULE = nn.PReLU


class MinkowskiReLU(MinkowskiNonlinearityBase):
    MODULE = nn.ReLU


class MinkowskiReLU6(MinkowskiNonlinearityBase):
    MODULE = nn.ReLU6


class MinkowskiRReLU(MinkowskiNonlinearityBase):
    MODULE = nn.RReLU


class MinkowskiSELU(MinkowskiNonlinearityBase):
    MODULE = nn.SELU


class MinkowskiCELU(MinkowskiNonlinearityBase):
    MODULE = nn.CELU


class MinkowskiGELU(MinkowskiNonlinearityBase):
    MODULE = nn.GELU


class MinkowskiSigmoid(MinkowskiNonlinearityBase):
    MODULE = nn.Sigmoid


class MinkowskiSiLU(MinkowskiNonlinearityBase):
    MODULE = nn.SiLU


class MinkowskiSoftplus(MinkowskiNonlinearityBase):
    MODULE = nn.Softplus


class MinkowskiSoftshrink(MinkowskiNonlinearityBase):
    MODULE = nn.Softshrink


class MinkowskiSoftsign(MinkowskiNonlinearityBase):
    MODULE = nn.Softsign


class MinkowskiTanh(MinkowskiNonlinearityBase):
    MODULE = nn.Tanh


class MinkowskiTanhshrink(MinkowskiNonlinearityBase):
    MODULE = nn.Tanhshrink


class MinkowskiThreshold(MinkowskiNonlinearityBase):
    MODULE = nn.Threshold


class MinkowskiSoftmin(MinkowskiNonlinearityBase):
    MODULE = nn.Softmin


class MinkowskiSoftmax(MinkowskiNonlinearityBase):
    MODULE = nn.Softmax


class MinkowskiLogSoftmax(MinkowskiNonlinearityBase):
    MODULE = nn.LogSoftmax


class MinkowskiDropout(MinkowskiNonlinearityBase):
    MODULE = nn.Dropout


class MinkowskiAlphaDropout(MinkowskiNonlinearityBase):
    MODULE = nn.AlphaDropout


class MinkowskiAdaptiveLogSoftmaxWithLoss(MinkowskiNonlinearityBase):
    """torch's adaptive softmax over the rows; unlike the other modules it takes a target and returns torch's result."""

    MODULE = nn.AdaptiveLogSoftmaxWithLoss

    def forward(self, input: Any, target: Tensor) -> Any:  # type: ignore[override]
        return self.module(input.F, target)


class MinkowskiSinusoidal(MinkowskiModuleBase):
    """``sin(F @ kernel + bias) * coef`` with learned ``kernel`` (C_in, C_out), ``bias`` and ``coef`` (1, C_out)."""

    def __init__(self, in_channel: int, out_channel: int) -> None:
        super().__init__()
        self.in_channel = in_channel
        self.out_channel = out_channel
        self.kernel = nn.Parameter(torch.rand(in_channel, out_channel))
        self.bias = nn.Parameter(torch.rand(1, out_channel))
        self.coef = nn.Parameter(torch.rand(1, out_channel))

    def forward(self, input: Rows) -> Rows:
        return input.with_features(torch.sin(input.F @ self.kernel + self.bias) * self.coef)
