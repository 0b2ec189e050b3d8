"""Voxel grids against slow twins: Python dictionaries, one point at a time."""

import math
import subprocess
import sys
from collections import Counter, defaultdict
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointseg.data import voxel
from pointseg.data.voxel import MAX_EXTENT, VoxelGrid, voxel_labels, voxelize
from pointseg.data.voxel_merge import PIECE
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


def assert_is_grid_of(grid: VoxelGrid, coord, size, color=None, segment=None, intensity=None):
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
    if intensity is not None:
        exact = [math.fsum(intensity[twin[cell]].tolist()) / len(twin[cell]) for cell in expected]
        assert grid.intensity.dtype == np.float32
        np.testing.assert_allclose(grid.intensity, exact, rtol=1e-6, atol=1e-7)


@st.composite
def clouds(draw):
    """Points on and near voxel borders, repeated, negative, far away; colours, labels and intensities."""
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
    intensity = rng.normal(size=n).astype(np.float32)
    return np.array(points, dtype=dtype).reshape(n, 3), size, color, segment, intensity


@given(clouds(), st.sampled_from([1, 2, 7, PIECE]))
@settings(max_examples=200)
def test_equals_the_slow_twin_whatever_the_length_of_the_pieces(cloud, piece):
    coord, size, color, segment, intensity = cloud
    with patch.object(voxel, "PIECE", piece):
        grid = voxelize(coord, size, color=color, segment=segment, intensity=intensity)
    assert_is_grid_of(grid, coord, size, color, segment, intensity)


@given(clouds(), st.integers(1, 9))
@settings(max_examples=50)
def test_mean_intensity_is_the_same_bits_whatever_the_length_of_the_pieces(cloud, piece):
    coord, _, _, _, intensity = cloud
    whole = voxelize(coord, 10.0, intensity=intensity)
    with patch.object(voxel, "PIECE", piece):
        assert voxelize(coord, 10.0, intensity=intensity).intensity.tobytes() == whole.intensity.tobytes()


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


def test_without_colour_labels_and_intensity_there_are_none():
    grid = voxelize(np.zeros((2, 3)), 0.1)
    assert grid.color is None
    assert grid.intensity is None
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


def test_points_on_borders_belong_to_the_voxel_above_them():
    coord = np.array([[-0.5, 0.5, 0.0], [-0.5000001, 0.4999999, -1e-12], [np.nextafter(0.5, 0), 1.0, -0.0]])
    grid = voxelize(coord, 0.5)
    assert grid.coord[grid.inverse].tolist() == [[-1, 1, 0], [-2, 0, -1], [0, 2, 0]]


def test_votes_of_many_classes_and_a_voxel_longer_than_a_piece():
    segment = np.concatenate([np.full(PIECE, 32767), np.arange(PIECE) % 32767, [0, 0]])
    coord = np.zeros((len(segment), 3))
    assert voxelize(coord, 1.0, segment=segment).segment.tolist() == [32767]
    segment[:PIECE] = -1
    assert voxelize(coord, 1.0, segment=segment).segment.tolist() == [0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int32])
def test_labels_of_any_whole_number_type(dtype):
    segment = np.array([3, 3, 200, 7], dtype)
    assert voxelize(np.array([[0, 0, 0]] * 3 + [[5, 5, 5]]), 1.0, segment=segment).segment.tolist() == [3, 7]


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
        (np.array([[0, 0, 0], [1e308, 0, 0.0]]), 0.1, {}, r"too far for voxels of 0\.1 m"),
        (np.zeros((2, 3)), 1.0, {"intensity": np.zeros((2, 1))}, r"intensities are float64 \(2, 1\)"),
        (np.zeros((2, 3)), 1.0, {"intensity": np.array(["a", "b"])}, r"intensities are <U1"),
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


PEAK = """
import numpy as np
from pointseg.data.voxel import voxelize

def memory(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

rng = np.random.default_rng(0)
coord = rng.random((3_000_000, 3), dtype=np.float32)
coord *= np.float32(SIDE)
color = rng.integers(0, 256, coord.shape, dtype=np.uint8)
segment = rng.integers(-1, 13, len(coord), dtype=np.int16)
voxelize(coord[:100], 0.1, color=color[:100], segment=segment[:100])
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = memory("VmRSS")
grid = voxelize(coord, 0.1, color=color, segment=segment)
print(len(grid.coord) / len(coord), (memory("VmHWM") - before) / (coord.nbytes + color.nbytes + segment.nbytes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(("side", "occupied", "bound"), [(10, (0.2, 0.5), 2.0), (1000, (0.99, 1.0), 3.0)])
def test_peak_memory_is_a_small_multiple_of_the_arrays(side, occupied, bound):
    """Beside arrays and with the result: twice as much where voxels hold a few points, thrice where they hold one."""
    code = PEAK.replace("SIDE", str(side))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    share, peak = map(float, run.stdout.split())
    assert occupied[0] < share <= occupied[1]
    assert peak < bound


def labels_twin(index, label, grid) -> list[int]:
    """Slow twin of ``voxel_labels``."""
    result = []
    for row in range(len(grid.coord)):
        here = [(i, k) for i, k in zip(index, label, strict=True) if grid.inverse[i] == row and k >= 0]
        votes = Counter(k for _, k in here)
        tied = [(i, k) for i, k in here if votes[k] == max(votes.values())]
        result.append(min(tied)[1] if tied else -1)
    return result


@given(st.data())
@settings(max_examples=150)
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
