"""Quantisation, collation and initialisation utilities."""

import numpy as np
import pytest
import torch
from torch import nn

import pointseg.minkowski as ME
from pointseg.errors import InputError


def test_batched_coordinates():
    clouds = [np.array([[0.5, -0.5], [1.0, 2.0]]), torch.tensor([[3.0, -1.5]])]
    assert ME.utils.batched_coordinates(clouds).tolist() == [[0, 0, -1], [0, 1, 2], [1, 3, -2]]
    real = ME.utils.batched_coordinates(clouds, dtype=torch.float32)
    assert real.tolist() == [[0, 0.5, -0.5], [0, 1, 2], [1, 3, -1.5]]
    for bad, message in (
        ([], "empty"),
        ([np.zeros((2, 3)), np.zeros((2, 2))], "all must be"),
        ([np.array([[np.nan, 0.0]])], "must be finite"),
    ):
        with pytest.raises(InputError, match=message):
            ME.utils.batched_coordinates(bad)
    with pytest.raises(InputError, match="dtype is"):
        ME.utils.batched_coordinates(clouds, dtype=torch.int64)


def test_sparse_collate():
    coords = [np.array([[0, 1], [2, 3]]), np.array([[4, 5]])]
    feats = [torch.ones(2, 3), torch.zeros(1, 3)]
    labels = [np.array([1, 2]), np.array([3])]
    rows, features, joined = ME.utils.sparse_collate(coords, feats, labels)
    assert rows.tolist() == [[0, 0, 1], [0, 2, 3], [1, 4, 5]]
    assert rows.dtype == torch.int32
    assert torch.equal(features, torch.cat(feats))
    assert joined.tolist() == [1, 2, 3]
    again = ME.utils.batch_sparse_collate(list(zip(coords, feats, labels, strict=True)))
    assert all(torch.equal(a, b) for a, b in zip(again, (rows, features, joined), strict=True))
    assert len(ME.utils.batch_sparse_collate(list(zip(coords, feats, strict=True)))) == 2
    with pytest.raises(InputError, match=r"cloud 1 has \[1, 2\] rows"):
        ME.utils.sparse_collate(coords, [torch.ones(2, 3), torch.ones(2, 3)])
    with pytest.raises(InputError, match=r"\[2, 1\] entries"):
        ME.utils.sparse_collate(coords, feats[:1])


def test_collation_stops_at_the_limit(caplog):
    data = [(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros(3))] * 4
    assert len(ME.utils.SparseCollation(limit_numpoints=7)(data)[0]) == 6
    assert "2 of 4 clouds kept" in caplog.text
    assert len(ME.utils.SparseCollation()(data)[0]) == 12


def test_sparse_quantize_labels_by_hand():
    points = torch.tensor([[0.1, 0.1], [0.9, 0.9], [0.2, 0.3], [0.8, 0.6], [-0.1, 0.0], [0.4, 0.4]])
    labels = torch.tensor([1, 7, 1, 7, -100, 2])
    coords, agreed, index, inverse = ME.utils.sparse_quantize(
        points, labels=labels, return_index=True, return_inverse=True, quantization_size=0.5
    )
    assert coords.tolist() == [[0, 0], [1, 1], [-1, 0]]
    assert agreed.tolist() == [-100, 7, -100]
    assert index.tolist() == [0, 1, 4]
    assert inverse.tolist() == [0, 1, 0, 1, 2, 0]


def test_sparse_quantize_returns_what_is_asked_for():
    points = np.array([[0.0, 0.0], [3.0, 1.0], [0.4, 0.2]])
    only = ME.utils.sparse_quantize(points)
    assert only.dtype == np.int32
    assert only.tolist() == [[0, 0], [3, 1]]
    assert ME.utils.sparse_quantize(points, return_maps_only=True).tolist() == [0, 1]
    index, inverse = ME.utils.sparse_quantize(points, return_maps_only=True, return_inverse=True)
    assert inverse.tolist() == [0, 1, 0]
    coords, feats = ME.utils.sparse_quantize(points, points, quantization_size=[2.0, 0.5])
    assert coords.tolist() == [[0, 0], [1, 2]]
    assert feats.tolist() == [[0, 0], [3, 1]]
    assert index.tolist() == [0, 1]
    unique, back = ME.utils.unique_coordinate_map(torch.tensor([[0, 1, 1], [0, 0, 0], [0, 1, 0]]), tensor_stride=2)
    assert (unique.tolist(), back.tolist()) == ([0], [0, 0, 0])
    for size in (0, -1, [1, 2, 3]):
        with pytest.raises(InputError, match="quantization_size"):
            ME.utils.sparse_quantize(points, quantization_size=size)
    with pytest.raises(InputError, match="3 coordinates and 2 labels"):
        ME.utils.sparse_quantize(points, labels=np.zeros(2, dtype=int))


