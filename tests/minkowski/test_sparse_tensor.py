"""Sparse tensors and fields: construction, arithmetic, decomposition, empty inputs, errors."""

import pytest
import torch

import pointseg.minkowski as ME
from pointseg.errors import InputError
from pointseg.minkowski.packing import Bounds, Packing, unique_first, unique_sorted

Mode = ME.SparseTensorQuantizationMode
DUPLICATES = torch.tensor([[0, 1, 1], [0, -1, 0], [0, 1, 1], [1, 1, 1], [0, -1, 0], [0, 1, 1]], dtype=torch.int32)
VALUES = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0], [0.5]])


def test_rows_keep_their_order(cloud):
    rows = cloud()
    features = torch.randn(len(rows), 3)
    x = ME.SparseTensor(features, rows)
    assert torch.equal(x.C, rows)
    assert x.F is features
    assert (x.D, x.tensor_stride, tuple(x.shape), len(x)) == (3, [1, 1, 1], (len(rows), 3), len(rows))
    assert x.features is x.F
    assert x.coordinates is x.C
    assert (x.device, x.dtype) == (features.device, features.dtype)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.RANDOM_SUBSAMPLE, [1, 2, 8]),
        (Mode.UNWEIGHTED_SUM, [5.5, 18, 8]),
        (Mode.UNWEIGHTED_AVERAGE, [5.5 / 3, 9, 8]),
        (Mode.MAX_POOL, [4, 16, 8]),
    ],
)
def test_duplicates_by_hand(mode, expected):
    x = ME.SparseTensor(VALUES, DUPLICATES, quantization_mode=mode)
    assert x.C.tolist() == [[0, 1, 1], [0, -1, 0], [1, 1, 1]]
    assert x.F[:, 0].tolist() == pytest.approx(expected)
    assert x.inverse_mapping.tolist() == [0, 1, 0, 2, 1, 0]


def test_max_pool_gradient_goes_to_the_largest():
    features = VALUES.clone().requires_grad_()
    ME.SparseTensor(features, DUPLICATES, quantization_mode=Mode.MAX_POOL).F.sum().backward()
    assert features.grad[:, 0].tolist() == [0, 0, 1, 1, 1, 0]


def test_tensor_stride_floors_towards_minus_infinity():
    rows = torch.tensor([[0, -1, 3], [0, 2, -4], [0, -2, 2]])
    x = ME.SparseTensor(torch.ones(3, 1), rows, tensor_stride=2, quantization_mode=Mode.UNWEIGHTED_SUM)
    assert x.C.tolist() == [[0, -2, 2], [0, 2, -4]]
    assert x.F[:, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("features", "coordinates", "message"),
    [
        (VALUES, DUPLICATES, "3 of 6 coordinate rows are duplicates"),
        (VALUES, DUPLICATES.float(), r"torch.float32, but a SparseTensor needs integers.*TensorField"),
        (VALUES[:5], DUPLICATES, "5 feature rows and 6 coordinates"),
        (VALUES[:, 0], DUPLICATES, r"features are \(6,\)"),
        (VALUES, DUPLICATES[:, :1], r"coordinates are \(6, 1\)"),
        (VALUES, DUPLICATES[0], r"coordinates are \(3,\)"),
        (VALUES, DUPLICATES.tolist(), "coordinates are list"),
        (VALUES, -DUPLICATES, "smallest batch index is -1"),
        (VALUES, DUPLICATES.long() * 2**31, "must be finite and lie between"),
        (VALUES.repeat(1, 1), torch.zeros(6, 7, dtype=torch.int32), "6 spatial axes"),
        (VALUES, None, "neither coordinates nor coordinate_map_key"),
    ],
)
def test_construction_errors(features, coordinates, message):
    with pytest.raises(InputError, match=message):
        ME.SparseTensor(features, coordinates, quantization_mode=Mode.NO_QUANTIZATION)


def test_range_error_names_extent_and_limit():
    far = torch.tensor([[0, -(2**31), 0, 0], [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]], dtype=torch.int32)
    with pytest.raises(InputError, match=r"4294967296 x 2147483648 x 2147483648.*2\^63"):
        ME.SparseTensor(torch.ones(2, 1), far)


def test_search_range_includes_the_kernel():
    # 2^31 cells a side leave room for the rows themselves, not for a kernel beside them.
    rows = torch.tensor([[0, 0, 0], [0, 2**31 - 1, 2**31 - 1]], dtype=torch.int32)
    x = ME.SparseTensor(torch.ones(2, 1), rows)
    wide = ME.MinkowskiConvolution(1, 1, kernel_size=3, dilation=2**30, dimension=2)
    with pytest.raises(InputError, match="can be told apart"):
        wide(x)


