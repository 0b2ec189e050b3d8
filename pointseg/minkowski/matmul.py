"""Dense products of the convolution loop, by the faster of the two libraries inside torch.

On CPUs that are not Intel's, ``torch.mm`` in fp32 runs MKL at half of what the processor can do; oneDNN, which torch
uses for convolutions, reaches twice the speed with the same fp32 accuracy (measured on an AMD with AVX-512: 100
against 220 GFLOP/s on one thread, 190 against 420 on two). A row-major matrix is an image of one line whose channels
lie last in memory, so a 1x1 convolution multiplies it without a copy. ``torch.set_float32_matmul_precision`` would
switch libraries too, but for the whole process, and lowers accuracy on processors with AMX.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

# Below this many input elements, calling a convolution costs more than it saves.
SMALLEST = 2**16
NARROWEST = 16
# A 1x1 kernel is the same under any dilation, but only for dilated or multi-threaded ones does torch call oneDNN.
DILATION = 2


def product_into(rows: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """``rows @ weight``: (M, C_in) by (C_in, C_out); in ``out`` (M, C_out) or in a new tensor."""
    if not _prefers_convolution(rows, weight):
        return torch.mm(rows, weight, out=out)
    product = functional.conv2d(_as_image(rows), weight.T[:, :, None, None], dilation=DILATION)
    return product.permute(0, 2, 3, 1).reshape(out.shape)


def transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """``left.T @ right``: (M, C_in) and (M, C_out) give (C_in, C_out), the weight gradient of a product."""
    if not _prefers_convolution(left, right):
        return left.T @ right
    shape = (right.shape[1], left.shape[1], 1, 1)
    return conv2d_weight(_as_image(left), shape, _as_image(right), dilation=DILATION)[:, :, 0, 0].T


def _as_image(rows: Tensor) -> Tensor:
    return rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)


def _prefers_convolution(rows: Tensor, other: Tensor) -> bool:
    return (
        rows.dtype == torch.float32
        and rows.device.type == "cpu"
        and rows.numel() >= SMALLEST
        and min(rows.shape[1], other.shape[1]) >= NARROWEST
        and rows.is_contiguous()
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )
