"""Pooling: local (sum, average, max, and its transpose) and global over each batch entry."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pointseg.minkowski.convolve import channelwise_convolve, sum_dtype
from pointseg.minkowski.kernel import KernelGenerator
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.layer import Coordinates, NeighbourhoodLayer
from pointseg.minkowski.sparse_tensor import SparseTensor


class _LocalPooling(NeighbourhoodLayer):
    """Shape of a pooling window; arguments as MinkowskiConvolution's."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = 1,
        dilation: Any = 1,
        kernel_generator: KernelGenerator | None = None,
        dimension: int | None = None,
    ) -> None:
        super().__init__(
            kernel_generator
            or KernelGenerator(kernel_size, stride, dilation, dimension=-1 if dimension is None else dimension)
        )

    def forward(self, input: SparseTensor, coordinates: Coordinates = None) -> SparseTensor:
        self.check_input(input)
        key = self.output_key(input, coordinates)
        features = self._pool(input.F, self.kernel_map(input, key))
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    def _pool(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        raise NotImplementedError


def _mean(features: Tensor, kernel_map: KernelMap) -> Tensor:
    """Mean of the inputs of each output row. Only the quotient is rounded: a half-precision sum could overflow."""
    dtype = sum_dtype(features.dtype)
    present = kernel_map.counts(features.device).clamp(min=1).to(dtype)
    return (channelwise_convolve(features.to(dtype), None, kernel_map) / present[:, None]).to(features.dtype)


class MinkowskiSumPooling(_LocalPooling):
    """Sum of the inputs in the window."""

    def _pool(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        return channelwise_convolve(features, None, kernel_map)


class MinkowskiAvgPooling(_LocalPooling):
    """Mean of the inputs that exist in the window (not divided by the window's volume)."""

    def _pool(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        return _mean(features, kernel_map)


class MinkowskiMaxPooling(_LocalPooling):
    """Largest input in the window, channel by channel; the gradient goes to it alone. Zero where there is none."""

    def _pool(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        return _MaxPool.apply(features, kernel_map)


class MinkowskiPoolingTranspose(_LocalPooling):
    """Back to the finer coordinates: each row is the sum of the inputs whose window holds it, divided by their number.

    With kernel 2 and stride 2 that is a copy of the parent.
    """

    is_transpose = True

    def _pool(self, features: Tensor, kernel_map: KernelMap) -> Tensor:
        return _mean(features, kernel_map)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel_map: KernelMap) -> Tensor:
        shape = (kernel_map.n_out, features.shape[1])
        best = features.new_full(shape, -torch.inf)
        winner = torch.full(shape, -1, dtype=torch.int32, device=features.device)
        for k, (in_rows, out_rows) in enumerate(kernel_map.listed(features.device)):
            value, current = features[in_rows], best[out_rows]
            # The first input of a window always wins, so that -inf and NaN features keep a gradient too.
            better = (value > current) | (winner[out_rows] < 0)
            best[out_rows] = torch.where(better, value, current)
            winner[out_rows] = torch.where(better, k, winner[out_rows])
        ctx.save_for_backward(winner, *kernel_map.lists())
        ctx.sizes = kernel_map.n_in, kernel_map.n_out
        return best.masked_fill(winner < 0, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        winner, *lists = ctx.saved_tensors
        kernel_map = KernelMap.of_lists(ctx.sizes, lists)
        total = grad.new_zeros((kernel_map.n_in, grad.shape[1]))
        for k, (in_rows, out_rows) in enumerate(kernel_map.listed(grad.device)):
            total.index_add_(0, in_rows, grad[out_rows].masked_fill(winner[out_rows] != k, 0))
        return total, None


class _GlobalPooling(nn.Module):
    """One row for each batch entry, at coordinates (b, 0, .., 0) and tensor stride 0."""

    def forward(self, input: SparseTensor) -> SparseTensor:
        key = input.coordinate_manager.origin(input.coordinate_map_key)
        _, rows = input.coordinate_manager.batch_entries(input.coordinate_map_key)
        pooled = [self._reduce(input.F[entry]) for entry in rows]
        features = torch.stack(pooled) if pooled else input.F[:0]
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    def _reduce(self, features: Tensor) -> Tensor:
        raise NotImplementedError


class MinkowskiGlobalSumPooling(_GlobalPooling):
    """Sum over the rows of each batch entry."""

    def _reduce(self, features: Tensor) -> Tensor:
        return features.sum(dim=0)


class MinkowskiGlobalAvgPooling(_GlobalPooling):
    """Mean over the rows of each batch entry."""

    def _reduce(self, features: Tensor) -> Tensor:
        return features.mean(dim=0)


class MinkowskiGlobalPooling(MinkowskiGlobalAvgPooling):
    """Another name of :class:`MinkowskiGlobalAvgPooling`."""


class MinkowskiGlobalMaxPooling(_GlobalPooling):
    """Largest value over the rows of each batch entry; the gradient goes to it alone."""

    def _reduce(self, features: Tensor) -> Tensor:
        return features.max(dim=0).values
