"""Properties of the convolution: gradients, symmetries, precision, determinism, and its errors."""

from itertools import product

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski import kernel_map
from pointseg.minkowski.convolve import channelwise_convolve, convolve


def looped(coordinates, features, kernel, offsets):
    """The definition, with a dictionary and Python loops."""
    row_of = {tuple(row): i for i, row in enumerate(coordinates.tolist())}
    out = torch.zeros(len(coordinates), kernel.shape[-1], dtype=features.dtype)
    for u, row in enumerate(coordinates.tolist()):
        for k, offset in enumerate(offsets):
            near = row_of.get((row[0], *(c + o for c, o in zip(row[1:], offset, strict=True))))
            if near is not None:
                out[u] += features[near] @ kernel[k]
    return out


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize("block", [7, 8192])
def test_equals_the_definition(cloud, dimension, block, monkeypatch):
    monkeypatch.setattr(kernel_map, "CPU_BLOCK", block)
    rows = cloud(120, dimension, size=2 if dimension > 2 else 6)
    features = torch.randn(len(rows), 3, dtype=torch.float64)
    layer = ME.MinkowskiConvolution(3, 2, kernel_size=3, dimension=dimension).double()
    out = layer(ME.SparseTensor(features, rows))
    offsets = layer.kernel_generator.offsets((1,) * dimension)
    torch.testing.assert_close(out.F, looped(rows, features, layer.kernel, offsets))


@pytest.mark.parametrize(
    ("size", "stride", "options"),
    [(3, 1, {}), (2, 2, {}), (3, 2, {"dilation": 2}), (2, 1, {}), (3, 1, {"expand_coordinates": True})],
)
def test_gradcheck(cloud, size, stride, options):
    rows = cloud(25, size=1)
    layer = ME.MinkowskiConvolution(2, 3, size, stride, bias=True, dimension=3, **options).double()

    def run(features, kernel, bias):
        x = ME.SparseTensor(features, rows)
        key = layer.output_key(x, None)
        return convolve(features, kernel, layer.kernel_map(x, key)) + bias

    features = torch.randn(len(rows), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (features, layer.kernel, layer.bias))


@pytest.mark.parametrize("dimension", [1, 3])
def test_a_kernel_on_a_global_tensor_meets_every_row_with_all_its_lines(cloud, dimension):
    rows = cloud(30, dimension)
    x = ME.SparseTensor(torch.randn(len(rows), 2, dtype=torch.float64), rows)
    pooled = ME.MinkowskiGlobalSumPooling()(x)
    layer = ME.MinkowskiConvolution(2, 3, kernel_size=3, dimension=dimension).double()

    def run(features, kernel):
        given = pooled.with_features(features)
        return convolve(features, kernel, layer.kernel_map(given, given.coordinate_map_key))

    features = pooled.F.detach().requires_grad_()
    torch.testing.assert_close(layer(pooled.with_features(features)).F, features @ layer.kernel.sum(dim=0))
    assert torch.autograd.gradcheck(run, (features, layer.kernel))
    single = ME.MinkowskiChannelwiseConvolution(2, kernel_size=3, dimension=dimension).double()
    out = single(pooled.with_features(features)).F
    torch.testing.assert_close(out, features * single.kernel.sum(dim=0))
    (grad,) = torch.autograd.grad(out.sum(), single.kernel)
    torch.testing.assert_close(grad, features.detach().sum(dim=0).expand_as(grad))


