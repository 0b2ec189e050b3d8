"""MinkowskiEngine's function classes against the layers, and custom layers as people write them."""

import pytest
import torch
from torch import nn

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski import interpolation
from pointseg.minkowski.keys import _get_coordinate_map_key


@pytest.fixture
def x(cloud):
    rows = cloud(80)
    return ME.SparseTensor(torch.randn(len(rows), 3, dtype=torch.float64, requires_grad=True), rows)


def unset():
    return ME.CoordinateMapKey(4)


def test_a_key_is_set_once(x):
    key = unset()
    assert not key.is_key_set()
    assert key.get_coordinate_size() == 4
    key.set_key([2, 2, 2], "level")
    assert key.is_key_set()
    assert key.get_key() == ([2, 2, 2], "level")
    assert key == ME.CoordinateMapKey([2, 2, 2], "level")
    with pytest.raises(InputError, match="already: make a new CoordinateMapKey"):
        key.set_key([1, 1, 1], "")


def test_convolution_functions_equal_the_layers(x):
    down = ME.MinkowskiConvolution(3, 4, kernel_size=3, stride=2, dimension=3).double()
    up = ME.MinkowskiConvolutionTranspose(4, 2, kernel_size=3, stride=2, dimension=3).double()
    coarse, fine = unset(), unset()
    manager, mode = x.coordinate_manager, ME.ConvolutionMode.DEFAULT
    low = ME.MinkowskiConvolutionFunction().apply(
        x.F, down.kernel, down.kernel_generator, mode, x.coordinate_map_key, coarse, manager
    )
    out = ME.MinkowskiConvolutionTransposeFunction().apply(
        low, up.kernel, up.kernel_generator, mode, coarse, fine, manager
    )
    expected = up(down(x))
    assert coarse == down(x).coordinate_map_key
    assert fine == x.coordinate_map_key
    torch.testing.assert_close(out, expected.F)
    ours, theirs = (torch.autograd.grad(f.square().sum(), (x.F, down.kernel, up.kernel)) for f in (out, expected.F))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ["SUM", "AVG", "MAX"])
def test_pooling_functions_equal_the_layers(x, kind):
    local, everywhere = ME.PoolingMode[f"LOCAL_{kind}_POOLING"], ME.PoolingMode[f"GLOBAL_{kind}_POOLING_DEFAULT"]
    layer = getattr(ME, f"Minkowski{kind.title()}Pooling")(2, 2, dimension=3)
    kernel, manager, key = layer.kernel_generator, x.coordinate_manager, unset()
    out = ME.MinkowskiLocalPoolingFunction.apply(x.F, local, kernel, x.coordinate_map_key, key, manager)
    torch.testing.assert_close(out, layer(x).F)
    back = ME.MinkowskiLocalPoolingTransposeFunction.apply(out, local, kernel, key, None, manager)
    torch.testing.assert_close(back, ME.MinkowskiPoolingTranspose(2, 2, dimension=3)(layer(x)).F)
    origin = unset()
    pooled = ME.MinkowskiGlobalPoolingFunction.apply(x.F, everywhere, x.coordinate_map_key, origin, manager)
    expected = ME.MinkowskiGlobalPooling(everywhere)(x)
    torch.testing.assert_close(pooled, expected.F)
    assert origin == expected.coordinate_map_key