def test_labels_agree_with_a_slow_twin():
    generator = np.random.default_rng(0)
    points, labels = generator.uniform(-1, 1, (400, 3)), generator.integers(-1, 3, 400)
    _, agreed, inverse = ME.utils.sparse_quantize(
        points, labels=labels, ignore_label=-1, return_inverse=True, quantization_size=0.4
    )
    for voxel, label in enumerate(agreed):
        held = set(labels[inverse == voxel].tolist())
        assert label == (held.pop() if len(held) == 1 else -1)


@pytest.mark.parametrize(
    ("shape", "mode", "fan"),
    [((27, 64, 32), "fan_in", 27 * 64), ((27, 64, 32), "fan_out", 27 * 32), ((64, 4096), "fan_in", 4096)],
)
def test_kaiming_normal(shape, mode, fan):
    weight = ME.utils.kaiming_normal_(torch.empty(shape), mode=mode, nonlinearity="relu")
    assert weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.02)
    assert abs(weight.mean().item()) < 0.02 * weight.std().item()


@pytest.mark.parametrize(
    ("layer", "twin"),
    [
        (ME.MinkowskiReLU(), nn.ReLU()),
        (ME.MinkowskiLeakyReLU(0.3), nn.LeakyReLU(0.3)),
        (ME.MinkowskiSigmoid(), nn.Sigmoid()),
        (ME.MinkowskiSoftmax(dim=1), nn.Softmax(dim=1)),
        (ME.MinkowskiThreshold(0.1, 20), nn.Threshold(0.1, 20)),
    ],
)
def test_pointwise_layers(cloud, layer, twin):
    rows = cloud(30)
    x = ME.SparseTensor(torch.randn(len(rows), 4), rows)
    out = layer(x)
    assert torch.equal(out.F, twin(x.F))
    assert out.coordinate_map_key == x.coordinate_map_key


def test_dropout_and_linear(cloud):
    rows = cloud(30)
    x = ME.SparseTensor(torch.ones(len(rows), 400), rows)
    dropout = ME.MinkowskiDropout(0.25)
    assert (dropout(x).F == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(dropout.eval()(x).F, x.F)
    linear = ME.MinkowskiLinear(400, 3)
    assert torch.equal(linear(x).F, linear.linear(x.F))


def test_hashes_tell_rows_apart():
    rows = np.array([[0, 1, -2], [3, 4, 5], [0, 1, -2], [-7, 0, 0]])
    for hashed in (ME.utils.fnv_hash_vec(rows), ME.utils.ravel_hash_vec(rows)):
        assert hashed.dtype == np.uint64
        assert hashed[0] == hashed[2]
        assert len(set(hashed.tolist())) == 3
    # The definitions, with Python's integers.
    hashed = 14695981039346656037
    for column in (0, 1, 2**64 - 2):
        hashed = (hashed * 1099511628211) % 2**64 ^ column
    assert ME.utils.fnv_hash_vec(rows)[0] == hashed
    assert ME.utils.ravel_hash_vec(rows)[1] == ((3 + 7) * 5 + 4) * 8 + 7


def test_quantize_and_labels_by_hand():
    from pointseg.minkowski.utils.quantization import quantize, quantize_label

    rows = np.array([[2, 0], [-1, 0], [2, 0], [2, 1]], dtype=np.int32)
    index, inverse = quantize(rows)
    assert (index.tolist(), inverse.tolist()) == ([0, 1, 3], [0, 1, 0, 2])
    assert isinstance(index, np.ndarray)
    index, labels = quantize_label(torch.tensor(rows), torch.tensor([5, 6, 7, 8]), -1)
    assert (index.tolist(), labels.tolist()) == ([0, 1, 3], [-1, 6, 8])


def test_summary_counts_parameters(cloud, capsys):
    rows = cloud(30)
    net = nn.Sequential(
        ME.MinkowskiConvolution(2, 4, kernel_size=3, bias=True, dimension=3),
        ME.MinkowskiBatchNorm(4),
        ME.MinkowskiToFeature(),
        nn.Linear(4, 3),
    )
    net[3].requires_grad_(False)
    x = ME.SparseTensor(torch.randn(len(rows), 2), rows)
    assert ME.utils.summary(net, x) == (27 * 8 + 4 + 8 + 15, 27 * 8 + 4 + 8)
    written = capsys.readouterr().out
    assert [line.split()[0] for line in written.splitlines()] == ["layer", "0", "1.bn", "2", "3", "parameters:"]
    assert f"[{len(rows)}, 4]" in written
    assert not net[0]._forward_hooks


def test_diagnostics_name_the_versions(capsys):
    ME.print_diagnostics()
    assert torch.__version__ in capsys.readouterr().out
    assert ME.is_cuda_available() == torch.cuda.is_available()
    assert ME.cuda_version() == ME.cudart_version()
