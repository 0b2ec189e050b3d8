"""Points that stand for voxels: against exact arithmetic on fractions, and against chance."""

from fractions import Fraction
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointseg.data import voxel_point
from pointseg.data.voxel import voxelize
from pointseg.errors import InputError


def exact_centroid_point(points, places) -> int:
    """Slow twin: of points (indices) at places (exact), the nearest to their mean, the lowest index on a tie."""
    mean = [sum(column) / len(points) for column in zip(*places, strict=True)]
    away = [sum((x - m) ** 2 for x, m in zip(place, mean, strict=True)) for place in places]
    return points[away.index(min(away))]


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0, 10**6]), st.sampled_from([1, 3, 1 << 16]))
@settings(max_examples=80)
def test_centroid_equals_exact_arithmetic(seed, n, far, piece):
    """Positions are multiples of 1/64, so ties occur and floats hold them exactly, also far from the origin."""
    rng = np.random.default_rng(seed)
    coord = far + rng.integers(-128, 128, (n, 3)) / 64
    with patch.object(voxel_point, "PIECE", piece):
        grid = voxelize(coord, 1.0, representative="centroid")
    for row, point in enumerate(grid.point.tolist()):
        points = np.flatnonzero(grid.inverse == row).tolist()
        assert point == exact_centroid_point(points, [[Fraction(x) for x in coord[i].tolist()] for i in points])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_points_of_a_voxel_tie_in_spite_of_rounding(dtype):
    rng = np.random.default_rng(0)
    corner = rng.integers(-50, 50, (2000, 3)) + np.arange(2000)[:, None] * 100.0
    pairs = np.concatenate([corner + rng.random((2000, 3)) * 0.99, corner + rng.random((2000, 3)) * 0.99]) * 0.05
    grid = voxelize(pairs.astype(dtype), 0.05, representative="centroid")
    full = np.flatnonzero(np.bincount(grid.inverse) == 2)
    assert len(full) > 1500
    assert (grid.point[full] < 2000).all()


def test_random_points_are_points_of_their_voxels_and_a_function_of_the_seed():
    coord = np.random.default_rng(1).random((3000, 3)) * 10
    first, again, other = (voxelize(coord, 1.0, representative="random", seed=s) for s in (5, 5, 6))
    with patch.object(voxel_point, "PIECE", 17):
        pieces = voxelize(coord, 1.0, representative="random", seed=5)
    np.testing.assert_array_equal(first.inverse[first.point], np.arange(len(first.coord)))
    assert first.point.tolist() == again.point.tolist() == pieces.point.tolist()
    assert (first.point != other.point).mean() > 0.4
    np.testing.assert_array_equal(first.coord, voxelize(coord, 1.0).coord)


def test_every_point_of_a_voxel_is_equally_probable():
    voxels, members = 6000, 5
    coord = np.repeat(np.arange(voxels), members)[:, None] * [1.0, 0.0, 0.0] + 0.5
    point = voxelize(coord, 1.0, representative="random").point
    counts = np.bincount(point % members, minlength=members)
    # Chi-squared with 4 degrees of freedom: above 18.5 in one of a thousand seeds.
    assert ((counts - voxels / members) ** 2 / (voxels / members)).sum() < 18.5


@pytest.mark.parametrize("rule", ["random", "centroid"])
def test_no_points_one_point_and_identical_points(rule):
    assert voxelize(np.empty((0, 3)), 1.0, representative=rule).point.shape == (0,)
    assert voxelize(np.full((1, 3), -3.7), 1.0, representative=rule).point.tolist() == [0]
    many = voxelize(np.full((200_000, 3), 1.23, np.float32), 0.05, representative=rule)
    assert many.point.shape == (1,)
    assert 0 <= many.point[0] < 200_000
    assert rule == "random" or many.point[0] == 0


def test_another_rule_is_refused():
    with pytest.raises(InputError, match="'median'; it must be first, random or centroid"):
        voxelize(np.zeros((1, 3)), 1.0, representative="median")
