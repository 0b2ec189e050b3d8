"""The convolution as operators of torch, with shapes for tracing: torch.compile and export work around them.

On NVIDIA GPUs they run the Triton kernels where those support the device and dtype, else torch's own operations.
Operators take tensors and numbers only, so a kernel map comes as its list of tensors and its layout as numbers.
"""

from typing import Any

import torch
from torch import Tensor

from pointseg.minkowski import products, triton
from pointseg.minkowski.kernel_map import KernelMap, layout_of


@torch.library.custom_op("pointseg::sparse_convolution", mutates_args=())
def sparse_convolution(
    features: Tensor,
    kernel: Tensor,
    lists: list[Tensor],
    layout: list[int],
    swapped_lists: list[Tensor],
    swapped_layout: list[int],
) -> Tensor:
    """(n_out, C_out): the sum of ``features[i] @ kernel[k]`` over the pairs of every offset.

    Args:
        features: (n_in, C_in).
        kernel: (K, C_in, C_out); converted to the dtype of ``features``.
        lists: :meth:`KernelMap.tensors` of the map.
        layout: :meth:`Layout.numbers` of the map.
        swapped_lists: the same of the map of outputs onto inputs; empty where no gradient is wanted.
        swapped_layout: likewise.
    """
    kernel = kernel.to(features.dtype)
    if triton.supports(features):
        return triton.scatter_products(features, kernel, _kernel_map(lists, layout, swapped_lists, swapped_layout))
    return products.scatter_products(features, kernel, _kernel_map(lists, layout))


@sparse_convolution.register_fake
def _(
    features: Tensor,
    kernel: Tensor,
    lists: list[Tensor],
    layout: list[int],
    swapped_lists: list[Tensor],
    swapped_layout: list[int],
) -> Tensor:
    return features.new_empty((layout[1], kernel.shape[2]))


@torch.library.custom_op("pointseg::sparse_convolution_gradients", mutates_args=())
def sparse_convolution_gradients(
    features: Tensor,
    kernel: Tensor,
    grad: Tensor,
    lists: list[Tensor],
    layout: list[int],
    swapped_lists: list[Tensor],
    swapped_layout: list[int],
    need_input: bool,
    need_kernel: bool,
) -> tuple[Tensor, Tensor]:
    """The gradients of :func:`sparse_convolution` to features and kernel; one that is not needed has no elements."""
    grad = grad.contiguous()
    none = features.new_empty(0), kernel.new_empty(0)
    if triton.supports(features):
        own = _kernel_map(lists, layout, swapped_lists, swapped_layout)
        transposed = kernel.to(grad.dtype).transpose(1, 2)
        return (
            triton.scatter_products(grad, transposed, own, transposed=True) if need_input else none[0],
            triton.gather_products(features, grad, own).to(kernel.dtype) if need_kernel else none[1],
        )
    swapped = _kernel_map(swapped_lists, swapped_layout)
    to_input, to_kernel = products.gradients(features, kernel, grad, swapped, need_input, need_kernel)
    return none[0] if to_input is None else to_input, none[1] if to_kernel is None else to_kernel


@sparse_convolution_gradients.register_fake
def _(
    features: Tensor,
    kernel: Tensor,
    grad: Tensor,
    lists: list[Tensor],
    layout: list[int],
    swapped_lists: list[Tensor],
    swapped_layout: list[int],
    need_input: bool,
    need_kernel: bool,
) -> tuple[Tensor, Tensor]:
    return (
        features.new_empty(features.shape if need_input else 0),
        kernel.new_empty(kernel.shape if need_kernel else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, kernel, lists, layout, swapped_lists, swapped_layout = inputs
    ctx.save_for_backward(features, kernel, *lists, *swapped_lists)
    ctx.numbers = layout, swapped_layout


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    features, kernel, *both = ctx.saved_tensors
    half = len(both) // 2
    layout, swapped_layout = ctx.numbers
    need_input, need_kernel = ctx.needs_input_grad[:2]
    # The forward pass chose the precision; a caller's autocast around backward() must not change it.
    with torch.autocast(grad.device.type, enabled=False):
        to_input, to_kernel = sparse_convolution_gradients(
            features, kernel, grad, both[:half], layout, both[half:], swapped_layout, need_input, need_kernel
        )
    nothing = [None] * half
    return to_input if need_input else None, to_kernel if need_kernel else None, nothing, None, nothing, None


sparse_convolution.register_autograd(_backward, setup_context=_setup)


def _kernel_map(
    lists: list[Tensor], layout: list[int], swapped_lists: list[Tensor] | None = None, swapped_layout: Any = ()
) -> KernelMap:
    """The map behind its tensors and numbers; a swapped map that shares the lists tells that it mirrors itself."""
    own, mirror = layout_of(tuple(layout)), None
    # Tensors without elements all have the same address.
    if swapped_lists and len(lists[2]) and swapped_lists[2].data_ptr() == lists[2].data_ptr():
        opposite = layout_of(tuple(swapped_layout)).offsets
        mirror = tuple(other for _, other in sorted(zip(own.offsets, opposite, strict=True)))
    return KernelMap.of_tensors(own, lists, mirror)
