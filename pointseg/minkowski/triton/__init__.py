"""Sparse convolution on NVIDIA GPUs by Triton kernels; same meaning as the torch loop, same kernel maps.

Precision: fp16 and bf16 are multiplied as they are, fp32 in full unless
``torch.backends.cuda.matmul.fp32_precision`` is "tf32"; every sum is kept in fp32. Products are rounded once, to the
dtype of ``features``; weight gradients stay fp32. fp64 is left to the torch path.

Determinism: no atomics. A result repeats bit for bit on the same GPU with the same tile choice; choices are stored
(:mod:`~pointseg.minkowski.triton.tuner`), so they repeat as well.

Importing this package does not import triton. The kernels are checked under Triton's interpreter and compiled for
GPUs; they have not been run or measured on a GPU yet.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton.device import available, supports

__all__ = ["available", "gather_products", "scatter_products", "supports", "tune"]


def scatter_products(features: Tensor, kernel: Tensor, kernel_map: KernelMap, transposed: bool = False) -> Tensor:
    """Sum over offsets k of ``features[in_k] @ kernel[k]`` into the output rows of the map.

    Neighbour tables are kept with ``kernel_map`` for as long as it lives, for both directions: pass the same object
    in the backward pass, not a copy or ``kernel_map.swapped()``.

    Args:
        features: (n_in, C_in) fp16, bf16 or fp32; any strides.
        kernel: (K, C_in, C_out) in the dtype of ``features``; any strides, so the input gradient needs no copy.
        kernel_map: pairs of rows for K offsets.
        transposed: go through the map backwards: ``features`` are (n_out, C_in), the result has n_in rows.

    Returns:
        (n_out, C_out), in the dtype of ``features``; rows without a neighbour are zero.
    """
    from pointseg.minkowski.triton import implicit_gemm, tuner

    return implicit_gemm.scatter_products(features, kernel, kernel_map, transposed, tuner.allowed(features.device))


def gather_products(features: Tensor, grad: Tensor, kernel_map: KernelMap) -> Tensor:
    """For each offset, the sum of ``features[i]^T grad[o]`` over its pairs: the weight gradient.

    Args:
        features: (n_in, C_in) fp16, bf16 or fp32; any strides.
        grad: (n_out, C_out), same dtype; any strides.
        kernel_map: pairs of rows for K offsets.

    Returns:
        (K, C_in, C_out) fp32.
    """
    from pointseg.minkowski.triton import tuner, weight_gradient

    return weight_gradient.gather_products(features, grad, kernel_map, tuner.allowed(features.device))


def tune(
    kernel_map: KernelMap, channels: Iterable[tuple[int, int]], dtype: torch.dtype, device: torch.device | str = "cuda"
) -> None:
    """Choose and store the tiles for convolutions of that many offsets, ahead of training.

    Inside a process group nothing is tuned on the way, since other ranks would wait in a collective. Call this on rank
    0 before ``torch.distributed.init_process_group`` with a map of typical size; the other ranks read what it stored.

    Args:
        kernel_map: a map of typical size; only its number of offsets K goes into what is stored.
        channels: (C_in, C_out) of the convolutions.
        dtype: of the features.
        device: the GPU, where the map's lists are too.
    """
    from pointseg.minkowski.triton import implicit_gemm, weight_gradient

    for c_in, c_out in channels:
        features = torch.randn(kernel_map.n_in, c_in, device=device).to(dtype)
        grad = torch.randn(kernel_map.n_out, c_out, device=device).to(dtype)
        kernel = torch.randn(kernel_map.volume, c_in, c_out, device=device).to(dtype)
        implicit_gemm.scatter_products(features, kernel, kernel_map, False, True)
        implicit_gemm.scatter_products(grad, kernel.transpose(1, 2), kernel_map, True, True)
        weight_gradient.gather_products(features, grad, kernel_map, True)
