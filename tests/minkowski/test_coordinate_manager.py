"""The coordinate manager's queries, and the manager that tensors share."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError

SHARE = ME.SparseTensorOperationMode.SHARE_COORDINATE_MANAGER


@pytest.fixture
def sharing():
    ME.set_sparse_tensor_operation_mode(SHARE)
    yield
    ME.set_sparse_tensor_operation_mode(ME.SparseTensorOperationMode.SEPARATE_COORDINATE_MANAGER)
    ME.clear_global_coordinate_manager()


@pytest.fixture
def x(cloud):
    rows = cloud(60)
    return ME.SparseTensor(torch.randn(len(rows), 2, dtype=torch.float64), rows)


@pytest.mark.parametrize("transposed", [False, True])
def test_kernel_map_lists_the_pairs_of_each_offset(x, transposed):
    manager = x.coordinate_manager
    coarse = manager.stride(x.coordinate_map_key, 2)
    source, target = (coarse, x.coordinate_map_key) if transposed else (x.coordinate_map_key, coarse)
    pairs = manager.kernel_map(source, target, stride=2, kernel_size=3, is_transpose=transposed)
    fine = x.C.tolist()
    cells = manager.get_coordinates(coarse).tolist()
    offsets = ME.KernelGenerator(3, dimension=3).unit_offsets
    for k, offset in enumerate(offsets):
        expected = {
            (fine.index(near), row)
            for row, cell in enumerate(cells)
            if (near := [cell[0], *(c + o for c, o in zip(cell[1:], offset, strict=True))]) in fine
        }
        found = pairs[k].tolist() if k in pairs else [[], []]
        assert set(zip(*(reversed(found) if transposed else found), strict=True)) == expected
    assert min(p.shape[1] for p in pairs.values()) > 0


def test_kernel_map_of_a_pooled_cell_is_one_list(x):
    manager = x.coordinate_manager
    coarse = manager.stride(x.coordinate_map_key, 3)
    pairs = manager.get_kernel_map(1, 3, stride=3, kernel_size=3, is_pool=True)
    rows, cells = manager.stride_map(x.coordinate_map_key, coarse)
    assert list(pairs) == [0]
    assert torch.equal(pairs[0], torch.stack((rows, cells)))
    floored = torch.cat((x.C[:, :1], x.C[:, 1:].div(3, rounding_mode="floor") * 3), dim=1)
    assert torch.equal(manager.get_coordinates([3, 3, 3])[cells], floored[rows])
    y = ME.MinkowskiSumPooling(3, 3, dimension=3)(x)
    assert all(torch.equal(a, b) for a, b in zip(ME.utils.coords.get_coords_map(x, y), (rows, cells), strict=True))


def test_origin_and_batches(x):
    manager = x.coordinate_manager
    entries, rows = manager.origin_map(x.coordinate_map_key)
    assert entries.tolist() == [0, 1]
    assert all(bool((x.C[own, 0] == entry).all()) for entry, own in zip(entries, rows, strict=True))
    assert sum(map(len, rows)) == len(x)
    assert manager.number_of_unique_batch_indices() == 2
    assert manager.get_coordinates(manager.origin()).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert manager.origin() == ME.MinkowskiGlobalSumPooling()(x).coordinate_map_key
    with pytest.raises(InputError, match="has no field yet"):
        manager.origin_field()
    with pytest.raises(InputError, match="has no map yet"):
        ME.CoordinateManager(D=2).origin()


def test_fields_and_their_voxels():
    points = torch.tensor([[0, 0.2], [1, 0.4], [0, 0.9], [0, 2.5]])
    field = ME.TensorField(torch.ones(4, 1), points)
    manager, key = field.coordinate_manager, field.coordinate_field_map_key
    assert manager.field_to_sparse_keys(key) == []
    voxels, (first, inverse) = manager.field_to_sparse_insert_and_map(key, 1)
    assert manager.get_coordinates(voxels).tolist() == [[0, 0], [1, 0], [0, 2]]
    assert (first.tolist(), inverse.tolist()) == ([0, 1, 3], [0, 1, 0, 2])
    assert manager.exists_field_to_sparse(key, voxels)
    assert manager.field_to_sparse_keys(key) == [voxels]
    assert [m.tolist() for m in manager.get_field_to_sparse_map(key, voxels)] == [[0, 1, 3], [0, 1, 0, 2]]
    assert [m.tolist() for m in manager.field_to_sparse_map(key, voxels)] == [[0, 1, 0, 2], [0, 1, 2, 3]]
    coarse = manager.stride(voxels, 4)
    assert not manager.exists_field_to_sparse(key, coarse)
    assert [m.tolist() for m in manager.field_to_sparse_map(key, coarse)] == [[0, 1, 0, 0], [0, 1, 2, 3]]
    entries, rows = manager.origin_field_map(key)
    assert (entries.tolist(), [r.tolist() for r in rows]) == ([0, 1], [[0, 2, 3], [1]])
    assert manager.get_coordinates(manager.origin_field()).tolist() == [[0, 0], [1, 0]]
    assert torch.equal(manager.get_coordinate_field(key), points)
    # The voxels have the field's stride.
    assert torch.equal(manager.get_coordinate_field(1), points)
    assert manager.get_coordinates(1).tolist() == [[0, 0], [1, 0], [0, 2]]


def test_union_map_lists_rows_of_the_union(x):
    manager, out = x.coordinate_manager, ME.CoordinateMapKey(4)
    other = ME.SparseTensor(x.F, x.C + 1, coordinate_manager=manager)
    maps = manager.union_map([x.coordinate_map_key, other.coordinate_map_key], out)
    rows = manager.get_coordinates(out)
    assert len(torch.unique(rows, dim=0)) == len(rows)
    for tensor, (own, place) in zip((x, other), maps, strict=True):
        assert torch.equal(rows[place], tensor.C[own])
    assert len(torch.cat([place for _, place in maps]).unique()) == len(rows)
    with pytest.raises(InputError, match="two or more maps"):
        manager.union_map([x.coordinate_map_key], ME.CoordinateMapKey(4))


def test_keys(x):
    manager = x.coordinate_manager
    fresh = manager.get_unique_coordinate_map_key([1, 1, 1])
    assert not manager.exists(fresh)
    assert fresh.get_tensor_stride() == [1, 1, 1]
    with pytest.raises(InputError, match=r"no map of tensor stride \[7, 7, 7\]"):
        manager.get_coordinates(7)
    with pytest.raises(InputError, match="string_id is 'other'"):
        manager.stride(x.coordinate_map_key, 2, "other")
    assert str(len(x)) in repr(manager)


@pytest.mark.usefixtures("sharing")
def test_tensors_share_the_global_manager(cloud):
    rows = cloud(30)
    assert ME.sparse_tensor_operation_mode() is SHARE
    assert ME.global_coordinate_manager() is None
    a = ME.SparseTensor(torch.ones(len(rows), 1), rows)
    b = ME.SparseTensor(torch.ones(len(rows), 1), rows)
    field = ME.TensorField(torch.ones(len(rows), 1), rows.float())
    assert a.coordinate_manager is b.coordinate_manager is field.coordinate_manager is ME.global_coordinate_manager()
    assert torch.equal((a + b).F, torch.full((len(rows), 1), 2.0))
    with pytest.raises(InputError, match="shared coordinate manager holds 3"):
        ME.SparseTensor(torch.ones(1, 1), torch.zeros(1, 3, dtype=torch.int32))
    ME.clear_global_coordinate_manager()
    flat = ME.SparseTensor(torch.ones(1, 1), torch.zeros(1, 3, dtype=torch.int32))
    assert flat.coordinate_manager is not a.coordinate_manager
    mine = ME.CoordinateManager(D=3)
    ME.set_global_coordinate_manager(mine)
    assert ME.SparseTensor(a.F, rows).coordinate_manager is mine


def test_settings_are_checked_and_have_no_effect():
    ME.set_gpu_allocator(ME.GPUMemoryAllocatorType.CUDA)
    with pytest.warns(FutureWarning, match="set_gpu_allocator"):
        ME.set_memory_manager_backend(ME.GPUMemoryAllocatorType.PYTORCH)
    for setter in (ME.set_gpu_allocator, ME.set_sparse_tensor_operation_mode):
        with pytest.raises(InputError, match="must be a"):
            setter("fast")
    manager = ME.CoordinateManager(2, 4, None, None, ME.MinkowskiAlgorithm.MEMORY_EFFICIENT)
    assert manager.minkowski_algorithm is ME.MinkowskiAlgorithm.MEMORY_EFFICIENT
