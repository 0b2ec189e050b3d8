"""Fields: splatting and back, voxels of a given map, batch entries, arithmetic; slicing without a field."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError

Mode = ME.SparseTensorQuantizationMode


def scattered(dimension, count=40):
    points = torch.rand(count, dimension, dtype=torch.float64) * 4 - 2
    return torch.cat((torch.randint(0, 2, (count, 1)), points), dim=1)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_splat_shares_features_out_linearly(dimension):
    points = scattered(dimension)
    features = torch.randn(len(points), 2, dtype=torch.float64, requires_grad=True)
    sparse = ME.TensorField(features, points).splat()
    for row, value in zip(sparse.C, sparse.F, strict=True):
        weights = (1 - (points[:, 1:] - row[1:]).abs()).clamp(min=0).prod(dim=1) * (points[:, 0] == row[0])
        torch.testing.assert_close(value, weights @ features)
    # All weights of a point add up to one.
    torch.testing.assert_close(sparse.F.sum(dim=0), features.sum(dim=0))


def test_interpolation_is_the_transpose_of_splatting():
    points = scattered(3)
    field = ME.TensorField(torch.randn(len(points), 2, dtype=torch.float64), points)
    sparse = field.splat()
    other = sparse.with_features(torch.randn_like(sparse.F))
    back = other.interpolate(field)
    assert isinstance(back, ME.TensorField)
    torch.testing.assert_close((back.F * field.F).sum(), (other.F * sparse.F).sum())
    torch.testing.assert_close(back.F, other.features_at_coordinates(points))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.UNWEIGHTED_AVERAGE, [[0.0], [2.5], [3.0]]),
        (Mode.UNWEIGHTED_SUM, [[0.0], [5.0], [3.0]]),
        (Mode.MAX_POOL, [[0.0], [4.0], [3.0]]),
        (Mode.RANDOM_SUBSAMPLE, [[0.0], [1.0], [3.0]]),
    ],
)
def test_a_field_on_the_voxels_of_a_given_map(mode, expected):
    field = ME.TensorField(torch.tensor([[1.0], [3], [4]]), torch.tensor([[0, 2.1], [0, 4.5], [0, 3.9]]))
    given = ME.SparseTensor(
        torch.ones(3, 1),
        torch.tensor([[0, -2], [0, 2], [0, 4]]),
        tensor_stride=2,
        coordinate_manager=field.coordinate_manager,
    )
    out = field.sparse(coordinate_map_key=given.coordinate_map_key, quantization_mode=mode)
    assert out.F.tolist() == expected
    assert out.coordinate_map_key == given.coordinate_map_key
    missing = ME.MinkowskiPruning()(given, torch.tensor([True, True, False]))
    with pytest.raises(InputError, match="1 of 3 rows have no cell"):
        field.sparse(coordinate_map_key=missing.coordinate_map_key)


def test_voxels_have_stride_one_unless_told():
    field = ME.TensorField(torch.ones(2, 1), torch.tensor([[0, 0.5], [0, 1.5]]), tensor_stride=2)
    assert field.tensor_stride == [2]
    assert field.sparse().tensor_stride == [1]
    assert field.sparse(2).C.tolist() == [[0, 0]]


def test_batch_entries_and_arithmetic():
    points = torch.tensor([[2, 0.5], [0, 1.5], [2, 0.7]])
    field = ME.TensorField(torch.tensor([[1.0], [2], [3]]), points)
    assert [f.flatten().tolist() for f in field.decomposed_features] == [[2], [], [1, 3]]
    assert torch.equal(field.decomposed_coordinates[2], points[[0, 2], 1:])
    assert [rows.tolist() for rows in field.decomposition_permutations] == [[1], [], [0, 2]]
    assert torch.equal((field + field * 2).F, 3 * field.F)
    assert torch.equal((field**2).F, field.F**2)
    assert field.get_device() == -1
    other = ME.TensorField(field.F, points, coordinate_manager=field.coordinate_manager)
    with pytest.raises(InputError, match="different coordinate maps"):
        field + other


def test_slicing_by_the_tensor_that_was_made_from_points():
    rows = torch.tensor([[0, 5], [0, 1], [0, 5], [1, 1]])
    features = torch.tensor([[1.0], [2], [3], [4]], requires_grad=True)
    x = ME.SparseTensor(features, rows, quantization_mode=Mode.UNWEIGHTED_AVERAGE)
    y = x.with_features(x.F * 10)
    out = y.slice(x)
    assert isinstance(out, ME.TensorField)
    assert out.F.tolist() == [[20], [20], [20], [40]]
    assert torch.equal(out.C, rows)
    assert y.cat_slice(x).F.tolist() == [[20, 2], [20, 2], [20, 2], [40, 4]]
    coarse = ME.MinkowskiSumPooling(2, 2, dimension=1)(y)
    with pytest.raises(InputError, match="different coordinate maps"):
        coarse.slice(x)


def test_requires_grad_is_set_where_given():
    rows = torch.zeros(1, 2, dtype=torch.int32)
    assert ME.SparseTensor(torch.ones(1, 1), rows, requires_grad=True).requires_grad
    assert ME.TensorField(torch.ones(1, 1), rows.float(), requires_grad=True).F.requires_grad
    assert not ME.SparseTensor(torch.ones(1, 1), rows).requires_grad_().detach().requires_grad
