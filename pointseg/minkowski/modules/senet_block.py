"""Squeeze-and-excitation blocks (Hu et al. 2018) on sparse tensors, with MinkowskiEngine's parameter names."""

from torch import nn

from pointseg.minkowski.broadcast import MinkowskiBroadcastMultiplication
from pointseg.minkowski.global_pooling import MinkowskiGlobalPooling
from pointseg.minkowski.modules.resnet_block import BasicBlock, Bottleneck
from pointseg.minkowski.nonlinearity import MinkowskiReLU, MinkowskiSigmoid
from pointseg.minkowski.ops import MinkowskiLinear
from pointseg.minkowski.sparse_tensor import SparseTensor


class SELayer(nn.Module):
    """Scales each channel of a batch entry by a gate computed from the entry's mean.

    Args:
        channel: C.
        reduction: the gate's hidden layer has C / reduction channels.
        D: number of axes; nothing here depends on it.
    """

    def __init__(self, channel: int, reduction: int = 16, D: int = -1) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            MinkowskiLinear(channel, channel // reduction),
            MinkowskiReLU(inplace=True),
            MinkowskiLinear(channel // reduction, channel),
            MinkowskiSigmoid(),
        )
        self.pooling = MinkowskiGlobalPooling()
        self.broadcast_mul = MinkowskiBroadcastMultiplication()

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.broadcast_mul(x, self.fc(self.pooling(x)))


class SEBasicBlock(BasicBlock):
    """:class:`BasicBlock` with an :class:`SELayer` before the shortcut is added.

    Args:
        inplanes: input channels.
        planes: output channels.
        stride: of the first convolution.
        dilation: of both convolutions.
        downsample: applied to the shortcut where shapes differ.
        reduction: of the gate.
        D: number of axes.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        reduction: int = 16,
        D: int = -1,
    ) -> None:
        super().__init__(inplanes, planes, stride, dilation, downsample, dimension=D)
        self.se = SELayer(planes, reduction=reduction, D=D)

    def body(self, x: SparseTensor) -> SparseTensor:
        return self.se(super().body(x))


class SEBottleneck(Bottleneck):
    """:class:`Bottleneck` with an :class:`SELayer` before the shortcut is added; arguments as :class:`SEBasicBlock`."""

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        D: int = 3,
        reduction: int = 16,
    ) -> None:
        super().__init__(inplanes, planes, stride, dilation, downsample, dimension=D)
        self.se = SELayer(planes * self.expansion, reduction=reduction, D=D)

    def body(self, x: SparseTensor) -> SparseTensor:
        return self.se(super().body(x))
