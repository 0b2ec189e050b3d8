"""The sparse convolution itself: gather, multiply, scatter, offset by offset, with gradients.

Deterministic: within one offset no output row appears twice, and offsets are visited in a fixed order. Half-precision
inputs are multiplied in their own precision and summed in fp32; the weight gradient is always summed in fp32 (fp64
for fp64). Memory beyond inputs and outputs: two buffers of one chunk of rows; nothing gathered is kept for the
backward pass, which gathers again. What is kept goes through ``save_for_backward``, the kernel map's lists too, so that
it is freed once the backward pass has run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointseg.errors import InputError
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.matmul import product_into, transposed_product

# Pairs handled at once: on a CPU the gathered rows and their products stay in the processor's cache; elsewhere few
# large launches beat many small ones, and the number only bounds the buffers.
CHUNK = 8192
DEVICE_CHUNK = 2**18


def convolve(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """Sum over offsets k of ``features[in_k] @ kernel[k]`` into the output rows of the map.

    Args:
        features: (n_in, C_in) float.
        kernel: (K, C_in, C_out), same dtype unless autocast is on.
        kernel_map: pairs of rows for K offsets.

    Returns:
        (n_out, C_out), in autocast's dtype where autocast is on.

    Raises:
        InputError: channels, rows, dtypes or devices do not fit.
    """
    _check(features, kernel, kernel_map)
    device_type = features.device.type
    dtype = features.dtype
    if torch.is_autocast_enabled(device_type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
    elif features.dtype != kernel.dtype:
        raise InputError(
            f"features are {features.dtype} and the kernel is {kernel.dtype}: convert one, or run under torch.autocast."
        )
    with torch.autocast(device_type, enabled=False):
        return _Convolve.apply(features.to(dtype), kernel, kernel_map)


def channelwise_convolve(features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """Sum over offsets k of ``features[in_k] * kernel[k]`` into the output rows; plain sums without a kernel.

    Args:
        features: (n_in, C) float.
        kernel: (K, C), or None for ones.
        kernel_map: pairs of rows for K offsets.

    Returns:
        (n_out, C), in the dtype of ``features``.
    """
    if kernel is not None and kernel.shape != (len(kernel_map.pairs), features.shape[1]):
        raise InputError(
            f"the kernel has shape {tuple(kernel.shape)}, but this convolution takes ({len(kernel_map.pairs)}, "
            f"{features.shape[1]}): offsets by channels."
        )
    return _ChannelwiseConvolve.apply(features, kernel, kernel_map)


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def chunk_size(device: torch.device) -> int:
    """Pairs handled at once on that device."""
    return CHUNK if device.type == "cpu" else DEVICE_CHUNK


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(features, kernel, *kernel_map.lists())
        ctx.sizes = kernel_map.n_in, kernel_map.n_out
        return _scatter_products(features, kernel.to(features.dtype), kernel_map)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, kernel, *lists = ctx.saved_tensors
        kernel_map = KernelMap.of_lists(ctx.sizes, lists)
        need_input, need_kernel, _ = ctx.needs_input_grad
        grad = grad.contiguous()
        grad_input = grad_kernel = None
        # The forward pass chose the precision; a caller's autocast around backward() must not change it.
        with torch.autocast(grad.device.type, enabled=False):
            if need_input:
                flipped = kernel.to(grad.dtype).transpose(1, 2)
                grad_input = _scatter_products(grad, flipped, kernel_map.swapped())
            if need_kernel:
                grad_kernel = _gather_products(features, grad, kernel_map).to(kernel.dtype)
        return grad_input, grad_kernel, None


class _ChannelwiseConvolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
        # Plain sums need no features to go back.
        ctx.save_for_backward(None if kernel is None else features, kernel, *kernel_map.lists())
        ctx.sizes = kernel_map.n_in, kernel_map.n_out
        return _scatter_scaled(features, kernel, kernel_map)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, kernel, *lists = ctx.saved_tensors
        kernel_map = KernelMap.of_lists(ctx.sizes, lists)
        grad_input = grad_kernel = None
        with torch.autocast(grad.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_input = _scatter_scaled(grad, kernel, kernel_map.swapped())
            if ctx.needs_input_grad[1]:
                dtype = sum_dtype(features.dtype)
                sums = [
                    (features[in_rows].to(dtype) * grad[out_rows].to(dtype)).sum(dim=0)
                    for in_rows, out_rows in kernel_map.listed(features.device)
                ]
                grad_kernel = torch.stack(sums).to(kernel.dtype)
        return grad_input, grad_kernel, None


def _scatter_scaled(features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """out[o] += features[i] * kernel[k] for every pair (i, o) of every offset k."""
    out = features.new_zeros((kernel_map.n_out, features.shape[1]), dtype=sum_dtype(features.dtype))
    for k, (in_rows, out_rows) in enumerate(kernel_map.listed(features.device)):
        rows = features[in_rows].to(out.dtype)
        out.index_add_(0, out_rows, rows if kernel is None else rows * kernel[k].to(out.dtype))
    return out.to(features.dtype)


def _scatter_products(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """out[o] += features[i] @ kernel[k] for every pair (i, o) of every offset k."""
    channels_in, channels_out = kernel.shape[1:]
    out = features.new_zeros((kernel_map.n_out, channels_out), dtype=sum_dtype(features.dtype))
    chunk = chunk_size(features.device)
    longest = max((len(p[0]) for p in kernel_map.pairs if p is not None), default=0)
    gathered = features.new_empty((min(chunk, longest), channels_in))
    multiplied = features.new_empty((min(chunk, longest), channels_out))
    for pair, weight in zip(kernel_map.pairs, kernel, strict=True):
        if pair is None:
            out += features @ weight
            continue
        for in_rows, out_rows in zip(pair[0].split(chunk), pair[1].split(chunk), strict=True):
            rows = torch.index_select(features, 0, in_rows, out=gathered[: len(in_rows)])
            part = product_into(rows, weight, multiplied[: len(in_rows)])
            out.index_add_(0, out_rows, part.to(out.dtype))
    return out.to(features.dtype)


def _gather_products(features: Tensor, grad: Tensor, kernel_map: KernelMap) -> Tensor:
    """(K, C_in, C_out): the sum of features[i]^T grad[o] over the pairs of each offset."""
    dtype = sum_dtype(features.dtype)
    total = features.new_zeros((len(kernel_map.pairs), features.shape[1], grad.shape[1]), dtype=dtype)
    # fp16 products of thousands of rows can pass 65504 before they reach the fp32 sum.
    if features.dtype == torch.float16:
        features, grad = features.float(), grad.float()
    chunk = chunk_size(features.device)
    longest = max((len(p[0]) for p in kernel_map.pairs if p is not None), default=0)
    left = features.new_empty((min(chunk, longest), features.shape[1]))
    right = grad.new_empty((min(chunk, longest), grad.shape[1]))
    for pair, into in zip(kernel_map.pairs, total, strict=True):
        if pair is None:
            for x, g in zip(features.split(chunk), grad.split(chunk), strict=True):
                into += transposed_product(x, g)
            continue
        for in_rows, out_rows in zip(pair[0].split(chunk), pair[1].split(chunk), strict=True):
            x = torch.index_select(features, 0, in_rows, out=left[: len(in_rows)])
            g = torch.index_select(grad, 0, out_rows, out=right[: len(in_rows)])
            into += transposed_product(x, g)
    return total


def _check(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> None:
    if kernel.ndim != 3 or len(kernel) != len(kernel_map.pairs):
        raise InputError(
            f"the kernel has shape {tuple(kernel.shape)}, but the kernel map has {len(kernel_map.pairs)} offsets: "
            f"pass (K, C_in, C_out) with that K."
        )
    if features.shape != (kernel_map.n_in, kernel.shape[1]):
        raise InputError(
            f"features have shape {tuple(features.shape)}, but this convolution takes ({kernel_map.n_in}, "
            f"{kernel.shape[1]}): rows of the coordinate map by input channels."
        )
    if features.device != kernel.device:
        raise InputError(f"features are on {features.device} and the kernel on {kernel.device}: move one of them.")