def test_new_coordinates_must_fit_32_bits():
    edge = ME.SparseTensor(torch.ones(1, 1), torch.tensor([[0, 2**31 - 1, 0]]))
    with pytest.raises(InputError, match="would make coordinates"):
        ME.MinkowskiConvolution(1, 1, kernel_size=3, expand_coordinates=True, dimension=2)(edge)
    assert len(ME.MinkowskiConvolution(1, 1, kernel_size=3, dimension=2)(edge)) == 1
    for value in (2.0**31, -(2.0**31) - 512, float("inf")):
        with pytest.raises(InputError, match="must be finite and lie between"):
            ME.TensorField(torch.ones(1, 1), torch.tensor([[0, value, 0]])).sparse()


def test_key_and_manager_must_fit(cloud):
    rows = cloud(30)
    x = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    other = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    with pytest.raises(InputError, match="rows, but the coordinate map has"):
        ME.SparseTensor(x.F[1:], coordinate_map_key=x.coordinate_map_key, coordinate_manager=x.coordinate_manager)
    for combine in (lambda: x + other, lambda: ME.cat(x, other), lambda: ME.MinkowskiUnion()(x, other)):
        with pytest.raises(InputError, match="different coordinate managers"):
            combine()
    foreign = ME.CoordinateMapKey((4, 4, 4))
    with pytest.raises(InputError, match="has no map"):
        ME.SparseTensor(x.F, coordinate_map_key=foreign, coordinate_manager=x.coordinate_manager)
    flat = torch.zeros(1, 3, dtype=torch.int32)
    with pytest.raises(InputError, match="2 axes, but the manager holds 3"):
        ME.SparseTensor(torch.ones(1, 1), flat, coordinate_manager=x.coordinate_manager)
    half = ME.SparseTensor(x.F, rows, tensor_stride=2, coordinate_manager=x.coordinate_manager)
    with pytest.raises(InputError, match="only tensors of one stride"):
        x + half
    with pytest.raises(InputError, match="different coordinate maps"):
        ME.cat(x, half)
    with pytest.raises(InputError, match="write a = a \\+ b"):
        x += half


def test_arithmetic_on_one_map(cloud):
    rows = cloud(30)
    a = ME.SparseTensor(torch.randn(len(rows), 3), rows)
    b = a.with_features(torch.rand(len(rows), 3) + 1)
    for ours, expected in (
        (a + b, a.F + b.F), (a - b, a.F - b.F), (a * b, a.F * b.F), (a / b, a.F / b.F),
        (a + 2, a.F + 2), (a * b.F, a.F * b.F), (-a, -a.F),
    ):  # fmt: skip
        assert torch.equal(ours.F, expected)
        assert ours.coordinate_map_key == a.coordinate_map_key
    before, expected = a, a.F + b.F
    a += b
    assert a is before
    assert torch.equal(a.F, expected)
    assert torch.equal(ME.cat((a, b)).F, torch.cat((a.F, b.F), dim=1))
    assert torch.equal(ME.cat(a, b).F, ME.cat([a, b]).F)
    with pytest.raises(InputError, match="one or more SparseTensors"):
        ME.cat()


def test_decomposition(cloud):
    rows = cloud(60, batches=3)
    x = ME.SparseTensor(torch.randn(len(rows), 2), rows)
    coordinates, features = x.decomposed_coordinates_and_features
    for entry in range(3):
        own = rows[:, 0] == entry
        assert torch.equal(coordinates[entry], rows[own, 1:])
        assert torch.equal(features[entry], x.F[own])
        assert torch.equal(x.coordinates_at(entry), rows[own, 1:])
        assert torch.equal(x.features_at(entry), x.F[own])
    assert [len(f) for f in x.decomposed_features] == [int((rows[:, 0] == entry).sum()) for entry in range(3)]


def test_strided_coordinates_are_shared_between_layers(cloud):
    rows = cloud()
    x = ME.SparseTensor(torch.randn(len(rows), 2), rows)
    a = ME.MinkowskiConvolution(2, 2, kernel_size=2, stride=2, dimension=3)(x)
    b = ME.MinkowskiConvolution(2, 2, kernel_size=3, stride=2, dimension=3)(x)
    assert a.coordinate_map_key == b.coordinate_map_key
    expected = torch.unique(torch.cat((rows[:, :1], rows[:, 1:].div(2, rounding_mode="floor") * 2), dim=1), dim=0)
    assert torch.equal(torch.unique(a.C, dim=0), expected)
    assert a.tensor_stride == [2, 2, 2]


