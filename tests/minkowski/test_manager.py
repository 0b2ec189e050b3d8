"""Which coordinate maps belong together, and that maps are nobody else's memory."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.manager import CoordinateManager


def rows(*points):
    return torch.tensor(points, dtype=torch.int32)


def floored(coordinates, stride):
    steps = torch.tensor([1] + [stride] * (coordinates.shape[1] - 1))
    return torch.unique(coordinates.div(steps, rounding_mode="floor") * steps, dim=0).int()


POOL = ME.MinkowskiSumPooling(2, 2, dimension=2)


def test_pruned_tensors_of_two_levels_are_not_confused():
    x = ME.SparseTensor(torch.ones(4, 1), rows((0, 0, 0), (0, 2, 0), (0, 10, 0), (0, 20, 0)))
    coarse, prune = POOL(x), ME.MinkowskiPruning()
    other = prune(coarse, coarse.C[:, 1] == 20)
    kept = prune(x, x.C[:, 1] < 5)
    pooled = POOL(kept)
    assert pooled.C.tolist() == kept.C.tolist()
    assert pooled.F.tolist() == [[1], [1]]
    with pytest.raises(InputError, match=r"no coordinates of stride \[1, 1\]"):
        ME.MinkowskiPoolingTranspose(2, 2, dimension=2)(other)


def test_rows_added_at_another_stride_are_not_taken_for_the_coarser_map():
    x = ME.SparseTensor(torch.ones(2, 1), rows((0, 0, 0), (0, 2, 0)))
    ME.SparseTensor(torch.ones(1, 1), rows((0, 100, 0)), tensor_stride=2, coordinate_manager=x.coordinate_manager)
    assert POOL(x).C.tolist() == x.C.tolist()


def test_voxels_of_two_fields_are_not_confused():
    a = ME.TensorField(torch.ones(2, 1), torch.tensor([[0, 0.0, 0], [0, 2.0, 0]]))
    b = ME.TensorField(torch.ones(1, 1), torch.tensor([[0, 100.0, 0]]), coordinate_manager=a.coordinate_manager)
    voxels = a.sparse()
    assert b.sparse(tensor_stride=2).C.tolist() == [[0, 100, 0]]
    assert POOL(voxels).C.tolist() == [[0, 0, 0], [0, 2, 0]]


def test_a_family_shares_its_levels_whichever_way_they_are_reached(cloud):
    x = ME.SparseTensor(torch.ones(len(cloud()), 1), cloud())
    manager, fine = x.coordinate_manager, x.coordinate_map_key
    half = manager.stride(fine, 2)
    quarter = manager.stride(half, 2)
    assert manager.stride(fine, 4) == quarter
    assert torch.equal(manager.get_coordinates(quarter), floored(x.C, 4))
    up = ME.MinkowskiPoolingTranspose(4, 4, dimension=3)(
        ME.SparseTensor(
            torch.ones(manager.size(quarter), 1), coordinate_map_key=quarter, coordinate_manager=x.coordinate_manager
        )
    )
    assert up.coordinate_map_key == fine


def test_pruned_tensors_have_levels_of_their_own(cloud):
    x = ME.SparseTensor(torch.ones(len(cloud()), 1), cloud())
    down = ME.MinkowskiSumPooling(2, 2, dimension=3)
    up = ME.MinkowskiPoolingTranspose(2, 2, dimension=3)
    whole = down(x)
    kept = ME.MinkowskiPruning()(x, x.C[:, 1] > 0)
    part = down(kept)
    assert torch.equal(part.C, floored(kept.C, 2))
    assert torch.equal(whole.C, floored(x.C, 2))
    assert up(part).coordinate_map_key == kept.coordinate_map_key
    assert up(whole).coordinate_map_key == x.coordinate_map_key


def test_string_ids_are_used_once():
    manager = CoordinateManager(D=1)
    keys = [manager.insert_and_map(rows((0, 4)), stride, name)[0] for stride in (1, 2) for name in ("", "", "a", "a-1")]
    keys.append(manager.add_rows(keys[-1], torch.tensor([0])))
    assert len({key.string_id for key in keys}) == len(keys)
    assert [key.string_id for key in keys[:4:2]] == ["", "a"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int64])
def test_every_integer_dtype_is_taken(dtype):
    x = ME.SparseTensor(torch.ones(2, 1), torch.tensor([[0, 0, 0], [1, 100, 7]], dtype=dtype))
    assert x.C.dtype == torch.int32
    assert x.C.tolist() == [[0, 0, 0], [1, 100, 7]]


def test_changing_the_given_coordinates_changes_no_map():
    given = rows((0, 0, 0), (0, 1, 0))
    x = ME.SparseTensor(torch.ones(2, 1), given)
    given += 5
    assert x.C.tolist() == [[0, 0, 0], [0, 1, 0]]


def test_a_large_batch_index_costs_no_loop():
    x = ME.SparseTensor(torch.ones(2, 1), rows((3_000_000, 0, 0), (7, 0, 0)))
    entries, own = x.coordinate_manager.batch_entries(x.coordinate_map_key)
    assert entries.tolist() == [7, 3_000_000]
    assert [r.tolist() for r in own] == [[1], [0]]
    assert ME.MinkowskiGlobalSumPooling()(x).C.tolist() == [[7, 0, 0], [3_000_000, 0, 0]]


def test_batch_rows_list_empty_entries_too():
    x = ME.SparseTensor(torch.ones(3, 1), rows((3, 0, 0), (1, 0, 0), (3, 1, 0)))
    assert [r.tolist() for r in x.coordinate_manager.batch_rows(x.coordinate_map_key)] == [[], [1], [], [0, 2]]


def test_global_features_of_two_levels_share_their_rows():
    x = ME.SparseTensor(torch.ones(3, 1), rows((0, 0, 0), (2, 2, 0), (2, 3, 0)))
    pool = ME.MinkowskiGlobalSumPooling()
    both = ME.cat(pool(x), pool(POOL(x)))
    assert both.C.tolist() == [[0, 0, 0], [2, 0, 0]]
    kept = ME.MinkowskiPruning()(x, x.C[:, 0] == 2)
    assert pool(kept).C.tolist() == [[2, 0, 0]]


def test_growing_with_a_stride_stays_on_the_grid(cloud):
    given = cloud(60)
    x = ME.SparseTensor(torch.randn(len(given), 1, dtype=torch.float64), given)
    layer = ME.MinkowskiConvolution(1, 1, kernel_size=3, stride=2, expand_coordinates=True, dimension=3).double()
    y = layer(x)
    reached = torch.cat([x.C + torch.tensor((0, *o)) for o in layer.kernel_generator.offsets((1, 1, 1))])
    assert y.tensor_stride == [2, 2, 2]
    on_grid = reached[(reached[:, 1:] % 2 == 0).all(dim=1)]
    assert torch.equal(y.C, torch.unique(on_grid, dim=0))
    # The same values as at these coordinates given by hand, and every row of the plain strided layer among them.
    torch.testing.assert_close(layer(x, coordinates=y.C).F, y.F)
    layer.kernel_generator.expand_coordinates = False
    plain = layer(x)
    row_of = {tuple(row): i for i, row in enumerate(y.C.tolist())}
    torch.testing.assert_close(y.F[[row_of[tuple(row)] for row in plain.C.tolist()]], plain.F)


def test_the_lowest_coordinate_is_kept_where_it_lies_on_the_grid():
    lowest = rows((0, -(2**31), 4), (0, -(2**31) + 1, 2**31 - 1))
    x = ME.SparseTensor(torch.ones(2, 1), lowest, tensor_stride=2)
    assert x.C.tolist() == [[0, -(2**31), 4], [0, -(2**31), 2**31 - 2]]


def test_global_tensors_are_made_sliced_and_read_like_others(cloud):
    given = cloud(50)
    x = ME.SparseTensor(torch.randn(len(given), 2), given)
    pooled = ME.MinkowskiGlobalAvgPooling()(x)
    again = ME.SparseTensor(pooled.F, pooled.C, tensor_stride=0)
    assert torch.equal(again.C, pooled.C)
    assert torch.equal(again.F, pooled.F)
    assert again.tensor_stride == [0, 0, 0]
    same = ME.MinkowskiConvolution(2, 2, 3, dimension=3)
    assert torch.equal(same(pooled, coordinates=pooled.C).F, same(pooled).F)
    # Every point lies in the one cell of its batch entry.
    points = given.float() + torch.tensor([0, 0.2, 0.7, 0.4])
    field = ME.TensorField(torch.ones(len(given), 1), points, coordinate_manager=x.coordinate_manager)
    own = pooled.F[given[:, 0].long()]
    assert torch.equal(pooled.slice(field).F, own)
    torch.testing.assert_close(pooled.features_at_coordinates(points.requires_grad_()), own)
    (slope,) = torch.autograd.grad(pooled.features_at_coordinates(points).sum(), points)
    assert not slope.any(), "the same feature everywhere"
    whole = field.sparse(0)
    assert whole.C.tolist() == [[int(entry), 0, 0, 0] for entry in given[:, 0].unique_consecutive()[: len(whole)]]
    grown = ME.MinkowskiConvolution(2, 2, 3, expand_coordinates=True, dimension=3)(pooled)
    assert torch.equal(grown.C, pooled.C)


def test_global_features_at_chosen_rows_go_to_their_own_entries():
    x = ME.SparseTensor(torch.tensor([[1.0], [10], [20]]), rows((0, 0, 0), (3, 0, 0), (3, 5, 0)))
    for order in ([0, 1], [1, 0]):
        chosen = rows((3, 7, 7), (0, 1, 1))[order]
        y = ME.MinkowskiGlobalSumPooling()(x, chosen)
        assert torch.equal(y.C, chosen)
        assert y.F[:, 0].tolist() == [{0: 1.0, 3: 30.0}[entry] for entry in chosen[:, 0].tolist()]