def test_other_functions_equal_the_layers(x):
    manager, key = x.coordinate_manager, x.coordinate_map_key
    total = ME.MinkowskiGlobalSumPooling()(x)
    for mode, layer in (
        (ME.BroadcastMode.ELEMENTWISE_ADDITON, ME.MinkowskiBroadcastAddition()),
        (ME.BroadcastMode.ELEMENTWISE_MULTIPLICATION, ME.MinkowskiBroadcastMultiplication()),
    ):
        out = ME.MinkowskiBroadcastFunction.apply(x.F, total.F, mode, key, total.coordinate_map_key, manager)
        torch.testing.assert_close(out, layer(x, total).F)
    norm = ME.MinkowskiInstanceNorm(3).double()
    torch.testing.assert_close(ME.MinkowskiInstanceNormFunction.apply(x.F, key, None, manager), norm(x).F)

    kept, mask = unset(), x.F[:, 0] > 0
    torch.testing.assert_close(ME.MinkowskiPruningFunction.apply(x.F, mask, key, kept, manager), x.F[mask])
    assert torch.equal(manager.get_coordinates(kept), x.C[mask])

    pruned = ME.MinkowskiPruning()(x, mask)
    other = ME.SparseTensor(x.F * 2, x.C + 1, coordinate_manager=manager)
    union = unset()
    keys = [t.coordinate_map_key for t in (pruned, other, x)]
    out = ME.MinkowskiUnionFunction.apply(keys, union, manager, pruned.F, other.F, x.F)
    expected = ME.MinkowskiUnion()(pruned, other, x)
    by_row = dict(zip(map(tuple, expected.C.tolist()), expected.F, strict=True))
    for row, value in zip(manager.get_coordinates(union).tolist(), out, strict=True):
        torch.testing.assert_close(value, by_row[tuple(row)])

    samples = x.C.double() + 0.3
    out, rows, queries, weights = ME.MinkowskiInterpolationFunction.apply(x.F, samples, key, manager)
    layer = ME.MinkowskiInterpolation(return_kernel_map=True, return_weights=True)
    torch.testing.assert_close(out, layer(x, samples)[0])
    torch.testing.assert_close(out, out.new_zeros(out.shape).index_add(0, queries, x.F[rows] * weights[:, None]))


