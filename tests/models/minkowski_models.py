"""Networks as people write them for MinkowskiEngine; the tests run them with only the imports' package changed.

Two styles: the engine's own ResNet example, and the Res16UNet of semantic segmentation code (helper functions around
KernelGenerator, MinkowskiNetwork as the base, functional activations).
"""

# ruff: noqa: N813, N814, N817, UP008
# The spelling of imports and calls is theirs.

from enum import Enum

import MinkowskiEngine as ME
import MinkowskiEngine.MinkowskiFunctional as MEF
import MinkowskiEngine.MinkowskiOps as me
import torch.nn as nn
from MinkowskiEngine import MinkowskiNetwork
from MinkowskiEngine.modules.resnet_block import BasicBlock, Bottleneck


class ResNet(nn.Module):
    """A classifier in the style of the ResNet example: points in, one row of logits a batch entry out."""

    def __init__(self, in_channels, out_channels, D=3, block=BasicBlock, layers=(1, 1), width=4):
        nn.Module.__init__(self)
        self.D = D
        self.inplanes = width
        self.conv1 = nn.Sequential(
            ME.MinkowskiConvolution(in_channels, width, kernel_size=3, stride=2, dimension=D),
            ME.MinkowskiInstanceNorm(width),
            ME.MinkowskiReLU(inplace=True),
            ME.MinkowskiMaxPooling(kernel_size=2, stride=2, dimension=D),
        )
        self.layer1 = self._make_layer(block, width, layers[0], stride=2)
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.conv5 = nn.Sequential(
            ME.MinkowskiDropout(),
            ME.MinkowskiConvolution(self.inplanes, self.inplanes, kernel_size=3, stride=3, dimension=D),
            ME.MinkowskiInstanceNorm(self.inplanes),
            ME.MinkowskiGELU(),
        )
        self.glob_pool = ME.MinkowskiGlobalMaxPooling()
        self.final = ME.MinkowskiLinear(self.inplanes, out_channels, bias=True)
        self.weight_initialization()

    def weight_initialization(self):
        for m in self.modules():
            if isinstance(m, ME.MinkowskiConvolution):
                ME.utils.kaiming_normal_(m.kernel, mode="fan_out", nonlinearity="relu")
            if isinstance(m, ME.MinkowskiBatchNorm):
                nn.init.constant_(m.bn.weight, 1)
                nn.init.constant_(m.bn.bias, 0)

    def _make_layer(self, block, planes, blocks, stride=1, dilation=1, bn_momentum=0.1):
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                ME.MinkowskiConvolution(
                    self.inplanes, planes * block.expansion, kernel_size=1, stride=stride, dimension=self.D
                ),
                ME.MinkowskiBatchNorm(planes * block.expansion),
            )
        layers = [
            block(self.inplanes, planes, stride=stride, dilation=dilation, downsample=downsample, dimension=self.D)
        ]
        self.inplanes = planes * block.expansion
        for _ in range(1, blocks):
            layers.append(block(self.inplanes, planes, stride=1, dilation=dilation, dimension=self.D))
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.conv1(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.conv5(x)
        x = self.glob_pool(x)
        return self.final(x)


class ResNetBottleneck(ResNet):
    def __init__(self, in_channels, out_channels, D=3):
        ResNet.__init__(self, in_channels, out_channels, D, block=Bottleneck, layers=(1, 2), width=2)


class ConvType(Enum):
    HYPERCUBE = 0
    SPATIAL_HYPERCUBE = 1
    HYPERCROSS = 2


conv_to_region_type = {
    ConvType.HYPERCUBE: ME.RegionType.HYPER_CUBE,
    ConvType.SPATIAL_HYPERCUBE: ME.RegionType.HYPER_CUBE,
    ConvType.HYPERCROSS: ME.RegionType.HYPER_CROSS,
}


def convert_conv_type(conv_type, kernel_size, D):
    region_type = conv_to_region_type[conv_type]
    axis_types = None
    if conv_type == ConvType.SPATIAL_HYPERCUBE and D == 4:
        kernel_size = [kernel_size] * 3 + [1]
    return region_type, axis_types, kernel_size


def kernel_generator(conv_type, kernel_size, stride, dilation, D):
    region_type, axis_types, kernel_size = convert_conv_type(conv_type, kernel_size, D)
    return ME.KernelGenerator(
        kernel_size, stride, dilation, region_type=region_type, axis_types=axis_types, dimension=D
    )


def conv(in_planes, out_planes, kernel_size, stride=1, dilation=1, bias=False, conv_type=ConvType.HYPERCUBE, D=-1):
    assert D > 0, "Dimension must be a positive integer"
    return ME.MinkowskiConvolution(
        in_channels=in_planes,
        out_channels=out_planes,
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        bias=bias,
        kernel_generator=kernel_generator(conv_type, kernel_size, stride, dilation, D),
        dimension=D,
    )


def conv_tr(in_planes, out_planes, kernel_size, upsample_stride=1, bias=False, conv_type=ConvType.HYPERCUBE, D=-1):
    assert D > 0, "Dimension must be a positive integer"
    return ME.MinkowskiConvolutionTranspose(
        in_channels=in_planes,
        out_channels=out_planes,
        kernel_size=kernel_size,
        stride=upsample_stride,
        dilation=1,
        bias=bias,
        kernel_generator=kernel_generator(conv_type, kernel_size, upsample_stride, 1, D),
        dimension=D,
    )


def sum_pool(kernel_size, stride=1, dilation=1, conv_type=ConvType.HYPERCUBE, D=-1):
    assert D > 0, "Dimension must be a positive integer"
    return ME.MinkowskiSumPooling(
        kernel_size=kernel_size,
        stride=stride,
        dilation=dilation,
        kernel_generator=kernel_generator(conv_type, kernel_size, stride, dilation, D),
        dimension=D,
    )


class BlockBase(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride=1, downsample=None, conv_type=ConvType.HYPERCUBE, bn_momentum=0.1, D=3):
        super().__init__()
        self.conv1 = conv(inplanes, planes, kernel_size=3, stride=stride, conv_type=conv_type, D=D)
        self.norm1 = ME.MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.conv2 = conv(planes, planes, kernel_size=3, conv_type=conv_type, D=D)
        self.norm2 = ME.MinkowskiBatchNorm(planes, momentum=bn_momentum)
        self.relu = ME.MinkowskiReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        residual = x
        out = MEF.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return self.relu(out)


class Res16UNetBase(MinkowskiNetwork):
    BLOCK = BlockBase
    PLANES = (4, 4, 8, 8, 8, 4, 4, 4)
    LAYERS = (1, 1, 1, 1, 1, 1, 1, 1)
    INIT_DIM = 4
    NON_BLOCK_CONV_TYPE = ConvType.SPATIAL_HYPERCUBE
    CONV_TYPE = ConvType.HYPERCUBE

    def __init__(self, in_channels, out_channels, D=3):
        super(Res16UNetBase, self).__init__(D)
        self.inplanes = self.INIT_DIM
        self.conv0p1s1 = conv(in_channels, self.inplanes, kernel_size=5, conv_type=self.NON_BLOCK_CONV_TYPE, D=D)
        self.bn0 = ME.MinkowskiBatchNorm(self.inplanes, momentum=0.02)

        skips = [self.inplanes]
        for level in range(4):
            name = f"{level + 1}p{2**level}s2"
            setattr(self, f"conv{name}", conv(self.inplanes, self.inplanes, kernel_size=2, stride=2, D=D))
            setattr(self, f"bn{level + 1}", ME.MinkowskiBatchNorm(self.inplanes, momentum=0.02))
            setattr(self, f"block{level + 1}", self._make_layer(self.PLANES[level], self.LAYERS[level]))
            skips.append(self.inplanes)
        for level in range(4, 8):
            name = f"{level}p{2 ** (8 - level)}s2"
            planes = self.PLANES[level]
            setattr(self, f"convtr{name}", conv_tr(self.inplanes, planes, kernel_size=2, upsample_stride=2, D=D))
            setattr(self, f"bntr{level}", ME.MinkowskiBatchNorm(planes, momentum=0.02))
            self.inplanes = planes + skips[7 - level]
            setattr(self, f"block{level + 1}", self._make_layer(planes, self.LAYERS[level]))
        self.pool = sum_pool(kernel_size=3, D=D)
        self.final = conv(self.inplanes, out_channels, kernel_size=1, stride=1, bias=True, D=D)
        self.relu = ME.MinkowskiReLU(inplace=True)

    def _make_layer(self, planes, blocks):
        downsample = None
        if self.inplanes != planes * self.BLOCK.expansion:
            downsample = nn.Sequential(
                conv(self.inplanes, planes * self.BLOCK.expansion, kernel_size=1, stride=1, bias=False, D=self.D),
                ME.MinkowskiBatchNorm(planes * self.BLOCK.expansion),
            )
        layers = [self.BLOCK(self.inplanes, planes, downsample=downsample, conv_type=self.CONV_TYPE, D=self.D)]
        self.inplanes = planes * self.BLOCK.expansion
        layers += [self.BLOCK(self.inplanes, planes, conv_type=self.CONV_TYPE, D=self.D) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x):
        out = MEF.relu(self.bn0(self.conv0p1s1(x)))
        skips = [out]
        for level in range(4):
            name = f"{level + 1}p{2**level}s2"
            out = self.relu(getattr(self, f"bn{level + 1}")(getattr(self, f"conv{name}")(out)))
            out = getattr(self, f"block{level + 1}")(out)
            skips.append(out)
        for level in range(4, 8):
            name = f"{level}p{2 ** (8 - level)}s2"
            out = self.relu(getattr(self, f"bntr{level}")(getattr(self, f"convtr{name}")(out)))
            out = me.cat(out, skips[7 - level])
            out = getattr(self, f"block{level + 1}")(out)
        out = out + self.pool(out)
        return self.final(MEF.dropout(out, p=0.5, training=self.training))


class Res16UNet34C(Res16UNetBase):
    LAYERS = (2, 3, 4, 6, 2, 2, 2, 2)


class STRes16UNet(Res16UNetBase):
    """Space and time: kernels that do not reach along time."""

    CONV_TYPE = ConvType.SPATIAL_HYPERCUBE

    def __init__(self, in_channels, out_channels, D=4):
        super(STRes16UNet, self).__init__(in_channels, out_channels, D)


class STRes16UNetCross(STRes16UNet):
    CONV_TYPE = ConvType.HYPERCROSS