@pytest.mark.parametrize("stride", [(0, 0), (0, 1)])
def test_strided_layers_where_the_tensor_stride_is_zero(stride):
    rows = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 0]])[:: 1 if stride[1] else 3]
    x = ME.SparseTensor(torch.randn(len(rows), 2, dtype=torch.float64), rows, tensor_stride=stride)
    # Both lines of the kernel that differ on the first axis alone meet the same row.
    layer = ME.MinkowskiConvolution(2, 3, kernel_size=2, stride=2, dimension=2).double()
    lines = layer.kernel.unflatten(0, (2, 2)).sum(dim=1)
    lines = lines if stride[1] else lines.sum(dim=0, keepdim=True)
    out, pooled = layer(x), ME.MinkowskiSumPooling(2, 2, dimension=2)(x)
    assert out.C.tolist() == pooled.C.tolist() == ([[0, 0, 0], [0, 0, 2], [1, 0, 0]] if stride[1] else rows.tolist())
    parts = [x.F[:2], x.F[2:3], x.F[3:]] if stride[1] else x.F.split(1)
    torch.testing.assert_close(pooled.F, torch.stack([part.sum(dim=0) for part in parts]))
    expected = [sum(row @ line for row, line in zip(part, lines, strict=False)) for part in parts]
    torch.testing.assert_close(out.F, torch.stack(expected))


def test_gradcheck_of_channelwise_and_max_pooling(cloud):
    rows = cloud(25, size=1)
    x = ME.SparseTensor(torch.zeros(len(rows), 2), rows)
    generator = ME.KernelGenerator(3, dimension=3)
    pairs = x.coordinate_manager.kernel_map_of(x.coordinate_map_key, x.coordinate_map_key, generator)
    features = torch.randn(len(rows), 2, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(27, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, k: channelwise_convolve(f, k, pairs), (features, kernel))
    pool = ME.MinkowskiMaxPooling(3, 2, dimension=3)
    assert torch.autograd.gradcheck(lambda f: pool(x.with_features(f)).F, (features,))


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2), (5, 1)])
def test_row_order_does_not_matter(cloud, size, stride):
    rows = cloud()
    features = torch.randn(len(rows), 3, dtype=torch.float64)
    layer = ME.MinkowskiConvolution(3, 4, size, stride, dimension=3).double()
    shuffle = torch.randperm(len(rows))
    a = layer(ME.SparseTensor(features, rows))
    b = layer(ME.SparseTensor(features[shuffle], rows[shuffle]))
    place = {tuple(row): i for i, row in enumerate(b.C.tolist())}
    torch.testing.assert_close(a.F, b.F[[place[tuple(row)] for row in a.C.tolist()]])


@pytest.mark.parametrize("shift", [(8, -16, 4), (-1000, 0, 100000)])
def test_translation_moves_the_output(cloud, shift):
    rows = cloud()
    features = torch.randn(len(rows), 3, dtype=torch.float64)
    moved = rows + torch.tensor((0, *shift), dtype=torch.int32)
    net = torch.nn.Sequential(
        ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3),
        ME.MinkowskiConvolution(4, 5, kernel_size=2, stride=2, dimension=3),
        ME.MinkowskiConvolution(5, 5, kernel_size=3, stride=2, dimension=3),
    ).double()
    a, b = net(ME.SparseTensor(features, rows)), net(ME.SparseTensor(features, moved))
    assert torch.equal(a.C[:, 1:] + torch.tensor(shift), b.C[:, 1:])
    torch.testing.assert_close(a.F, b.F)


def test_batch_entries_never_mix(cloud):
    rows = cloud(300, size=4, batches=3)
    features = torch.randn(len(rows), 3, dtype=torch.float64)
    net = torch.nn.Sequential(
        ME.MinkowskiConvolution(3, 4, kernel_size=5, dilation=3, dimension=3),
        ME.MinkowskiConvolution(4, 4, kernel_size=3, stride=2, dimension=3),
        ME.MinkowskiConvolutionTranspose(4, 4, kernel_size=2, stride=2, dimension=3),
    ).double()
    together = net(ME.SparseTensor(features, rows))
    for entry in range(3):
        own = rows[:, 0] == entry
        alone = net(ME.SparseTensor(features[own], rows[own]))
        torch.testing.assert_close(together.F[own], alone.F)


@pytest.mark.threads
def test_two_runs_are_bit_identical(cloud):
    rows = cloud(2000, size=9)
    features = torch.randn(len(rows), 16)
    layer = ME.MinkowskiConvolution(16, 16, kernel_size=3, dimension=3)

    def run():
        x = features.clone().requires_grad_()
        out = layer(ME.SparseTensor(x, rows))
        return out.F, *torch.autograd.grad(out.F.square().sum(), (x, layer.kernel))

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


