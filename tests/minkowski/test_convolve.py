"""Properties of the convolution: gradients, symmetries, precision, determinism, and its errors."""

from itertools import product

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski import convolve as engine
from pointseg.minkowski import kernel_map, matmul
from pointseg.minkowski.convolve import channelwise_convolve, convolve
from pointseg.minkowski.kernel_map import CellTable, search
from pointseg.minkowski.matmul import product_into, transposed_product
from pointseg.minkowski.packing import Bounds, Packing


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
@pytest.mark.parametrize("chunk", [7, 8192])
def test_equals_the_definition(cloud, dimension, chunk, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK", chunk)
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


@pytest.mark.parametrize("region", [ME.RegionType.HYPER_CUBE, ME.RegionType.HYPER_CROSS])
@pytest.mark.parametrize("dilation", [1, 2])
def test_mirrored_map_equals_searching_every_offset(cloud, region, dilation):
    rows = cloud(150, size=3)
    x = ME.SparseTensor(torch.zeros(len(rows), 1), rows)
    offsets = ME.KernelGenerator(3, dilation=dilation, region_type=region, dimension=3).offsets((1, 1, 1))
    own = x.coordinate_manager.map(x.coordinate_map_key)
    other = ME.SparseTensor(torch.zeros(len(rows), 1), rows)
    same = search(own, own, offsets)
    apart = search(own, other.coordinate_manager.map(other.coordinate_map_key), offsets)
    for mirrored, searched in zip(same.listed(rows.device), apart.listed(rows.device), strict=True):
        assert set(zip(*map(torch.Tensor.tolist, mirrored), strict=True)) == set(
            zip(*map(torch.Tensor.tolist, searched), strict=True)
        )


@pytest.mark.parametrize("stride", [1, 2])
def test_both_look_ups_find_the_same(cloud, stride, monkeypatch):
    rows = cloud(300, size=6)
    layer = ME.MinkowskiConvolution(2, 2, 3, stride, dimension=3)
    found = {}
    for cells in (0, 10**6):
        monkeypatch.setattr(kernel_map, "CELLS_PER_ROW", cells)
        x = ME.SparseTensor(torch.zeros(len(rows), 2), rows)
        found[cells] = layer.kernel_map(x, layer.output_key(x, None)).listed(rows.device)
    assert isinstance(x.coordinate_manager.map(x.coordinate_map_key).table(Packing.fit(Bounds.of(rows))), CellTable)
    for slow, fast in zip(found[0], found[10**6], strict=True):
        assert torch.equal(slow[0], fast[0])
        assert torch.equal(slow[1], fast[1])


@pytest.mark.parametrize("size", [2, 4, (2, 1, 4)])
def test_tiled_map_equals_search(cloud, size):
    rows = cloud(200, size=9)
    x = ME.SparseTensor(torch.zeros(len(rows), 1), rows)
    manager, fine = x.coordinate_manager, x.coordinate_map_key
    generator = ME.KernelGenerator(size, size, dimension=3)
    assert generator.tiles()
    coarse = manager.stride(fine, size)
    fast = manager.kernel_map_of(fine, coarse, generator)
    slow = search(manager.map(fine), manager.map(coarse), generator.offsets((1, 1, 1)))
    for a, b in zip(fast.pairs, slow.pairs, strict=True):
        assert sorted(zip(a[0].tolist(), a[1].tolist(), strict=True)) == sorted(
            zip(b[0].tolist(), b[1].tolist(), strict=True)
        )
    assert fast.n_pairs == len(rows)


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


@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (32, 64), (3, 40), (40, 3)])
@pytest.mark.parametrize("rows", [1, 500, 9000])
def test_fast_products_equal_mm(c_in, c_out, rows):
    x, weight, grad = torch.randn(rows, c_in), torch.randn(c_in, c_out), torch.randn(rows, c_out)
    product_ = product_into(x, weight, torch.empty(rows, c_out))
    torch.testing.assert_close(product_, (x.double() @ weight.double()).float(), rtol=1e-4, atol=1e-4)
    gradient = transposed_product(x, grad)
    torch.testing.assert_close(gradient, (x.double().T @ grad.double()).float(), rtol=1e-4, atol=1e-3)


def test_the_fast_product_is_used_where_it_helps():
    assert matmul._prefers_convolution(torch.zeros(9000, 32), torch.zeros(32, 32)) == (
        torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    )
    assert not matmul._prefers_convolution(torch.zeros(9000, 32).double(), torch.zeros(32, 32).double())
    assert not matmul._prefers_convolution(torch.zeros(90000, 3), torch.zeros(3, 32))


def test_memory_does_not_grow_with_the_number_of_pairs(cloud, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK", 64)
    rows = cloud(3000, size=8)
    layer = ME.MinkowskiConvolution(8, 8, kernel_size=3, dimension=3)
    x = ME.SparseTensor(torch.randn(len(rows), 8, requires_grad=True), rows)
    layer(x)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(x)
    shared = {rows.data_ptr() for rows in layer.kernel_map(x, x.coordinate_map_key).lists() if rows is not None}
    assert sum(t.numel() for t in saved if t.data_ptr() not in shared) == len(rows) * 8 + layer.kernel.numel()


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 3}, "dimension is -1"),
        ({"kernel_size": 3, "dimension": 5}, "dimension is 5"),
        ({"dimension": 3}, "kernel_size is"),
        ({"kernel_size": (3, 3), "dimension": 3}, "one int or 3 ints"),
        ({"kernel_size": 3, "stride": 0, "dimension": 3}, "stride is"),
        ({"kernel_size": 3, "dilation": 0, "dimension": 3}, "dilation is"),
        ({"kernel_size": 2, "region_type": ME.RegionType.HYPER_CROSS, "dimension": 3}, "odd sizes"),
        ({"region_type": ME.RegionType.CUSTOM, "dimension": 3}, "region_offsets has shape None"),
        (
            {"region_type": ME.RegionType.CUSTOM, "region_offsets": torch.zeros(2, 3).int(), "dimension": 3},
            "names an offset twice",
        ),
    ],
)
def test_kernel_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        ME.KernelGenerator(**arguments)


def test_custom_offsets_equal_the_cube(cloud):
    rows = cloud()
    x = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    cube = ME.MinkowskiConvolution(3, 4, kernel_size=3, dimension=3)
    listed = ME.KernelGenerator(
        region_type=ME.RegionType.CUSTOM,
        region_offsets=torch.tensor(cube.kernel_generator.offsets((1, 1, 1))),
        dimension=3,
    )
    custom = ME.MinkowskiConvolution(3, 4, kernel_generator=listed, dimension=3)
    custom.load_state_dict(cube.state_dict())
    assert torch.equal(custom(x).F, cube(x).F)
