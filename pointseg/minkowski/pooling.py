"""Pooling over a window around each output row: sum, average, max, and its transpose."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointseg.errors import InputError
from pointseg.minkowski.convolve import channelwise_convolve
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import PoolingMode, RegionType
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.keys import keyed, settled
from pointseg.minkowski.layer import Coordinates, NeighbourhoodLayer, kernel_map
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.products import sum_dtype
from pointseg.minkowski.sparse_tensor import SparseTensor


def pooled(
    x: SparseTensor, key: CoordinateMapKey, kernel: KernelGenerator, mode: PoolingMode, is_transpose: bool
) -> Tensor:
    """(V_out, C) features of ``x`` pooled onto the map ``key``."""
    if kernel.kernel_size == kernel.kernel_stride and kernel.region_type is not RegionType.CUSTOM:
        kernel = kernel.cell(x.tensor_stride)
    pairs = kernel_map(x, key, kernel, is_transpose)
    if mode is PoolingMode.LOCAL_SUM_POOLING:
        return channelwise_convolve(x.F, None, pairs)
    if mode is PoolingMode.LOCAL_AVG_POOLING:
        return _mean(x.F, pairs)
    if mode is PoolingMode.LOCAL_MAX_POOLING:
        return _MaxPool.apply(x.F, pairs)
    raise InputError(f"pooling_mode is {mode}, but a window is pooled by LOCAL_SUM, LOCAL_AVG or LOCAL_MAX_POOLING.")


class MinkowskiLocalPoolingFunction:
    is_transpose = False

    @classmethod
    def apply(
        cls,
        input_features: Tensor,
        pooling_mode: PoolingMode,
        kernel_generator: KernelGenerator,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(V_out, C)."""
        x = keyed(input_features, in_coordinate_map_key, coordinate_manager)
        key = settled(out_coordinate_map_key, x, kernel_generator, cls.is_transpose)
        # The way back sums in every mode, as MinkowskiEngine's does.
        mode = PoolingMode.LOCAL_SUM_POOLING if cls.is_transpose else pooling_mode
        return pooled(x, key, kernel_generator, mode, cls.is_transpose)


class MinkowskiLocalPoolingTransposeFunction(MinkowskiLocalPoolingFunction):
    is_transpose = True


class MinkowskiPoolingBase(NeighbourhoodLayer):
    """Shape of a pooling window; arguments as MinkowskiConvolution's.

    A window as large as the stride is the cell that the stride merges, whatever its dilation (MinkowskiEngine's rule):
    kernel 3 with stride 3 starts at the output row and is not centred on it.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = 1,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        is_transpose: bool = False,
        pooling_mode: PoolingMode = PoolingMode.LOCAL_AVG_POOLING,
        dimension: int | None = -1,
    ) -> None:
        super().__init__(
            kernel_generator
            or KernelGenerator(kernel_size, stride, dilation, dimension=-1 if dimension is None else dimension),
            is_transpose,
        )
        self.pooling_mode = pooling_mode
        self.pooling = MinkowskiLocalPoolingTransposeFunction() if is_transpose else MinkowskiLocalPoolingFunction()

    def forward(self, input: SparseTensor, coordinates: Coordinates = None) -> SparseTensor:
        """The pooled rows at the layer's own coordinates, or at ``coordinates`` where they are given."""
        self.check_input(input)
        key = self.output_key(input, coordinates)
        features = pooled(input, key, self.kernel_generator, self.pooling_mode, self.is_transpose)
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    def extra_repr(self) -> str:
        kernel = self.kernel_generator
        return (
            f"kernel_size={list(kernel.kernel_size)}, stride={list(kernel.kernel_stride)}, "
            f"dilation={list(kernel.kernel_dilation)}"
        )


class MinkowskiSumPooling(MinkowskiPoolingBase):
    """Sum of the inputs in the window; see :class:`MinkowskiPoolingBase`."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = 1,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        dimension: int | None = None,
    ) -> None:
        mode = PoolingMode.LOCAL_SUM_POOLING
        super().__init__(kernel_size, stride, dilation, kernel_generator, pooling_mode=mode, dimension=dimension)


class MinkowskiAvgPooling(MinkowskiPoolingBase):
    """Mean of the inputs that exist in the window (not divided by the window's volume)."""

    def __init__(
        self,
        kernel_size: Any = -1,
        stride: Any = 1,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        dimension: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, dilation, kernel_generator, dimension=dimension)


class MinkowskiMaxPooling(MinkowskiPoolingBase):
    """Largest input in the window, channel by channel; the gradient goes to it alone. Zero where there is none."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = 1,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        dimension: int | None = None,
    ) -> None:
        mode = PoolingMode.LOCAL_MAX_POOLING
        super().__init__(kernel_size, stride, dilation, kernel_generator, pooling_mode=mode, dimension=dimension)


class MinkowskiPoolingTranspose(MinkowskiPoolingBase):
    """Back to the finer coordinates: each row is the sum of the inputs whose window holds it.

    With a kernel as large as the stride that is a copy of the parent. (MinkowskiEngine's documentation speaks of an
    average over the inputs, its code adds; so does this.)

    Args:
        kernel_size: one int or D ints.
        stride: one int or D ints.
        dilation: one int or D ints.
        kernel_generator: replaces the kernel arguments.
        expand_coordinates: rows appear wherever the kernel reaches.
        dimension: D, 1 to 4.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        expand_coordinates: bool = False,
        dimension: int | None = None,
    ) -> None:
        if kernel_generator is None:
            kernel_generator = KernelGenerator(
                kernel_size,
                stride,
                dilation,
                expand_coordinates=expand_coordinates,
                dimension=-1 if dimension is None else dimension,
            )
        mode = PoolingMode.LOCAL_SUM_POOLING
        super().__init__(kernel_size, stride, dilation, kernel_generator, True, mode, dimension)


def _mean(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """Mean of the inputs of each output row. Only the quotient is rounded: a half-precision sum could overflow."""
    dtype = sum_dtype(features.dtype)
    present = kernel_map.inputs_per_output().clamp(min=1).to(dtype)
    return (channelwise_convolve(features.to(dtype), None, kernel_map) / present[:, None]).to(features.dtype)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel_map: KernelMap) -> Tensor:
        shape = (kernel_map.n_out, features.shape[1])
        best = features.new_full(shape, -torch.inf)
        winner = torch.full(shape, -1, dtype=torch.int32, device=features.device)
        for k, (in_rows, out_rows) in enumerate(kernel_map.pairs):
            value, current = features[in_rows], best[out_rows]
            # The first input of a window always wins, so that -inf and NaN features keep a gradient too.
            better = (value > current) | (winner[out_rows] < 0)
            best[out_rows] = torch.where(better, value, current)
            winner[out_rows] = torch.where(better, k, winner[out_rows])
        ctx.save_for_backward(winner, *kernel_map.tensors())
        ctx.layout = kernel_map.layout
        return best.masked_fill(winner < 0, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        winner, *lists = ctx.saved_tensors
        kernel_map = KernelMap.of_tensors(ctx.layout, lists)
        total = grad.new_zeros((kernel_map.n_in, grad.shape[1]), dtype=sum_dtype(grad.dtype))
        for k, (in_rows, out_rows) in enumerate(kernel_map.pairs):
            total.index_add_(0, in_rows, grad[out_rows].masked_fill(winner[out_rows] != k, 0).to(total.dtype))
        return total.to(grad.dtype), None
