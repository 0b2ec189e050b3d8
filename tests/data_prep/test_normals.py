"""Estimated normals: exact on planes, close on a sphere, inwards, and right where neighbourhoods are degenerate."""

import numpy as np
import pytest

from data_prep import _normals
from data_prep._normals import estimate_normals
from pointseg.errors import InputError

FAR = np.array([412_345.678, 298_765.432, 110.5])


def twin(coord, neighbours):
    """Slow twin: all distances, one singular value decomposition a point; up to sign."""
    lines = []
    for point in coord:
        around = coord[np.argsort(np.linalg.norm(coord - point, axis=1), kind="stable")[:neighbours]]
        lines.append(np.linalg.svd(around - around.mean(axis=0))[2][-1])
    return np.array(lines)


def room(rng, n=400):
    """The inside of a box, n points a face: (coord, inward normal)."""
    coords, normals = [], []
    size = np.array([4.0, 3.0, 2.5])
    for axis in range(3):
        for side in (0, 1):
            coord = rng.uniform(0.15, 0.85, (n, 3)) * size
            coord[:, axis] = side * size[axis]
            coords.append(coord)
            normals.append(np.tile(np.eye(3)[axis] * (1 - 2 * side), (n, 1)))
    return np.concatenate(coords), np.concatenate(normals)


@pytest.mark.parametrize("shift", [np.zeros(3), FAR])
def test_faces_of_a_room_point_inwards(shift):
    coord, expected = room(np.random.default_rng(0))
    normal = estimate_normals(coord + shift)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal, expected, atol=1e-5)


def test_a_sloping_plane():
    rng = np.random.default_rng(1)
    expected = np.array([1.0, -2.0, 3.0]) / np.sqrt(14)
    u, v = np.array([2.0, 1.0, 0.0]), np.array([0.0, 3.0, 2.0])
    coord = rng.uniform(-1, 1, (500, 1)) * u + rng.uniform(-1, 1, (500, 1)) * v + FAR
    np.testing.assert_allclose(np.abs(estimate_normals(coord) @ expected), 1, atol=1e-6)


def test_a_sphere():
    direction = np.random.default_rng(2).normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normal = estimate_normals(2.0 * direction + FAR)
    cosine = -np.sum(normal * direction, axis=1)
    assert cosine.min() > 0.98
    assert cosine.mean() > 0.999


def test_equals_the_slow_twin_and_chunks_make_no_difference(monkeypatch):
    coord = np.random.default_rng(3).normal(size=(300, 3)) * [1, 1, 0.2]
    whole = estimate_normals(coord, 9)
    np.testing.assert_allclose(np.abs(np.sum(whole * twin(coord, 9), axis=1)), 1, atol=1e-5)
    monkeypatch.setattr(_normals, "_CHUNK", 7)
    np.testing.assert_array_equal(estimate_normals(coord, 9), whole)


def test_copies_do_not_take_up_a_neighbourhood():
    coord, _ = room(np.random.default_rng(4), 60)
    order = np.random.default_rng(5).permutation(np.repeat(np.arange(len(coord)), 20))
    np.testing.assert_allclose(estimate_normals(coord[order]), estimate_normals(coord)[order], atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_line_and_single_points_get_unit_vectors_across(n):
    line = np.linspace(0, 1, n)[:, None] * np.array([1.0, 2.0, 2.0]) / 3
    normal = estimate_normals(line)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-6)
    if n > 1:
        np.testing.assert_allclose(normal @ np.array([1.0, 2.0, 2.0]) / 3, 0, atol=1e-6)


def test_many_points_at_one_place_and_none_at_all():
    normal = estimate_normals(np.full((200_000, 3), 7.0))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1)
    assert estimate_normals(np.empty((0, 3))).shape == (0, 3)


def test_refusals():
    with pytest.raises(InputError, match="normals from 2 neighbours"):
        estimate_normals(np.zeros((5, 3)), 2)
    with pytest.raises(InputError, match=r"point 1 has coordinates \[0\.0, nan, 0\.0\]"):
        estimate_normals(np.array([[0, 0, 0], [0, np.nan, 0]]))
