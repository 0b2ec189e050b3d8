"""Sums over many rows of half precision: kept in fp32, rounded once. Whole numbers: refused where that would round."""

from functools import partial

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.sparse_matrix import spmm_average

Mode = ME.SparseTensorQuantizationMode
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
# In bf16 a sum of ones stops at 256, in fp16 at 2048.
COUNT = 5000


def origin(count=COUNT):
    return torch.zeros(count, 3, dtype=torch.int32)


def ones(dtype, count=COUNT):
    return torch.ones(count, 1, dtype=dtype, requires_grad=True)


def assert_rounded(actual, exact, dtype):
    assert actual.dtype == dtype
    assert torch.equal(actual.detach(), torch.as_tensor(exact).to(dtype).expand_as(actual))


@HALVES
def test_voxels_of_many_points(dtype):
    # One point more elsewhere: as many voxels as points would not be reduced at all.
    rows = torch.cat((origin(), torch.tensor([[0, 3, 3]])))
    values = 1 + torch.arange(len(rows)) % 2
    features = values[:, None].to(dtype)
    for mode, total in ((Mode.UNWEIGHTED_AVERAGE, 1.5), (Mode.UNWEIGHTED_SUM, 7500.0)):
        for voxels in (
            ME.SparseTensor(features, rows, quantization_mode=mode),
            ME.TensorField(features, rows.float(), quantization_mode=mode).sparse(),
        ):
            assert_rounded(voxels.F[0], total, dtype)
    largest = ME.SparseTensor(features, rows, quantization_mode=Mode.MAX_POOL)
    assert_rounded(largest.F[:, 0], [2.0, 1.0], dtype)


@HALVES
def test_splatted_points(dtype):
    # Thirds are not numbers of half precision.
    for place, weights in ((0.5, (0.5, 0.5)), (1 / 3, (2 / 3, 1 / 3))):
        points = torch.tensor([[0, place]], dtype=torch.float64).repeat(COUNT, 1)
        sparse = ME.TensorField(ones(dtype), points).splat()
        order = sparse.C[:, 1].argsort()
        assert_rounded(sparse.F[order, 0], [COUNT * w for w in weights], dtype)


@HALVES
def test_products_of_a_sparse_matrix(dtype):
    rows, cols, size = torch.zeros(COUNT).long(), torch.arange(COUNT), torch.Size((1, COUNT))
    mat, values = ones(dtype), torch.full((COUNT,), 0.5, dtype=dtype, requires_grad=True)
    assert_rounded(ME.spmm(rows, cols, values, size, mat), COUNT / 2, dtype)
    assert_rounded(spmm_average(rows, cols, size, mat)[0], 1.0, dtype)
    repeated = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    column = torch.zeros(COUNT).long()
    ME.spmm(cols, column, values, torch.Size((COUNT, 1)), repeated).sum().backward()
    assert_rounded(repeated.grad, COUNT / 2, dtype)


@HALVES
def test_gradients_of_rows_read_many_times(dtype):
    voxel = ones(dtype, 1)
    x = ME.SparseTensor(voxel, origin(1))
    field = ME.TensorField(ones(dtype).detach(), origin().float(), coordinate_manager=x.coordinate_manager)
    many = ME.SparseTensor(ones(dtype).detach(), torch.nn.functional.pad(torch.arange(COUNT)[:, None], (1, 0)))
    pooled = ME.MinkowskiGlobalSumPooling()(many)
    for out in (
        x.slice(field).F,
        x.features_at_coordinates(origin().float()),
        ME.MinkowskiBroadcast()(many, pooled.with_features(voxel)).F,
    ):
        (grad,) = torch.autograd.grad(out, voxel, torch.ones_like(out))
        assert_rounded(grad, float(COUNT), dtype)


def test_interpolated_corners_are_rounded_once():
    features = torch.tensor([[1.0], [1.37]]).bfloat16()
    x = ME.SparseTensor(features, torch.tensor([[0, 0], [0, 1]]))
    exact = 0.9 * features[:1].double() + 0.1 * features[1:].double()
    assert_rounded(x.features_at_coordinates(torch.tensor([[0, 0.1]])), exact, torch.bfloat16)


def test_the_gradient_of_a_maximum_of_many_windows():
    rows = torch.nn.functional.pad(torch.arange(516)[:, None], (1, 0))
    features = torch.zeros(516, 1, dtype=torch.bfloat16)
    features[258] = 1
    features.requires_grad_()
    ME.MinkowskiMaxPooling(601, 1, dimension=1)(ME.SparseTensor(features, rows)).F.sum().backward()
    assert features.grad[258].item() == 516


def test_labels_are_sliced_exactly():
    labels = torch.tensor([[2**24 + 1], [7]])
    field = ME.TensorField(torch.ones(3, 1), torch.tensor([[0, 0.2], [0, 1.5], [0, 0.7]]))
    assert field.sparse().with_features(labels).slice(field).F.tolist() == [[2**24 + 1], [7], [2**24 + 1]]


@pytest.mark.parametrize("labels", [torch.tensor([[2], [3]]), torch.tensor([[True], [False]])])
def test_whole_numbers_are_never_merged_or_weighted(labels):
    places = torch.tensor([[0, 0.2], [0, 0.7]])
    field, twice = ME.TensorField(labels, places), torch.zeros(2, 2, dtype=torch.int32)
    x = ME.SparseTensor(labels, torch.tensor([[0, 0], [0, 1]]))
    entry = torch.zeros(2).long()
    modes = (Mode.UNWEIGHTED_AVERAGE, Mode.UNWEIGHTED_SUM, Mode.MAX_POOL)
    calls = [
        *(partial(field.sparse, quantization_mode=mode) for mode in modes),
        *(partial(ME.SparseTensor, labels, twice, quantization_mode=mode) for mode in modes),
        field.splat,
        lambda: x.features_at_coordinates(places),
        lambda: ME.MinkowskiInterpolation()(x, places),
        lambda: ME.spmm(entry, entry, labels[:, 0], torch.Size((1, 2)), labels),
        lambda: spmm_average(entry, entry, torch.Size((1, 2)), labels),
    ]
    for call in calls:
        with pytest.raises(InputError, match=f"features are {labels.dtype}, but features must be floating point"):
            call()
    first = field.sparse(quantization_mode=Mode.RANDOM_SUBSAMPLE)
    assert first.F.tolist() == labels[:1].tolist()
    assert first.slice(field).F.tolist() == labels[:1].tolist() * 2
    assert ME.SparseTensor(labels, twice).F.tolist() == labels[:1].tolist()
