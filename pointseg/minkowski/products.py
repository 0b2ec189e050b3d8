"""Sums of products over a kernel map, and their gradients, on any device, by torch alone.

Block by block of output rows: gather the input rows of all pairs, multiply segment by segment with the kernel's
matrices, sum each output row's products. Sums run in fp32 (fp64 for fp64) and in the order of the offsets, so results
repeat bit for bit. Memory beyond inputs and outputs: the buffers of one block, kept for the next call on a CPU.
"""

import threading

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from pointseg.minkowski.kernel_map import Block, KernelMap, RowOrder
from pointseg.minkowski.matmul import COARSE, fast_products, rounded


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def scatter_products(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """(n_out, C_out): the sum of ``features[i] @ kernel[k]`` over the pairs (i, o) of every offset k.

    Args:
        features: (n_in, C_in).
        kernel: (K, C_in, C_out), same dtype.
        kernel_map: its K offsets.
    """
    layout = kernel_map.layout
    features = _visited("features", features, kernel_map.inputs)
    out = _fresh("out", features, kernel_map.n_out, kernel.shape[2], kernel_map.outputs)
    gathered = _buffer("left", features, layout.widest + COARSE, kernel.shape[1])
    products = _buffer("products", features, layout.longest + COARSE, kernel.shape[2])
    weights = kernel.unbind()
    with fast_products(features):
        for block in layout.blocks:
            for k, start, stop in block.segments:
                count, size, place = stop - start, rounded(stop - start, features.device), start - block.start
                torch.index_select(features, 0, kernel_map.gather[start:stop], out=gathered[:count])
                # Rows beyond the segment are spoilt here, and overwritten by the next segment.
                torch.mm(gathered[:size], weights[k], out=products[place : place + size])
            _sum(products, kernel_map, block, out)
    return kernel_map.outputs.undo(out)


def gradients(
    features: Tensor, kernel: Tensor, grad: Tensor, swapped: KernelMap, need_input: bool, need_kernel: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of :func:`scatter_products` to features and kernel.

    Args:
        features: (n_in, C_in), as multiplied.
        kernel: (K, C_in, C_out), the parameter itself, whose dtype its gradient has.
        grad: (n_out, C_out) gradient of the output, in the dtype of ``features``, contiguous.
        swapped: the map of outputs onto inputs.
        need_input: whether the first one is wanted; None otherwise.
        need_kernel: whether the second one is wanted; None otherwise.
    """
    layout = swapped.layout
    features = _visited("features", features, swapped.outputs)
    grad = _visited("grad", grad, swapped.inputs)
    grad_input = _fresh("out", features, len(features), features.shape[1], swapped.outputs) if need_input else None
    grad_kernel = kernel.new_zeros(kernel.shape, dtype=sum_dtype(features.dtype)) if need_kernel else None
    right = _buffer("right", grad, layout.widest + COARSE, kernel.shape[2])
    left = _buffer("left", features, layout.widest + COARSE, kernel.shape[1])
    products = _buffer("products", grad, layout.longest + COARSE, kernel.shape[1])
    weights = kernel.to(features.dtype).transpose(1, 2).unbind()
    with fast_products(features):
        for block in layout.blocks:
            own = features[block.first : block.last]
            for k, start, stop in block.segments:
                count, size, place = stop - start, rounded(stop - start, grad.device), start - block.start
                torch.index_select(grad, 0, swapped.gather[start:stop], out=right[:count])
                if grad_input is not None:
                    torch.mm(right[:size], weights[k], out=products[place : place + size])
                if grad_kernel is not None:
                    torch.index_select(own, 0, swapped.own[start:stop], out=left[:count])
                    left[count:size] = 0
                    right[count:size] = 0
                    _add_outer(left[:size], right[:size], grad_kernel[k])
            if grad_input is not None:
                _sum(products, swapped, block, grad_input)
    if grad_input is not None:
        grad_input = swapped.outputs.undo(grad_input)
    return grad_input, None if grad_kernel is None else grad_kernel.to(kernel.dtype)


def _visited(name: str, features: Tensor, order: RowOrder) -> Tensor:
    """The rows in the order in which the map numbers them."""
    if order.rows is None:
        return features
    return torch.index_select(features, 0, order.rows, out=_buffer(name, features, len(features), features.shape[1]))


def _fresh(name: str, like: Tensor, rows: int, channels: int, order: RowOrder) -> Tensor:
    """Room for a result: a new tensor, or a buffer where its rows have to be put back in their own order."""
    return like.new_empty((rows, channels)) if order.rows is None else _buffer(name, like, rows, channels)


def _add_outer(left: Tensor, right: Tensor, total: Tensor) -> None:
    """``total += left.T @ right``."""
    # fp16 sums of thousands of rows can pass 65504 before they reach the fp32 total.
    if left.dtype == torch.float16:
        left, right = left.float(), right.float()
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


def _sum(products: Tensor, kernel_map: KernelMap, block: Block, out: Tensor) -> None:
    """Each output row of the block: the sum of its pairs' products."""
    places = kernel_map.bag[block.start : block.stop]
    if len(places) and products.shape[1]:
        starts = kernel_map.bag_start[block.first : block.last]
        out[block.first : block.last] = embedding_bag(places, products[: len(places)], starts, mode="sum")
    else:
        out[block.first : block.last] = 0


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.kept: dict[tuple[str, torch.dtype], Tensor] = {}


_BUFFERS = _Buffers()


def _buffer(name: str, like: Tensor, rows: int, channels: int) -> Tensor:
    """(rows, channels), kept for the next call on a CPU, where fresh memory costs as much as the work on it."""
    if like.device.type != "cpu":
        return like.new_empty((rows, channels))
    kept = _BUFFERS.kept.get((name, like.dtype))
    if kept is None or kept.numel() < rows * channels:
        kept = _BUFFERS.kept[name, like.dtype] = like.new_empty(rows * channels)
    return kept[: rows * channels].view(rows, channels)