def test_empty_tensor_passes_every_layer():
    x = ME.SparseTensor(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4, dtype=torch.int32))
    y = ME.MinkowskiConvolution(3, 4, kernel_size=3, bias=True, dimension=3)(x)
    down = ME.MinkowskiConvolution(4, 5, kernel_size=2, stride=2, dimension=3)(y)
    wide = ME.MinkowskiConvolution(5, 5, kernel_size=3, expand_coordinates=True, dimension=3)(down)
    up = ME.MinkowskiConvolutionTranspose(5, 4, kernel_size=2, stride=2, dimension=3)(down)
    grown = ME.MinkowskiGenerativeConvolutionTranspose(5, 4, kernel_size=2, stride=2, dimension=3)(down)
    out = ME.MinkowskiReLU()(ME.cat(up, y))
    assert out.F.shape == (0, 8)
    assert (len(wide), len(grown)) == (0, 0)
    for pool in (ME.MinkowskiMaxPooling, ME.MinkowskiAvgPooling):
        assert len(pool(2, 2, dimension=3)(out)) == 0
    assert ME.MinkowskiGlobalAvgPooling()(out).F.shape == (0, 8)
    out.F.sum().backward()
    assert x.decomposed_features == []


def test_field_round_trip():
    points = torch.tensor([[0, 0.2, 0.7], [0, -0.2, 0.1], [1, 0.3, 0.6], [0, 0.9, 0.9]])
    field = ME.TensorField(torch.arange(4.0)[:, None], points)
    sparse = field.sparse()
    assert sparse.C.tolist() == [[0, 0, 0], [0, -1, 0], [1, 0, 0]]
    assert sparse.F[:, 0].tolist() == [1.5, 1, 2]
    back = sparse.slice(field)
    assert back.F[:, 0].tolist() == [1.5, 1, 2, 1.5]
    assert torch.equal(back.C, points)
    coarse = ME.MinkowskiSumPooling(2, 2, dimension=2)(sparse)
    assert coarse.slice(field).F[:, 0].tolist() == [1.5, 1, 2, 1.5]
    assert ME.MinkowskiReLU()(field).F.shape == (4, 1)


def test_field_errors():
    points = torch.tensor([[0, 0.2, 0.7], [0, float("nan"), 0.1]])
    with pytest.raises(InputError, match=r"row 1 is \[0.0, nan"):
        ME.TensorField(torch.ones(2, 1), points).sparse()
    field = ME.TensorField(torch.ones(1, 1), points[:1], quantization_mode=Mode.UNWEIGHTED_SUM)
    with pytest.raises(InputError, match="UNWEIGHTED_SUM cannot be sliced"):
        field.sparse().slice(field)
    far = ME.SparseTensor(torch.ones(1, 1), torch.tensor([[0, 50, 50]]), coordinate_manager=field.coordinate_manager)
    field = field.with_features(field.F)
    field.quantization_mode = Mode.UNWEIGHTED_AVERAGE
    with pytest.raises(InputError, match="1 of 1 rows have no cell"):
        far.slice(field)
    with pytest.raises(InputError, match="different coordinate managers"):
        ME.SparseTensor(torch.ones(1, 1), torch.tensor([[0, 0, 0]])).slice(field)


def test_interpolation_at_the_rows_returns_them(cloud):
    rows = cloud(50)
    x = ME.SparseTensor(torch.randn(len(rows), 2), rows)
    torch.testing.assert_close(x.features_at_coordinates(rows.float()), x.F)


def test_keys_round_trip_and_add(cloud):
    rows = cloud(300, size=50)
    packing = Packing.fit(Bounds.of(rows).padded((2, 2, 2)))
    keys = packing.keys(rows)
    assert torch.equal(packing.coordinates(keys), rows)
    moved = rows + torch.tensor([0, 1, -2, 2], dtype=torch.int32)
    assert torch.equal(packing.keys(moved), keys + packing.delta((1, -2, 2)))
    order = sorted(range(len(rows)), key=lambda i: rows[i].tolist())
    assert torch.argsort(keys).tolist() == order


def test_unique_keys():
    keys = torch.tensor([5, 3, 5, 9, 3, 1])
    assert [t.tolist() for t in unique_first(keys)] == [[0, 1, 3, 5], [0, 1, 0, 2, 1, 3]]
    assert [t.tolist() for t in unique_sorted(keys)] == [[5, 1, 0, 3], [2, 1, 2, 3, 1, 0]]
    distinct = torch.tensor([5, 3, 9])
    assert [t.tolist() for t in unique_first(distinct)] == [[0, 1, 2], [0, 1, 2]]
