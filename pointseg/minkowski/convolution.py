"""Convolution layers: plain, transposed, generative, channel-wise."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.minkowski.convolve import channelwise_convolve, convolve, product_dtype
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import ConvolutionMode, RegionType
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.keys import keyed, settled
from pointseg.minkowski.layer import Coordinates, NeighbourhoodLayer, kernel_map
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.sparse_tensor import SparseTensor


def convolved(
    x: SparseTensor, key: CoordinateMapKey, kernel: Tensor, generator: KernelGenerator, is_transpose: bool
) -> Tensor:
    """(V_out, C_out) features of ``x`` convolved onto the map ``key``; ``kernel`` (K, C_in, C_out) or (C_in, C_out)."""
    if kernel.ndim == 3:
        return convolve(x.F, kernel, kernel_map(x, key, generator, is_transpose))
    if key == x.coordinate_map_key:
        dtype = product_dtype(x.F, kernel)
        return x.F.to(dtype) @ kernel.to(dtype)
    return convolve(x.F, kernel[None], kernel_map(x, key, generator, is_transpose))


class MinkowskiConvolutionFunction:
    is_transpose = False

    @classmethod
    def apply(
        cls,
        input_features: Tensor,
        kernel_weights: Tensor,
        kernel_generator: KernelGenerator,
        convolution_mode: ConvolutionMode,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(V_out, C_out); ``kernel_weights`` (K, C_in, C_out)."""
        x = keyed(input_features, in_coordinate_map_key, coordinate_manager)
        key = settled(out_coordinate_map_key, x, kernel_generator, cls.is_transpose)
        return convolved(x, key, kernel_weights, kernel_generator, cls.is_transpose)


class MinkowskiConvolutionTransposeFunction(MinkowskiConvolutionFunction):
    is_transpose = True


class MinkowskiConvolutionBase(NeighbourhoodLayer):
    """Weights and shape of a convolution layer; see the layers below.

    ``kernel`` is (K, C_in, C_out) in MinkowskiEngine's offset order, (C_in, C_out) where all strides are 1 and
    the only offset is zero; ``bias`` is (1, C_out) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        bias: bool = False,
        kernel_generator: KernelGenerator | None = None,
        is_transpose: bool = False,
        expand_coordinates: bool = False,
        convolution_mode: ConvolutionMode = ConvolutionMode.DEFAULT,
        dimension: int | None = -1,
    ) -> None:
        if kernel_generator is None:
            kernel_generator = KernelGenerator(
                kernel_size, stride, dilation, dimension=-1 if dimension is None else dimension
            )
        # MinkowskiEngine's rule: the layer's argument wins over the generator's.
        super().__init__(kernel_generator.expanding(expand_coordinates), is_transpose)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.convolution_mode = convolution_mode
        self.conv = MinkowskiConvolutionTransposeFunction() if is_transpose else MinkowskiConvolutionFunction()
        only_centre = not any(any(offset) for offset in kernel_generator.unit_offsets)
        self.use_mm = only_centre and not kernel_generator.is_strided
        self.kernel = self.make_kernel()
        self.bias = nn.Parameter(torch.empty(1, out_channels)) if bias else None
        self.reset_parameters(is_transpose)

    def reset_parameters(self, is_transpose: bool = False) -> None:
        """Uniform in +-1/sqrt(channels * K), channels of the output for transposed layers (MinkowskiEngine's rule)."""
        channels = self.out_channels if is_transpose else self.in_channels
        limit = 1 / math.sqrt(channels * self.kernel_generator.kernel_volume)
        nn.init.uniform_(self.kernel, -limit, limit)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -limit, limit)

    def forward(self, input: SparseTensor, coordinates: Coordinates = None) -> SparseTensor:
        """The layer's output at its own coordinates, or at ``coordinates`` where they are given."""
        self.check_input(input)
        if input.F.shape[1] != self.in_channels:
            raise InputError(f"the input has {input.F.shape[1]} channels, but this layer takes {self.in_channels}.")
        key = self.output_key(input, coordinates)
        features = self.convolved(input, key)
        if self.bias is not None:
            features = features + self.bias.to(features.dtype)
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    def make_kernel(self) -> nn.Parameter:
        channels = (self.in_channels, self.out_channels)
        return nn.Parameter(torch.empty(channels if self.use_mm else (self.kernel_generator.kernel_volume, *channels)))

    def convolved(self, input: SparseTensor, key: CoordinateMapKey) -> Tensor:
        """(V_out, C_out) before the bias."""
        return convolved(input, key, self.kernel, self.kernel_generator, self.is_transpose)

    def extra_repr(self) -> str:
        kernel = self.kernel_generator
        size = kernel.kernel_volume if kernel.region_type is RegionType.CUSTOM else list(kernel.kernel_size)
        return (
            f"in={self.in_channels}, out={self.out_channels}, kernel_size={size}, "
            f"stride={list(kernel.kernel_stride)}, dilation={list(kernel.kernel_dilation)}"
        )


