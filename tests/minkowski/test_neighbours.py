"""The look-ups behind kernel maps: every way to find neighbours finds the same."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.minkowski import neighbours
from pointseg.minkowski.neighbours import CellTable, CoordinateMap, SortedTable, search
from pointseg.minkowski.packing import Bounds, Packing


def listed(kernel_map):
    """Pairs of each offset, sorted."""
    return [sorted(zip(i.tolist(), o.tolist(), strict=True)) for i, o in kernel_map.pairs]


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
    assert same.mirror is not None
    assert apart.mirror is None
    assert listed(same) == listed(apart)
    assert listed(same.swapped()) == listed(apart.swapped())


def test_only_a_map_of_rows_onto_themselves_mirrors(cloud):
    rows = cloud(40)
    own = CoordinateMap(rows, Bounds.of(rows))
    lopsided = ((0, 0, 0), (1, 0, 0), (0, -1, 0))
    assert search(own, own, lopsided).mirror is None
    assert search(own, own, ((1, 0, 0), (0, 0, 0), (-1, 0, 0))).mirror == (2, 1, 0)
    assert search(own, own, ((0, 2, 0), (0, -2, 0))).mirror == (1, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_both_look_ups_find_the_same(cloud, stride, monkeypatch):
    rows = cloud(300, size=6)
    layer = ME.MinkowskiConvolution(2, 2, 3, stride, dimension=3)
    found = {}
    for cells in (0, 10**6):
        monkeypatch.setattr(neighbours, "CELLS_PER_ROW", cells)
        x = ME.SparseTensor(torch.zeros(len(rows), 2), rows)
        found[cells] = layer.kernel_map(x, layer.output_key(x, None))
    assert isinstance(x.coordinate_manager.map(x.coordinate_map_key).table(Packing.fit(Bounds.of(rows))), CellTable)
    assert listed(found[0]) == listed(found[10**6])


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
    assert listed(fast) == listed(slow)
    assert fast.n_pairs == len(rows)


@pytest.mark.parametrize("kind", [CellTable, SortedTable])
def test_a_table_names_rows_in_the_order_it_was_given(kind, cloud, monkeypatch):
    monkeypatch.setattr(neighbours, "CELLS_PER_ROW", 10**6 if kind is CellTable else 0)
    rows = cloud(200, size=60)
    own = CoordinateMap(rows, Bounds.of(rows))
    assert own.order.rows is not None
    packing = Packing.fit(own.bounds.padded((1, 1, 1)))
    plain, ordered = own.table(packing), own.table(packing, own.order)
    assert isinstance(plain, kind)
    keys = packing.keys(rows)
    assert plain.rows(keys).tolist() == list(range(len(rows)))
    assert torch.equal(ordered.rows(keys).long(), own.order.numbers)
    absent = torch.tensor([0, packing.extent[0] * packing.weight[0] - 1])
    assert plain.rows(absent).tolist() == [-1, -1]
    position, row = plain.find(torch.cat((absent, keys[3:5])))
    assert (position.tolist(), row.tolist()) == ([2, 3], [3, 4])