def test_a_custom_layer_written_for_minkowski_engine(x):
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel_generator = ME.KernelGenerator(kernel_size=2, stride=2, dimension=3)
            self.kernel = nn.Parameter(torch.randn(8, 3, 4, dtype=torch.float64))
            self.conv = ME.MinkowskiConvolutionFunction()

        def forward(self, input, coordinates=None):
            key = _get_coordinate_map_key(input, coordinates, 2)
            features = self.conv.apply(
                input.F,
                self.kernel,
                self.kernel_generator,
                ME.ConvolutionMode.DEFAULT,
                input.coordinate_map_key,
                key,
                input.coordinate_manager,
            )
            return ME.SparseTensor(2 * features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    layer = Doubled()
    plain = ME.MinkowskiConvolution(3, 4, kernel_size=2, stride=2, dimension=3)
    plain.kernel = layer.kernel
    out = layer(x)
    assert out.tensor_stride == [2, 2, 2]
    torch.testing.assert_close(out.F, 2 * plain(x).F)
    assert torch.equal(layer(x, plain(x)).C, plain(x).C)
    with pytest.raises(InputError, match="coordinate_manager is None"):
        layer.conv.apply(x.F, layer.kernel, layer.kernel_generator, None, x.coordinate_map_key)


class Scaled(ME.MinkowskiConvolution):
    """A convolution whose kernel is scaled by a learned factor, with its forward pass written over again."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, input, coords=None):
        out_key = _get_coordinate_map_key(input, coords, self.kernel_generator.expand_coordinates)
        features = self.conv.apply(
            input.F,
            self.factor * self.kernel,
            self.kernel_generator,
            self.convolution_mode,
            input.coordinate_map_key,
            out_key,
            input._manager,
        )
        return ME.SparseTensor(features, coordinate_map_key=out_key, coordinate_manager=input._manager)


@pytest.mark.parametrize("expand", [False, True])
def test_a_convolution_with_a_forward_pass_of_its_own(x, expand):
    layer = Scaled(3, 4, kernel_size=3, stride=2, expand_coordinates=expand, dimension=3).double()
    plain = ME.MinkowskiConvolution(3, 4, kernel_size=3, stride=2, expand_coordinates=expand, dimension=3).double()
    plain.kernel = layer.kernel
    out, expected = layer(x), plain(x)
    assert out._manager is x.coordinate_manager
    assert out.tensor_stride == [2, 2, 2]
    by_row = dict(zip(map(tuple, expected.C.tolist()), 3 * expected.F, strict=True))
    torch.testing.assert_close(out.F, torch.stack([by_row[tuple(row)] for row in out.C.tolist()]))
    grad, wanted = (torch.autograd.grad(each.F.sum(), layer.kernel)[0] for each in (out, expected))
    torch.testing.assert_close(grad, 3 * wanted)
    # Coordinates listed by hand are taken as they are, on the coarser grid or off it.
    chosen = torch.unique(x.C[::3] + 1, dim=0)
    there = layer(x, chosen)
    assert torch.equal(there.C, chosen)
    at_key = layer(x, there.coordinate_map_key)
    assert torch.equal(at_key.F, there.F)
    torch.testing.assert_close(there.F, 3 * plain(x, there).F)


def test_layers_carry_their_functions_under_minkowski_engine_s_names(x):
    up = ME.MinkowskiConvolutionTranspose(3, 2, kernel_size=2, stride=2, dimension=3)
    assert isinstance(up.conv, ME.MinkowskiConvolutionTransposeFunction)
    assert type(ME.MinkowskiConvolution(3, 2, kernel_size=2, dimension=3).conv) is ME.MinkowskiConvolutionFunction
    key, manager = x.coordinate_map_key, x._manager
    pool, back = ME.MinkowskiSumPooling(2, 2, dimension=3), ME.MinkowskiPoolingTranspose(2, 2, dimension=3)
    low, fine = unset(), unset()
    coarse = pool.pooling.apply(x.F, pool.pooling_mode, pool.kernel_generator, key, low, manager)
    again = back.pooling.apply(coarse, back.pooling_mode, back.kernel_generator, low, fine, manager)
    torch.testing.assert_close(again, back(pool(x)).F)
    everywhere, origin = ME.MinkowskiGlobalAvgPooling(), unset()
    mean = everywhere.pooling.apply(x.F, everywhere.pooling_mode, key, origin, manager)
    torch.testing.assert_close(mean, everywhere(x).F)
    add = ME.MinkowskiBroadcastAddition()
    spread = add.broadcast.apply(x.F, mean, add.operation_type, key, origin, manager)
    torch.testing.assert_close(spread, add(x, everywhere(x)).F)
    mask, kept = x.F[:, 0] > 0, unset()
    assert torch.equal(ME.MinkowskiPruning().pruning.apply(x.F, mask, key, kept, manager), x.F[mask])
    other = ME.SparseTensor(x.F * 2, x.C + 1, coordinate_manager=manager)
    union = ME.MinkowskiUnion().union.apply([key, other.coordinate_map_key], unset(), manager, x.F, other.F)
    torch.testing.assert_close(union, (x + other).F)
    samples = x.C.double() + 0.3
    assert torch.equal(
        ME.MinkowskiInterpolation().interp.apply(x.F, samples, key, manager)[0], x.features_at_coordinates(samples)
    )
    norm = ME.MinkowskiInstanceNorm(3).double()
    torch.testing.assert_close(norm.inst_norm.apply(x.F, key, None, manager), norm(x).F)


def test_global_pooling_onto_a_key_that_is_set(x):
    turned = ME.SparseTensor(
        torch.ones(2, 1), torch.tensor([[1, 5, 5, 5], [0, 0, 0, 0]]), coordinate_manager=x._manager
    )
    mode = ME.PoolingMode.GLOBAL_SUM_POOLING_DEFAULT
    total = ME.MinkowskiGlobalPoolingFunction.apply(
        x.F, mode, x.coordinate_map_key, turned.coordinate_map_key, x._manager
    )
    torch.testing.assert_close(total, torch.stack([x.F[x.C[:, 0] == entry].sum(dim=0) for entry in (1, 0)]))


def test_interpolation_searches_once(x, monkeypatch):
    calls, search = [], interpolation.corners
    monkeypatch.setattr(interpolation, "corners", lambda *given: calls.append(1) or search(*given))
    monkeypatch.setattr(x._manager, "interpolation_map_weight", None)
    samples = x.C.double() + 0.3
    ME.MinkowskiInterpolation(return_kernel_map=True, return_weights=True)(x, samples)
    assert len(calls) == 1
    ME.MinkowskiInterpolationFunction.apply(x.F, samples, x.coordinate_map_key, x._manager)
    assert len(calls) == 2
