"""MinkUNet: the residual U-Net of Choy et al. (CVPR 2019) on sparse voxels.

Parameter and module names are those of MinkowskiEngine's published example, so its state dicts load as they are.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from pointseg.errors import InputError
from pointseg.minkowski.rows import norm_relu
from pointseg.models.engine import ME, BasicBlock, Bottleneck


class MinkUNetBase(nn.Module):
    """Four stride-2 levels down and up again, skip connections between equal levels.

    The classes with a letter fix the planes; the others take them.

    Args:
        in_channels: channels of the input features.
        out_channels: classes K of the logits.
        D: spatial axes.
        planes: channels of the 8 levels, 4 down and 4 up.
        init_dim: channels of the stem.
        stem_kernel: kernel size of the stem.

    Raises:
        InputError: there are no 8 planes.
    """

    BLOCK: ClassVar[type[BasicBlock] | type[Bottleneck]]
    LAYERS: ClassVar[tuple[int, ...]]
    PLANES: ClassVar[tuple[int, ...] | None] = None
    INIT_DIM: ClassVar[int] = 32

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        D: int = 3,
        *,
        planes: Sequence[int] | None = None,
        init_dim: int | None = None,
        stem_kernel: int = 5,
    ) -> None:
        super().__init__()
        width = self.PLANES if planes is None else tuple(planes)
        if width is None or len(width) != 8:
            raise InputError(
                f"planes is {width}, but {type(self).__name__} needs 8 channel counts, 4 down and 4 up: pass planes=, "
                f"or use a class with a letter, such as MinkUNet14A."
            )
        self.D = D
        stem = self.INIT_DIM if init_dim is None else init_dim
        expansion = self.BLOCK.expansion
        self.inplanes = stem
        self.conv0p1s1 = ME.MinkowskiConvolution(in_channels, stem, kernel_size=stem_kernel, dimension=D)
        self.bn0 = ME.MinkowskiBatchNorm(stem)

        self.conv1p1s2 = self._down()
        self.bn1 = ME.MinkowskiBatchNorm(self.inplanes)
        self.block1 = self._make_layer(width[0], self.LAYERS[0])

        self.conv2p2s2 = self._down()
        self.bn2 = ME.MinkowskiBatchNorm(self.inplanes)
        self.block2 = self._make_layer(width[1], self.LAYERS[1])

        self.conv3p4s2 = self._down()
        self.bn3 = ME.MinkowskiBatchNorm(self.inplanes)
        self.block3 = self._make_layer(width[2], self.LAYERS[2])

        self.conv4p8s2 = self._down()
        self.bn4 = ME.MinkowskiBatchNorm(self.inplanes)
        self.block4 = self._make_layer(width[3], self.LAYERS[3])

        self.convtr4p16s2 = self._up(width[4])
        self.bntr4 = ME.MinkowskiBatchNorm(width[4])
        self.inplanes = width[4] + width[2] * expansion
        self.block5 = self._make_layer(width[4], self.LAYERS[4])

        self.convtr5p8s2 = self._up(width[5])
        self.bntr5 = ME.MinkowskiBatchNorm(width[5])
        self.inplanes = width[5] + width[1] * expansion
        self.block6 = self._make_layer(width[5], self.LAYERS[5])

        self.convtr6p4s2 = self._up(width[6])
        self.bntr6 = ME.MinkowskiBatchNorm(width[6])
        self.inplanes = width[6] + width[0] * expansion
        self.block7 = self._make_layer(width[6], self.LAYERS[6])

        self.convtr7p2s2 = self._up(width[7])
        self.bntr7 = ME.MinkowskiBatchNorm(width[7])
        self.inplanes = width[7] + stem
        self.block8 = self._make_layer(width[7], self.LAYERS[7])

        self.final = ME.MinkowskiConvolution(self.inplanes, out_channels, kernel_size=1, bias=True, dimension=D)
        self.relu = ME.MinkowskiReLU(inplace=True)
        self._initialise_weights()

    @property
    def feature_dim(self) -> int:
        """Channels of :meth:`features`."""
        return self.final.in_channels

    def forward(self, x: ME.SparseTensor) -> ME.SparseTensor:
        """Logits (V, K) on the rows of ``x``, in their order."""
        return self.final(self.features(x))

    def features(self, x: ME.SparseTensor) -> ME.SparseTensor:
        """The tensor before the last layer, (V, feature_dim) on the rows of ``x``."""
        out_p1 = self._level(self.bn0, self.conv0p1s1(x))
        out_b1p2 = self.block1(self._level(self.bn1, self.conv1p1s2(out_p1)))
        out_b2p4 = self.block2(self._level(self.bn2, self.conv2p2s2(out_b1p2)))
        out_b3p8 = self.block3(self._level(self.bn3, self.conv3p4s2(out_b2p4)))
        out = self.block4(self._level(self.bn4, self.conv4p8s2(out_b3p8)))

        out = self._level(self.bntr4, self.convtr4p16s2(out))
        out = self.block5(ME.cat(out, out_b3p8))
        out = self._level(self.bntr5, self.convtr5p8s2(out))
        out = self.block6(ME.cat(out, out_b2p4))
        out = self._level(self.bntr6, self.convtr6p4s2(out))
        out = self.block7(ME.cat(out, out_b1p2))
        out = self._level(self.bntr7, self.convtr7p2s2(out))
        return self.block8(ME.cat(out, out_p1))

    def _level(self, norm: nn.Module, x: ME.SparseTensor) -> ME.SparseTensor:
        return norm_relu(norm, self.relu, x)

    def _down(self) -> ME.MinkowskiConvolution:
        return ME.MinkowskiConvolution(self.inplanes, self.inplanes, kernel_size=2, stride=2, dimension=self.D)

    def _up(self, planes: int) -> ME.MinkowskiConvolutionTranspose:
        return ME.MinkowskiConvolutionTranspose(self.inplanes, planes, kernel_size=2, stride=2, dimension=self.D)

    def _make_layer(self, planes: int, blocks: int) -> nn.Sequential:
        width = planes * self.BLOCK.expansion
        downsample = None
        if self.inplanes != width:
            downsample = nn.Sequential(
                ME.MinkowskiConvolution(self.inplanes, width, kernel_size=1, dimension=self.D),
                ME.MinkowskiBatchNorm(width),
            )
        layers = [self.BLOCK(self.inplanes, planes, downsample=downsample, dimension=self.D)]
        self.inplanes = width
        layers += [self.BLOCK(width, planes, dimension=self.D) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def _initialise_weights(self) -> None:
        # As the published example: transposed convolutions keep their uniform start.
        for module in self.modules():
            if isinstance(module, ME.MinkowskiConvolution):
                ME.utils.kaiming_normal_(module.kernel, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, ME.MinkowskiBatchNorm):
                nn.init.ones_(module.bn.weight)
                nn.init.zeros_(module.bn.bias)


class MinkUNet14(MinkUNetBase):
    BLOCK = BasicBlock
    LAYERS = (1, 1, 1, 1, 1, 1, 1, 1)


class MinkUNet18(MinkUNetBase):
    BLOCK = BasicBlock
    LAYERS = (2, 2, 2, 2, 2, 2, 2, 2)


class MinkUNet34(MinkUNetBase):
    BLOCK = BasicBlock
    LAYERS = (2, 3, 4, 6, 2, 2, 2, 2)


class MinkUNet50(MinkUNetBase):
    BLOCK = Bottleneck
    LAYERS = (2, 3, 4, 6, 2, 2, 2, 2)


class MinkUNet101(MinkUNetBase):
    BLOCK = Bottleneck
    LAYERS = (2, 3, 4, 23, 2, 2, 2, 2)


class MinkUNet14A(MinkUNet14):
    PLANES = (32, 64, 128, 256, 128, 128, 96, 96)


class MinkUNet14B(MinkUNet14):
    PLANES = (32, 64, 128, 256, 128, 128, 128, 128)


class MinkUNet14C(MinkUNet14):
    PLANES = (32, 64, 128, 256, 192, 192, 128, 128)


class MinkUNet14D(MinkUNet14):
    PLANES = (32, 64, 128, 256, 384, 384, 384, 384)


class MinkUNet18A(MinkUNet18):
    PLANES = (32, 64, 128, 256, 128, 128, 96, 96)


class MinkUNet18B(MinkUNet18):
    PLANES = (32, 64, 128, 256, 128, 128, 128, 128)


class MinkUNet18D(MinkUNet18):
    PLANES = (32, 64, 128, 256, 384, 384, 384, 384)


class MinkUNet34A(MinkUNet34):
    PLANES = (32, 64, 128, 256, 256, 128, 64, 64)


class MinkUNet34B(MinkUNet34):
    PLANES = (32, 64, 128, 256, 256, 128, 64, 32)


class MinkUNet34C(MinkUNet34):
    PLANES = (32, 64, 128, 256, 256, 128, 96, 96)


MODELS: dict[str, type[MinkUNetBase]] = {
    model.__name__: model
    for model in (
        MinkUNet14, MinkUNet18, MinkUNet34, MinkUNet50, MinkUNet101,
        MinkUNet14A, MinkUNet14B, MinkUNet14C, MinkUNet14D,
        MinkUNet18A, MinkUNet18B, MinkUNet18D,
        MinkUNet34A, MinkUNet34B, MinkUNet34C,
    )
}  # fmt: skip
