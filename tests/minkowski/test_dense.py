"""Full grids against dense arithmetic: torch's convolutions for 1 to 3 axes, explicit windows for up to 4."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import pointseg.minkowski as ME

DENSE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
DENSE_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
SIZE = {1: 12, 2: 8, 3: 6, 4: 4}
# A multiple of every stride, so that cells of a strided grid begin where the image does.
LOW = -12
REPEATABLE = settings(max_examples=50, deadline=None, derandomize=True)


@st.composite
def shapes(draw, strides=(1, 2, 3)):
    """Dimension, and for each axis kernel size, stride and dilation."""
    dimension = draw(st.integers(1, 4))

    def axes(values):
        return draw(st.tuples(*[st.sampled_from(values)] * dimension))

    return dimension, axes((1, 2, 3, 4) if dimension < 4 else (1, 2, 3)), axes(strides), axes((1, 2))


def full_grid(dimension: int, batches: int = 2) -> Tensor:
    points = list(product(range(batches), *[range(LOW, LOW + SIZE[dimension])] * dimension))
    rows = torch.tensor(points, dtype=torch.int32)
    return rows[torch.randperm(len(rows))]


def tensor(dimension: int, channels: int) -> ME.SparseTensor:
    rows = full_grid(dimension)
    return ME.SparseTensor(torch.randn(len(rows), channels, dtype=torch.float64), rows)


def image_of(x: ME.SparseTensor) -> Tensor:
    """(B, C, cells..) dense image of the part of the output that lies on the input's grid."""
    step = torch.tensor(x.tensor_stride)
    index = (x.C[:, 1:].long() - LOW) // step
    image = x.F.new_zeros((2, *[-(-SIZE[x.D] // s) for s in x.tensor_stride], x.F.shape[1]))
    image[(x.C[:, 0].long(), *index.unbind(1))] = x.F
    return image.movedim(-1, 1)


def reach(size, dilation, centred=True):
    """Cells an axis of the kernel reaches before and behind its row."""
    low = [(k // 2 if k % 2 and centred else 0) * d for k, d in zip(size, dilation, strict=True)]
    return low, [(k - 1) * d - a for k, d, a in zip(size, dilation, low, strict=True)]


def padded(image: Tensor, size, dilation, centred=True, value=0.0) -> Tensor:
    before, after = reach(size, dilation, centred)
    padding = [cells for pair in zip(reversed(before), reversed(after), strict=True) for cells in pair]
    return functional.pad(image, padding, value=value)


def windows(image: Tensor, size, stride, dilation) -> Tensor:
    """(K, B, C, cells..) what each kernel cell sees of a padded image, the first axis fastest."""
    seen = []
    for offset in product(*map(range, reversed(size))):
        axes = zip(reversed(offset), size, stride, dilation, image.shape[2:], strict=True)
        seen.append(image[(..., *[slice(o * d, n - (k - 1 - o) * d, s) for o, k, s, d, n in axes])])
    return torch.stack(seen)


def dense_kernel(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """(K, C_in, C_out) with the first axis fastest -> torch's (C_out, C_in, k1, k2, ..)."""
    blocks = kernel.reshape(*reversed(size), *kernel.shape[-2:])
    return blocks.permute(len(size) + 1, len(size), *reversed(range(len(size))))


@REPEATABLE
@given(shape=shapes())
def test_convolution_equals_dense(shape):
    dimension, size, stride, dilation = shape
    x = tensor(dimension, 2)
    layer = ME.MinkowskiConvolution(2, 3, size, stride, dilation, bias=True, dimension=dimension).double()
    image, weight = padded(image_of(x), size, dilation), layer.kernel.reshape(-1, 2, 3)
    if dimension in DENSE:
        kernel = dense_kernel(weight, size)
        expected = DENSE[dimension](image, kernel, layer.bias[0], stride=stride, dilation=dilation)
    else:
        expected = torch.einsum("kbi...,kio->bo...", windows(image, size, stride, dilation), weight)
        expected = expected + layer.bias.reshape(1, -1, 1, 1, 1, 1)
    torch.testing.assert_close(image_of(layer(x)), expected)


@REPEATABLE
@given(shape=shapes())
def test_channelwise_convolution_equals_windows(shape):
    dimension, size, stride, dilation = shape
    x = tensor(dimension, 2)
    layer = ME.MinkowskiChannelwiseConvolution(2, size, stride, dilation, dimension=dimension).double()
    seen = windows(padded(image_of(x), size, dilation), size, stride, dilation)
    torch.testing.assert_close(image_of(layer(x)), torch.einsum("kbi...,ki->bi...", seen, layer.kernel))


@REPEATABLE
@given(shape=shapes(), kind=st.sampled_from(("Sum", "Avg", "Max")))
def test_pooling_equals_windows(shape, kind):
    dimension, size, stride, dilation = shape
    x = tensor(dimension, 2)
    out = getattr(ME, f"Minkowski{kind}Pooling")(size, stride, dilation, dimension=dimension)(x)
    # A window as large as the stride is the cell itself.
    cell = size == stride
    dilation = (1,) * dimension if cell else dilation

    def seen(image, value=0.0):
        return windows(padded(image, size, dilation, not cell, value), size, stride, dilation)

    image = image_of(x)
    total = seen(image).sum(dim=0)
    expected = {
        "Sum": total,
        "Avg": total / seen(torch.ones_like(image)).sum(dim=0),
        "Max": seen(image, -torch.inf).amax(dim=0),
    }[kind]
    torch.testing.assert_close(image_of(out), expected)


@REPEATABLE
@given(shape=shapes(strides=(1, 2)))
def test_transposed_convolution_equals_dense(shape):
    dimension, size, stride, dilation = shape
    fine = tensor(dimension, 2)
    coarse = ME.MinkowskiSumPooling(stride, stride, dimension=dimension)(fine)
    layer = ME.MinkowskiConvolutionTranspose(2, 3, size, stride, dilation, dimension=dimension).double()
    out = layer(coarse)
    assert torch.equal(out.C, fine.C)
    image, weight = image_of(coarse), layer.kernel.reshape(-1, 2, 3)
    before, _ = reach(size, dilation)
    if dimension in DENSE:
        kernel = dense_kernel(weight, size).transpose(0, 1)
        full = DENSE_TRANSPOSED[dimension](image, kernel, stride=stride, dilation=dilation)
    else:
        axes = zip(image.shape[2:], stride, size, dilation, strict=True)
        full = image.new_zeros((2, 3, *[(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in axes]))
        parts = torch.einsum("bi...,kio->kbo...", image, weight)
        for part, offset in zip(parts, product(*map(range, reversed(size))), strict=True):
            axes = zip(reversed(offset), stride, dilation, image.shape[2:], strict=True)
            full[(..., *[slice(o * d, o * d + (n - 1) * s + 1, s) for o, s, d, n in axes])] += part
    # Dense output starts `before` cells ahead of the image's first cell.
    full = functional.pad(full, [0, 16] * dimension)
    cells = tuple(slice(b, b + SIZE[dimension]) for b in before)
    torch.testing.assert_close(image_of(out), full[(..., *cells)])


@REPEATABLE
@given(shape=shapes(strides=(1, 2)))
def test_pooling_transpose_is_the_transpose_of_sum_pooling(shape):
    dimension, size, stride, dilation = shape
    fine = tensor(dimension, 2)
    pool = ME.MinkowskiSumPooling(size, stride, dilation, dimension=dimension)
    coarse = pool(fine)
    back = ME.MinkowskiPoolingTranspose(size, stride, dilation, dimension=dimension)
    weights = torch.randn_like(coarse.F)
    down = (coarse.F * weights).sum()
    up = (fine.F * back(coarse.with_features(weights)).F).sum()
    torch.testing.assert_close(down, up)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_gradients_equal_dense(dimension):
    x = tensor(dimension, 3)
    features = x.F.requires_grad_()
    layer = ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=dimension).double()
    out = layer(x)
    weights = torch.randn_like(out.F)
    ours = torch.autograd.grad((out.F * weights).sum(), (features, layer.kernel))
    image = functional.pad(image_of(x), [1] * 2 * dimension)
    dense = DENSE[dimension](image, dense_kernel(layer.kernel, (3,) * dimension))
    theirs = torch.autograd.grad((dense * image_of(x.with_features(weights))).sum(), (features, layer.kernel))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