def test_autocast_bf16_is_close_to_fp32(cloud):
    rows = cloud(500, size=5)
    features = torch.randn(len(rows), 16, requires_grad=True)
    layer = ME.MinkowskiConvolution(16, 16, kernel_size=3, bias=True, dimension=3)
    exact = layer(ME.SparseTensor(features, rows))
    expected = torch.autograd.grad(exact.F.square().sum(), (features, layer.kernel))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(ME.SparseTensor(features, rows))
    assert out.F.dtype == torch.bfloat16
    actual = torch.autograd.grad(out.F.float().square().sum(), (features, layer.kernel))
    assert [grad.dtype for grad in actual] == [torch.float32, torch.float32]
    for a, b in zip((out.F.float(), *actual), (exact.F, *expected), strict=True):
        assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_fp32(dtype):
    # 126 neighbours add 1 to 2048: a half-precision sum of that size cannot hold the ones.
    rows = torch.tensor(list(product([0], range(5), range(5), range(5))), dtype=torch.int32)
    layer = ME.MinkowskiConvolution(1, 1, kernel_size=5, dimension=3).to(dtype)
    torch.nn.init.ones_(layer.kernel)
    values = torch.ones(125, 1)
    values[0] = 2048
    out = layer(ME.SparseTensor(values.to(dtype), rows))
    centre = (rows[:, 1:] == 2).all(dim=1)
    assert out.F[centre].item() == torch.tensor(2048.0 + 124).to(dtype).item()


def test_fp16_weight_gradient_does_not_overflow():
    rows = torch.zeros(4000, 4, dtype=torch.int32)
    rows[:, 1] = torch.arange(4000)
    layer = ME.MinkowskiConvolution(1, 1, kernel_size=(3, 1, 1), dimension=3)
    features = torch.full((4000, 1), 16.0, dtype=torch.float16)
    key = ME.SparseTensor(features, rows)
    pairs = layer.kernel_map(key, key.coordinate_map_key)
    kernel = layer.kernel.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.float16):
        out = convolve(features, kernel, pairs)
    (grad,) = torch.autograd.grad(out, kernel, torch.full_like(out, 16.0))
    assert grad[1].item() == 16 * 16 * 4000


def test_errors_say_what_to_do(cloud):
    rows = cloud(30)
    x = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    with pytest.raises(InputError, match="3 channels, but this layer takes 4"):
        ME.MinkowskiConvolution(4, 4, kernel_size=3, dimension=3)(x)
    with pytest.raises(InputError, match=r"3 axes.*dimension=2"):
        ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=2)(x)
    with pytest.raises(InputError, match="takes a SparseTensor, but got Tensor"):
        ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3)(x.F)
    with pytest.raises(InputError, match=r"torch.float64 and the kernel is torch.float32"):
        ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3)(x.double())
    with pytest.raises(InputError, match="not divisible"):
        ME.MinkowskiConvolutionTranspose(3, 4, kernel_size=2, stride=2, dimension=3)(x)
    coarse = ME.SparseTensor(x.F, rows, tensor_stride=2)
    with pytest.raises(InputError, match="no coordinates of stride"):
        ME.MinkowskiConvolutionTranspose(3, 4, kernel_size=2, stride=2, dimension=3)(coarse)


def test_memory_does_not_grow_with_the_number_of_pairs(cloud):
    rows = cloud(3000, size=8)
    layer = ME.MinkowskiConvolution(8, 8, kernel_size=3, dimension=3)
    x = ME.SparseTensor(torch.randn(len(rows), 8, requires_grad=True), rows)
    layer(x)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(x)
    assert sum(t.numel() for t in saved if t.is_floating_point()) == len(rows) * 8 + layer.kernel.numel()
    # The map back shares the lists: three numbers a pair, two a row.
    lists = {t.data_ptr(): t.numel() for t in saved if not t.is_floating_point()}
    assert sum(lists.values()) <= 3 * layer.kernel_map(x, x.coordinate_map_key).n_pairs + 2 * len(rows)
