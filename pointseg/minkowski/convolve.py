"""Convolution over a kernel map: checks, precision, and the convolution of each channel by itself.

Deterministic: products are summed in the order of the offsets. Half-precision inputs are multiplied in their own
precision and summed in fp32; the weight gradient is always summed in fp32 (fp64 for fp64). Nothing gathered is kept for
the backward pass, which gathers again; what is kept, the kernel map's lists too, is freed once the backward pass has
run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointseg.errors import InputError
from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.operators import sparse_convolution
from pointseg.minkowski.products import sum_dtype


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
    dtype = product_dtype(features, kernel)
    swapped: list[Tensor] = []
    layout: list[int] = []
    if torch.is_grad_enabled() and (features.requires_grad or kernel.requires_grad):
        swapped, layout = kernel_map.swapped().tensors(), kernel_map.swapped().layout.numbers()
    with torch.autocast(features.device.type, enabled=False):
        return sparse_convolution(
            features.to(dtype), kernel, kernel_map.tensors(), kernel_map.layout.numbers(), swapped, layout
        )


def product_dtype(features: Tensor, kernel: Tensor) -> torch.dtype:
    """The dtype in which features and kernel are multiplied: autocast's where it is on, else their own.

    Raises:
        InputError: they are on different devices, or of different dtypes without autocast.
    """
    if features.device != kernel.device:
        raise InputError(f"features are on {features.device} and the kernel on {kernel.device}: move one of them.")
    device_type = features.device.type
    if torch.is_autocast_enabled(device_type) and features.dtype != torch.float64:
        return torch.get_autocast_dtype(device_type)
    if features.dtype != kernel.dtype:
        raise InputError(
            f"features are {features.dtype} and the kernel is {kernel.dtype}: convert one, or run under torch.autocast."
        )
    return features.dtype


def channelwise_convolve(features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """Sum over offsets k of ``features[in_k] * kernel[k]`` into the output rows; plain sums without a kernel.

    Args:
        features: (n_in, C) float.
        kernel: (K, C), or None for ones.
        kernel_map: pairs of rows for K offsets.

    Returns:
        (n_out, C), in the dtype of ``features``.
    """
    if kernel is not None and kernel.shape != (kernel_map.volume, features.shape[1]):
        raise InputError(
            f"the kernel has shape {tuple(kernel.shape)}, but this convolution takes ({kernel_map.volume}, "
            f"{features.shape[1]}): offsets by channels."
        )
    return _ChannelwiseConvolve.apply(features, kernel, kernel_map)


class _ChannelwiseConvolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
        # Plain sums need no features to go back.
        ctx.save_for_backward(None if kernel is None else features, kernel, *kernel_map.tensors())
        ctx.layout = kernel_map.layout
        return _scatter_scaled(features, kernel, kernel_map)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, kernel, *lists = ctx.saved_tensors
        kernel_map = KernelMap.of_tensors(ctx.layout, lists)
        grad_input = grad_kernel = None
        with torch.autocast(grad.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_input = _scatter_scaled(grad, kernel, kernel_map.swapped())
            if ctx.needs_input_grad[1]:
                dtype = sum_dtype(features.dtype)
                sums = [
                    (features[in_rows].to(dtype) * grad[out_rows].to(dtype)).sum(dim=0)
                    for in_rows, out_rows in kernel_map.pairs
                ]
                grad_kernel = torch.stack(sums).to(kernel.dtype)
        return grad_input, grad_kernel, None


def _scatter_scaled(features: Tensor, kernel: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """out[o] += features[i] * kernel[k] for every pair (i, o) of every offset k."""
    out = features.new_zeros((kernel_map.n_out, features.shape[1]), dtype=sum_dtype(features.dtype))
    for k, (in_rows, out_rows) in enumerate(kernel_map.pairs):
        rows = features[in_rows].to(out.dtype)
        out.index_add_(0, out_rows, rows if kernel is None else rows * kernel[k].to(out.dtype))
    return out.to(features.dtype)


def _check(features: Tensor, kernel: Tensor, kernel_map: KernelMap) -> None:
    if kernel.ndim != 3 or len(kernel) != kernel_map.volume:
        raise InputError(
            f"the kernel has shape {tuple(kernel.shape)}, but the kernel map has {kernel_map.volume} offsets: "
            f"pass (K, C_in, C_out) with that K."
        )
    if features.shape != (kernel_map.n_in, kernel.shape[1]):
        raise InputError(
            f"features have shape {tuple(features.shape)}, but this convolution takes ({kernel_map.n_in}, "
            f"{kernel.shape[1]}): rows of the coordinate map by input channels."
        )
