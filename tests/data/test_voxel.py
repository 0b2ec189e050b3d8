"""Voxel grids against slow twins: Python dictionaries, one point at a time."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointseg.data.voxel import MAX_EXTENT, VoxelGrid, voxel_labels, voxel_mean, voxelize
from pointseg.errors import InputError


def members(coord, size) -> dict[tuple[int, ...], list[int]]:
    """Slow twin: voxel -> indices of its points, rising."""
    voxels = defaultdict(list)
    for i, position in enumerate(coord.tolist()):
        voxels[tuple(math.floor(x / size) for x in position)].append(i)
    return voxels


def morton(cell) -> int:
    """Slow twin: the bits of three non-negative numbers interleaved, x lowest."""
    return sum(((value >> bit) & 1) << (3 * bit + axis) for axis, value in enumerate(cell) for bit in range(21))


def majority(labels) -> int:
    votes = Counter(label for label in labels if label >= 0)
    return min((k for k in votes if votes[k] == max(votes.values())), default=-1)


def assert_is_grid_of(grid: VoxelGrid, coord, size, color=None, segment=None):
    twin = members(coord, size)
    low = np.array(list(twin)).min(axis=0) if twin else None
    expected = sorted(twin, key=lambda cell: morton([int(v) for v in np.array(cell) - low]))
    assert list(map(tuple, grid.coord.tolist())) == expected
    assert grid.coord.dtype == np.int32
    assert grid.point.dtype == grid.inverse.dtype == np.int64
    assert grid.point.tolist() == [twin[cell][0] for cell in expected]
    np.testing.assert_array_equal(grid.coord[grid.inverse], np.floor(coord.astype(np.float64) / size))
    if color is not None:
        exact = [[math.floor(sum(map(int, c)) / len(c) + 0.5) for c in color[twin[cell]].T] for cell in expected]
        assert grid.color.dtype == np.uint8
        assert grid.color.tolist() == exact
    if segment is not None:
        assert grid.segment.dtype == np.int16
        assert grid.segment.tolist() == [majority(segment[twin[cell]].tolist()) for cell in expected]


@st.composite
def clouds(draw):
    """Points on and near voxel borders, repeated, negative, far away; colours and labels."""
    size = draw(st.sampled_from([0.05, 0.02, 0.3, 1.0]))
    steps = st.integers(-60, 60) | st.integers(-(10**5), 10**5)
    nudge = st.sampled_from([0.0, 1e-9, -1e-9, 0.3])
    position = st.tuples(*[st.tuples(steps, nudge).map(lambda s: s[0] * 0.05 + s[1])] * 3)
    points = draw(st.lists(position, max_size=40))
    points += draw(st.lists(st.sampled_from(points), max_size=40)) if points else []
    n = len(points)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    color = rng.integers(0, 256, (n, 3)).astype(np.uint8)
    segment = rng.integers(-1, draw(st.integers(1, 4)), n).astype(draw(st.sampled_from([np.int16, np.int64])))
    return np.array(points, dtype=dtype).reshape(n, 3), size, color, segment


@given(clouds())
@settings(max_examples=150, deadline=None)
def test_equals_the_slow_twin(cloud):
    coord, size, color, segment = cloud
    assert_is_grid_of(voxelize(coord, size, color=color, segment=segment), coord, size, color, segment)


@pytest.mark.parametrize("extent", [1 << 9, 1 << 18, 1 << 19, MAX_EXTENT])
def test_equals_the_slow_twin_at_every_extent(extent):
    rng = np.random.default_rng(0)
    coord = rng.integers(0, extent, (400, 3)) + 0.5 - extent // 2
    coord[0], coord[1] = -(extent // 2) + 0.5, extent - extent // 2 - 0.5
    coord[200:] = coord[:200]
    assert_is_grid_of(voxelize(coord, 1.0), coord, 1.0)


def test_division_is_done_in_float64():
    coord = (np.arange(20000, dtype=np.float64) * 0.05).astype(np.float32).repeat(3).reshape(-1, 3)
    exact = [math.floor(float(x) / 0.05) for x in coord[:, 0]]
    single = np.floor(coord[:, 0] / np.float32(0.05))
    assert (single != exact).any(), "the example does not tell the precisions apart"
    grid = voxelize(coord, 0.05)
    assert grid.coord[grid.inverse][:, 0].tolist() == exact


def test_without_colour_and_labels_there_are_none():
    grid = voxelize(np.zeros((2, 3)), 0.1)
    assert grid.color is None
    assert grid.segment is None
    assert grid.voxel_size == 0.1


def test_empty_cloud():
    grid = voxelize(np.empty((0, 3), np.float32), 0.1, color=np.empty((0, 3), np.uint8), segment=np.empty(0, np.int16))
    assert [a.shape for a in (grid.coord, grid.point, grid.inverse, grid.color, grid.segment)] == [
        (0, 3),
        (0,),
        (0,),
        (0, 3),
        (0,),
    ]
    assert voxel_mean(np.empty((0, 2)), grid).shape == (0, 2)
    assert voxel_labels(np.empty(0, int), np.empty(0, int), grid).shape == (0,)


def test_one_point():
    grid = voxelize(np.array([[-0.01, 0.0, 7.3]]), 0.1, color=np.array([[9, 8, 7]], np.uint8), segment=np.array([4]))
    assert grid.coord.tolist() == [[-1, 0, 73]]
    assert (grid.point.tolist(), grid.inverse.tolist(), grid.segment.tolist()) == ([0], [0], [4])
    assert grid.color.tolist() == [[9, 8, 7]]


def test_a_million_identical_points():
    n = 1_000_000
    color = np.full((n, 3), 200, np.uint8)
    grid = voxelize(np.full((n, 3), 1.23, np.float32), 0.05, color=color, segment=np.full(n, 3, np.int16))
    assert grid.coord.tolist() == [[24, 24, 24]]
    assert grid.point.tolist() == [0]
    assert not grid.inverse.any()
    assert grid.color.tolist() == [[200, 200, 200]]
    assert grid.segment.tolist() == [3]


def test_ties_go_to_the_lower_class_and_ignored_points_do_not_vote():
    coord = np.repeat([[0.5, 0.5, 0.5], [1.5, 0.5, 0.5], [2.5, 0.5, 0.5]], 4, axis=0)
    segment = np.array([5, 2, 5, 2, -1, -1, -1, 7, -1, -1, -1, -1], np.int16)
    assert voxelize(coord, 1.0, segment=segment).segment.tolist() == [2, 7, -1]


def test_order_of_points_changes_only_who_represents():
    rng = np.random.default_rng(3)
    coord = rng.random((500, 3))
    shuffle = rng.permutation(500)
    grid, shuffled = voxelize(coord, 0.2), voxelize(coord[shuffle], 0.2)
    np.testing.assert_array_equal(grid.coord, shuffled.coord)
    np.testing.assert_array_equal(grid.inverse[shuffle], shuffled.inverse)


@pytest.mark.parametrize(
    ("coord", "size", "more", "message"),
    [
        (np.zeros((4, 2)), 0.1, {}, r"shape \(4, 2\)"),
        (np.zeros((1, 3)), 0.0, {}, r"voxel size is 0\.0"),
        (np.zeros((1, 3)), float("nan"), {}, r"voxel size is nan"),
        (np.array([[0, 0, 0], [0, np.nan, 0.0]]), 0.1, {}, r"point 1 has coordinates \[0\.0, nan, 0\.0\]"),
        (np.array([[0, 0, 0], [0, np.inf, 0.0]]), 0.1, {}, r"point 1 has"),
        (
            np.array([[0, 0, 0], [0, MAX_EXTENT, 0.0]]),
            1.0,
            {},
            rf"spans {MAX_EXTENT + 1} voxels .* at most {MAX_EXTENT}",
        ),
        (np.full((1, 3), 2.0**31), 1.0, {}, r"2147483648 to 2147483648, beyond"),
        (np.zeros((2, 3)), 1.0, {"color": np.zeros((2, 3))}, r"colours are float64"),
        (np.zeros((2, 3)), 1.0, {"color": np.zeros((3, 3), np.uint8)}, r"colours are uint8 \(3, 3\)"),
        (np.zeros((2, 3)), 1.0, {"segment": np.zeros(2)}, r"labels are float64"),
        (np.zeros((2, 3)), 1.0, {"segment": np.zeros((2, 1), int)}, r"labels are int64 \(2, 1\)"),
        (np.zeros((2, 3)), 1.0, {"segment": np.array([-2, 0])}, r"reach from -2 to 0"),
        (np.zeros((2, 3)), 1.0, {"segment": np.array([0, 13]), "num_classes": 13}, r"to 13; they must lie in -1\.\.12"),
        (np.zeros((2, 3)), 1.0, {"segment": np.array([0, 40000])}, r"must lie in -1\.\.32767"),
    ],
)
def test_bad_input_is_refused(coord, size, more, message):
    with pytest.raises(InputError, match=message):
        voxelize(coord, size, **more)


@given(clouds(), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_voxel_mean_equals_the_slow_twin(cloud, seed):
    coord, size, *_ = cloud
    grid = voxelize(coord, size)
    values = np.random.default_rng(seed).normal(size=(len(coord), 2)).astype(np.float32)
    twin = members(coord, size)
    means = voxel_mean(values, grid)
    assert means.dtype == np.float32
    assert means.shape == (len(twin), 2)
    for cell, mean in zip(grid.coord.tolist(), means, strict=True):
        exact = [math.fsum(map(float, column)) / len(column) for column in values[twin[tuple(cell)]].T]
        np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=1e-7)


def test_voxel_mean_refuses_other_lengths():
    with pytest.raises(InputError, match=r"shape \(3, 1\); the grid needs \(2, C\)"):
        voxel_mean(np.zeros((3, 1)), voxelize(np.zeros((2, 3)), 1.0))


def labels_twin(index, label, grid) -> list[int]:
    """Slow twin of ``voxel_labels``."""
    result = []
    for voxel in range(len(grid.coord)):
        here = [(i, k) for i, k in zip(index, label, strict=True) if grid.inverse[i] == voxel and k >= 0]
        votes = Counter(k for _, k in here)
        tied = [(i, k) for i, k in here if votes[k] == max(votes.values())]
        result.append(min(tied)[1] if tied else -1)
    return result


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_voxel_labels_equals_the_slow_twin(data):
    n = data.draw(st.integers(1, 30))
    coord = np.random.default_rng(data.draw(st.integers(0, 1000))).integers(0, 2, (n, 3)) + 0.5
    grid = voxelize(coord, 1.0)
    index = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    label = data.draw(st.lists(st.integers(-1, 2), min_size=len(index), max_size=len(index)))
    labels = voxel_labels(np.array(index, dtype=np.int64), np.array(label, dtype=np.int16), grid)
    assert labels.dtype == np.int16
    assert labels.tolist() == labels_twin(index, label, grid)


def test_a_voxel_keeps_its_annotation_against_the_majority_of_its_points():
    grid = voxelize(np.zeros((9, 3)), 1.0, segment=np.array([0] * 8 + [4]))
    assert grid.segment.tolist() == [0]
    assert voxel_labels(np.array([8]), np.array([4]), grid).tolist() == [4]


@pytest.mark.parametrize("index", [[-1], [2]])
def test_labels_of_another_cloud_are_refused(index):
    with pytest.raises(InputError, match="has 2 points; the labels belong to another cloud"):
        voxel_labels(np.array(index), np.array([0]), voxelize(np.zeros((2, 3)), 1.0))


def test_as_many_labels_as_indices():
    with pytest.raises(InputError, match="both must be"):
        voxel_labels(np.array([0, 1]), np.array([0]), voxelize(np.zeros((2, 3)), 1.0))
