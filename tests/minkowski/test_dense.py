"""Sparse convolution on full grids against torch's dense convolutions, 1 to 3 axes."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import pointseg.minkowski as ME

DENSE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
DENSE_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}

CASES = [
    # dimension, kernel, stride, dilation
    (1, 3, 1, 1), (1, 5, 2, 1), (1, 2, 2, 1), (1, 4, 1, 1), (1, 3, 3, 2),
    (2, 3, 1, 1), (2, (3, 1), 1, (2, 1)), (2, (2, 4), 2, 1), (2, 3, (2, 1), 1), (2, 2, 1, 3), (2, (1, 3), (3, 2), 1),
    (3, 3, 1, 1), (3, 2, 2, 1), (3, 3, 2, 1), (3, (1, 3, 5), 1, 1), (3, (3, 2, 1), (1, 2, 4), 1), (3, 3, 1, (2, 1, 3)),
    (3, 4, 4, 1), (3, 1, 2, 1), (3, (2, 1, 2), (2, 1, 2), 1),
]  # fmt: skip


def full_grid(dimension: int, batches: int = 2, size: int = 8, low: int = -4) -> Tensor:
    points = list(product(range(batches), *[range(low, low + size)] * dimension))
    rows = torch.tensor(points, dtype=torch.int32)
    return rows[torch.randperm(len(rows))]


def to_grid(coordinates: Tensor, features: Tensor, low: int, size: int, step: tuple[int, ...]) -> Tensor:
    """(B, C, size / step..) dense image of rows at multiples of ``step``."""
    index = (coordinates[:, 1:].long() - low) // torch.tensor(step)
    image = features.new_zeros((2, *[-(-size // s) for s in step], features.shape[1]))
    image[(coordinates[:, 0].long(), *index.unbind(1))] = features
    return image.movedim(-1, 1)


def dense_kernel(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """(K, C_in, C_out) with the first axis fastest -> torch's (C_out, C_in, k1, k2, ..)."""
    blocks = kernel.reshape(*reversed(size), *kernel.shape[1:])
    axes = list(reversed(range(len(size))))
    return blocks.permute(len(size) + 1, len(size), *axes)


def triple(value, dimension):
    return tuple(value) if isinstance(value, tuple) else (value,) * dimension


def before_and_after(size, dilation):
    """Cells an axis of the kernel reaches before and behind its row."""
    low = [(k // 2 if k % 2 else 0) * d for k, d in zip(size, dilation, strict=True)]
    high = [(k - 1) * d - a for k, d, a in zip(size, dilation, low, strict=True)]
    return low, high


@pytest.mark.parametrize(("dimension", "kernel", "stride", "dilation"), CASES)
def test_convolution_equals_dense(dimension, kernel, stride, dilation):
    size, steps, spread = (triple(v, dimension) for v in (kernel, stride, dilation))
    # Floors of the strided grid must begin at the image's first cell: start at a common multiple of the strides.
    low = -12
    rows = full_grid(dimension, low=low)
    features = torch.randn(len(rows), 3, dtype=torch.float64)
    layer = ME.MinkowskiConvolution(3, 4, size, steps, spread, bias=True, dimension=dimension).double()
    out = layer(ME.SparseTensor(features, rows))

    before, after = before_and_after(size, spread)
    padding = [cells for pair in zip(reversed(before), reversed(after), strict=True) for cells in pair]
    image = functional.pad(to_grid(rows, features, low, 8, (1,) * dimension), padding)
    weight = layer.kernel.reshape(-1, 3, 4)
    expected = DENSE[dimension](image, dense_kernel(weight, size), layer.bias[0], stride=steps, dilation=spread)
    actual = to_grid(out.C, out.F, low, 8, steps)
    cells = tuple(slice(0, n) for n in actual.shape[2:])
    torch.testing.assert_close(actual, expected[(slice(None), slice(None), *cells)])


@pytest.mark.parametrize(
    ("dimension", "kernel", "stride"),
    [(1, 2, 2), (1, 3, 2), (2, 2, 2), (2, (3, 2), 2), (2, 3, (1, 2)), (3, 2, 2), (3, 3, 2), (3, (2, 4, 2), (2, 4, 2))],
)
def test_transposed_convolution_equals_dense(dimension, kernel, stride):
    size, steps = triple(kernel, dimension), triple(stride, dimension)
    low = -4
    rows = full_grid(dimension, low=low)
    x = ME.SparseTensor(torch.randn(len(rows), 3, dtype=torch.float64), rows)
    down = ME.MinkowskiConvolution(3, 3, kernel_size=steps, stride=steps, dimension=dimension).double()
    coarse = down(x)
    layer = ME.MinkowskiConvolutionTranspose(3, 2, kernel_size=size, stride=steps, dimension=dimension).double()
    out = layer(coarse)
    assert torch.equal(out.C, rows)

    before, _ = before_and_after(size, (1,) * dimension)
    image = to_grid(coarse.C, coarse.F, low, 8, steps)
    weight = dense_kernel(layer.kernel, size).transpose(0, 1)
    expected = DENSE_TRANSPOSED[dimension](image, weight, stride=steps)
    # Dense output starts `before` cells ahead of the image's first cell.
    expected = functional.pad(expected, [0, 16] * dimension)
    cells = tuple(slice(b, b + 8) for b in before)
    torch.testing.assert_close(to_grid(out.C, out.F, low, 8, (1,) * dimension), expected[(..., *cells)])


def test_gradients_equal_dense():
    rows = full_grid(3, size=5, low=0)
    features = torch.randn(len(rows), 3, dtype=torch.float64, requires_grad=True)
    layer = ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3).double()
    out = layer(ME.SparseTensor(features, rows))
    weights = torch.randn_like(out.F)
    ours = torch.autograd.grad((out.F * weights).sum(), (features, layer.kernel))
    image = functional.pad(to_grid(rows, features, 0, 5, (1, 1, 1)), [1] * 6)
    dense = functional.conv3d(image, dense_kernel(layer.kernel, (3, 3, 3)))
    target = to_grid(rows, weights, 0, 5, (1, 1, 1))
    theirs = torch.autograd.grad((dense * target).sum(), (features, layer.kernel))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
