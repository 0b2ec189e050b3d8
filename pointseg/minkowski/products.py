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
from pointseg.minkowski.matmul import SIZES, fast_products, pieces


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
    layout, device = kernel_map.layout, features.device.type
    work = kernel.shape[1] * kernel.shape[2]
    features = _visited(features, kernel_map.inputs)
    out = features.new_empty((kernel_map.n_out, kernel.shape[2]))
    gathered = _buffer("left", features, layout.widest + SIZES[-1], kernel.shape[1])
    products = _buffer("products", features, layout.longest + SIZES[-1], kernel.shape[2])
    weights = kernel.unbind()
    numbers = iter(kernel_map.gather.split(layout.lengths))
    with fast_products(features):
        for block in layout.blocks:
            for k, start, stop in block.segments:
                sizes = pieces(stop - start, work, device)
                if k == layout.centre and sum(sizes) == stop - start:
                    left = features[block.first : block.last]
                    next(numbers)
                else:
                    left = _gather(features, next(numbers), gathered, sum(sizes))
                # Rows beyond the segment are zeroed here, and overwritten by the next segment.
                _multiply(left, weights[k], products, start - block.start, sizes)
            _sum(products, kernel_map, block, out)
    return out


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
    layout, device = swapped.layout, features.device.type
    work = kernel.shape[1] * kernel.shape[2]
    grad = _visited(grad, swapped.inputs)
    grad_input = torch.empty_like(features) if need_input else None
    grad_kernel = kernel.new_zeros(kernel.shape, dtype=sum_dtype(features.dtype)) if need_kernel else None
    gathered = _buffer("right", grad, layout.widest + SIZES[-1], kernel.shape[2])
    mine = _buffer("left", features, layout.widest + SIZES[-1], kernel.shape[1])
    products = _buffer("products", grad, layout.longest + SIZES[-1], kernel.shape[1])
    # Contiguous: square kernels then share their compiled products with the forward pass.
    weights = kernel.to(features.dtype).transpose(1, 2).contiguous().unbind()
    numbers = iter(swapped.gather.split(layout.lengths))
    places = iter(swapped.own.split(layout.lengths))
    with fast_products(features):
        for block in layout.blocks:
            own = _block_rows(features, swapped.outputs, block)
            for k, start, stop in block.segments:
                sizes = pieces(stop - start, work, device)
                theirs, ours = next(numbers), next(places)
                centre = k == layout.centre and sum(sizes) == stop - start
                right = grad[block.first : block.last] if centre else _gather(grad, theirs, gathered, sum(sizes))
                if grad_input is not None:
                    _multiply(right, weights[k], products, start - block.start, sizes)
                if grad_kernel is not None:
                    left = own if centre else _gather(own, ours, mine, sum(sizes))
                    _add_outer(left, right, grad_kernel[k], sizes)
            if grad_input is not None:
                _sum(products, swapped, block, grad_input)
    return grad_input, None if grad_kernel is None else grad_kernel.to(kernel.dtype)


def _visited(features: Tensor, order: RowOrder) -> Tensor:
    """The rows in the order in which the map numbers them."""
    if order.rows is None:
        return features
    out = _buffer("visited", features, len(features), features.shape[1])
    return torch.index_select(features, 0, order.rows, out=out)


def _block_rows(features: Tensor, order: RowOrder, block: Block) -> Tensor:
    """The rows that the block visits."""
    if order.rows is None:
        return features[block.first : block.last]
    out = _buffer("block", features, block.last - block.first, features.shape[1])
    return torch.index_select(features, 0, order.rows[block.first : block.last], out=out)


def _gather(rows: Tensor, numbers: Tensor, room: Tensor, size: int) -> Tensor:
    """(size, C): the rows of these numbers, and after them zeros.

    Not whatever the room held: bf16 products on AMX read beyond a row of an odd number of channels, into the next one,
    times 0, which is NaN if that row is not finite.
    """
    torch.index_select(rows, 0, numbers, out=room[: len(numbers)])
    if len(numbers) < size:
        room[len(numbers) : size] = 0
    return room[:size]


def _multiply(left: Tensor, weight: Tensor, products: Tensor, place: int, sizes: tuple[int, ...]) -> None:
    """``products[place:] = left @ weight``, piece by piece."""
    if len(sizes) == 1:
        torch.mm(left, weight, out=products[place : place + sizes[0]])
        return
    for part, out in zip(left.split(sizes), products[place : place + len(left)].split(sizes), strict=True):
        torch.mm(part, weight, out=out)


def _add_outer(left: Tensor, right: Tensor, total: Tensor, sizes: tuple[int, ...]) -> None:
    """``total += left.T @ right``, piece by piece."""
    # fp16 sums of thousands of rows can pass 65504 before they reach the fp32 total.
    if left.dtype == torch.float16:
        left, right = left.float(), right.float()
    for part, other in zip(left.split(sizes), right.split(sizes), strict=True):
        if left.dtype == total.dtype:
            total.addmm_(part.T, other)
        else:
            total += part.T @ other


def _sum(products: Tensor, kernel_map: KernelMap, block: Block, out: Tensor) -> None:
    """Each output row of the block: the sum of its pairs' products."""
    places, rows = kernel_map.bag[block.start : block.stop], kernel_map.outputs.rows
    if len(places) and products.shape[1]:
        starts = kernel_map.bag_start[block.first : block.last]
        sums = embedding_bag(places, products[: len(places)], starts, mode="sum")
    else:
        sums = out.new_zeros((block.last - block.first, out.shape[1]))
    if rows is None:
        out[block.first : block.last] = sums
    else:
        out.index_copy_(0, rows[block.first : block.last], sums)


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