class MinkowskiConvolution(MinkowskiConvolutionBase):
    """Convolution on sparse tensors: ``out[u] = sum_k in[u + offset_k] @ kernel[k] (+ bias)``.

    With stride 1 the output has the input's coordinates; with stride s, the input's cells of s times the stride; with
    ``expand_coordinates`` every place on the output's grid that the kernel reaches.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: one int or D ints; odd sizes are centred, even sizes start at the row itself.
        stride: one int or D ints.
        dilation: one int or D ints.
        bias: adds a (1, C_out) bias.
        kernel_generator: replaces the kernel arguments.
        expand_coordinates: let the output grow.
        convolution_mode: accepted for compatibility; the engine chooses.
        dimension: D, 1 to 4.

    Raises:
        InputError: an argument is out of range; on use, the input does not fit the layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        bias: bool = False,
        kernel_generator: KernelGenerator | None = None,
        expand_coordinates: bool = False,
        convolution_mode: ConvolutionMode = ConvolutionMode.DEFAULT,
        dimension: int | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation,
            bias,
            kernel_generator,
            is_transpose=False,
            expand_coordinates=expand_coordinates,
            convolution_mode=convolution_mode,
            dimension=dimension,
        )


class MinkowskiConvolutionTranspose(MinkowskiConvolutionBase):
    """Transposed convolution: ``out[u] = sum_k in[u - offset_k] @ kernel[k] (+ bias)``.

    Returns to the finer coordinates the input came from, with their row order. Arguments as
    :class:`MinkowskiConvolution`; offsets count in the output's tensor stride.

    Raises:
        InputError: as MinkowskiConvolution; the input's stride is not divisible by the layer's; or no finer map exists
            (use MinkowskiGenerativeConvolutionTranspose, or pass ``coordinates``).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        bias: bool = False,
        kernel_generator: KernelGenerator | None = None,
        expand_coordinates: bool = False,
        convolution_mode: ConvolutionMode = ConvolutionMode.DEFAULT,
        dimension: int | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation,
            bias,
            kernel_generator,
            is_transpose=True,
            expand_coordinates=expand_coordinates,
            convolution_mode=convolution_mode,
            dimension=dimension,
        )


class MinkowskiGenerativeConvolutionTranspose(MinkowskiConvolutionBase):
    """Transposed convolution whose output has a row wherever the kernel reaches (GSDN; MinkowskiEngine's layer).

    Arguments as :class:`MinkowskiConvolutionTranspose`; ``expand_coordinates`` is always on.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        bias: bool = False,
        kernel_generator: KernelGenerator | None = None,
        convolution_mode: ConvolutionMode = ConvolutionMode.DEFAULT,
        dimension: int | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation,
            bias,
            kernel_generator,
            is_transpose=True,
            expand_coordinates=True,
            convolution_mode=convolution_mode,
            dimension=dimension,
        )


class MinkowskiChannelwiseConvolution(MinkowskiConvolutionBase):
    """Convolution of each channel by itself: ``out[u] = sum_k in[u + offset_k] * kernel[k] (+ bias)``.

    ``kernel`` is (K, C). Arguments as :class:`MinkowskiConvolution`, without ``out_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        bias: bool = False,
        kernel_generator: KernelGenerator | None = None,
        dimension: int | None = -1,
    ) -> None:
        super().__init__(
            in_channels, in_channels, kernel_size, stride, dilation, bias, kernel_generator, dimension=dimension
        )

    def make_kernel(self) -> nn.Parameter:
        return nn.Parameter(torch.empty(self.kernel_generator.kernel_volume, self.in_channels))

    def convolved(self, input: SparseTensor, key: CoordinateMapKey) -> Tensor:
        return channelwise_convolve(input.F, self.kernel, self.kernel_map(input, key))

    def forward(self, input: SparseTensor, coords: Coordinates = None) -> SparseTensor:
        """As :meth:`MinkowskiConvolution.forward`; MinkowskiEngine has another name for the argument here."""
        return super().forward(input, coords)
