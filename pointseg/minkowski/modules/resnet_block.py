"""Residual blocks (He et al. 2016) on sparse tensors, with MinkowskiEngine's parameter names."""

from torch import nn

from pointseg.minkowski.convolution import MinkowskiConvolution
from pointseg.minkowski.nonlinearity import MinkowskiReLU
from pointseg.minkowski.normalization import MinkowskiBatchNorm
from pointseg.minkowski.rows import add_relu, norm_relu
from pointseg.minkowski.sparse_tensor import SparseTensor


class BasicBlock(nn.Module):
    """Two 3^D convolutions around a shortcut.

    Args:
        inplanes: input channels.
        planes: output channels.
        stride: of the first convolution.
        dilation: of both convolutions.
        downsample: applied to the shortcut where shapes differ.
        bn_momentum: of the batch norms.
        dimension: D.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        bn_momentum: float = 0.1,
        dimension: int = -1,
    ) -> None:
        super().__init__()
        self.conv1 = MinkowskiConvolution(
            inplanes, planes, kernel_size=3, stride=stride, dilation=dilation, dimension=dimension
        )
        self.norm1 = MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.conv2 = MinkowskiConvolution(planes, planes, kernel_size=3, dilation=dilation, dimension=dimension)
        self.norm2 = MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.relu = MinkowskiReLU(inplace=True)
        self.downsample = downsample

    def body(self, x: SparseTensor) -> SparseTensor:
        """What is added to the shortcut."""
        return self.norm2(self.conv2(norm_relu(self.norm1, self.relu, self.conv1(x))))

    def forward(self, x: SparseTensor) -> SparseTensor:
        return add_relu(self.relu, self.body(x), x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """1, 3^D, 1 convolutions around a shortcut; the output has four times ``planes`` channels.

    Arguments as :class:`BasicBlock`.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        dilation: int = 1,
        downsample: nn.Module | None = None,
        bn_momentum: float = 0.1,
        dimension: int = -1,
    ) -> None:
        super().__init__()
        self.conv1 = MinkowskiConvolution(inplanes, planes, kernel_size=1, dimension=dimension)
        self.norm1 = MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.conv2 = MinkowskiConvolution(
            planes, planes, kernel_size=3, stride=stride, dilation=dilation, dimension=dimension
        )
        self.norm2 = MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.conv3 = MinkowskiConvolution(planes, planes * self.expansion, kernel_size=1, dimension=dimension)
        self.norm3 = MinkowskiBatchNorm(planes * self.expansion, momentum=bn_momentum)
        self.relu = MinkowskiReLU(inplace=True)
        self.downsample = downsample

    def body(self, x: SparseTensor) -> SparseTensor:
        """What is added to the shortcut."""
        out = norm_relu(self.norm1, self.relu, self.conv1(x))
        out = norm_relu(self.norm2, self.relu, self.conv2(out))
        return self.norm3(self.conv3(out))

    def forward(self, x: SparseTensor) -> SparseTensor:
        return add_relu(self.relu, self.body(x), x if self.downsample is None else self.downsample(x))
