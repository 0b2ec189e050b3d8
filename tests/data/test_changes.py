import numpy as np
import pytest

from pointseg.data.changes import NOISE_NODES, elastic_displacement, tilting, tinted


def test_elastic_displacement_against_a_slow_twin():
    rng = np.random.default_rng(1)
    coord = rng.uniform(-9, 9, size=(40, 3)).astype(np.float32)
    moved = elastic_displacement(coord, 0.35, 0.8, np.random.default_rng(7))
    n = NOISE_NODES
    noise = np.random.default_rng(7).standard_normal((3, n, n, n), dtype=np.float32).astype(np.float64)
    for _ in range(2):
        steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
        noise = sum(np.roll(noise, step, axis=(1, 2, 3)) for step in steps) / 27
    for point, move in zip(coord.astype(np.float64) / np.float32(0.35), moved, strict=True):
        low = np.floor(point).astype(int)
        expected = np.zeros(3)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, point - low, 1 - (point - low)))
            expected += weight * noise[(slice(None), *((low + corner) % n))]
        np.testing.assert_allclose(move, 0.8 * expected, atol=1e-5)


def test_elastic_noise_has_the_stated_size_and_is_smooth():
    rng = np.random.default_rng(2)
    nodes = (rng.integers(0, 32, size=(5000, 3)) * 0.2).astype(np.float32)
    moves = elastic_displacement(nodes, 0.2, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(moves.std(0), 0.114, rtol=0.1)
    near = elastic_displacement(nodes + np.float32(0.01), 0.2, 1.0, np.random.default_rng(0))
    assert np.abs(near - moves).max() < 0.05


def test_a_tilt_turns_about_x_and_then_about_y():
    """Each turn written as what it does to a point's distance and direction in its plane."""
    about_x, about_y = 0.3, -0.5
    point = np.array([0.7, -1.1, 2.0])
    radius, direction = np.hypot(point[1], point[2]), np.arctan2(point[2], point[1]) + about_x
    point_x = np.array([point[0], radius * np.cos(direction), radius * np.sin(direction)])
    radius, direction = np.hypot(point_x[2], point_x[0]), np.arctan2(point_x[0], point_x[2]) + about_y
    expected = [radius * np.sin(direction), point_x[1], radius * np.cos(direction)]
    np.testing.assert_allclose(tilting(about_x, about_y) @ point, expected, atol=1e-12)


def test_a_tint_by_hand():
    color = np.array([[100, 100, 0], [140, 100, 255]], np.uint8)
    shift = np.array([10.0, -20.0, 30.0], np.float32)
    changed = tinted(color, (np.float32(0.5), shift), 0.0, np.random.default_rng(0))
    # Means are 120, 100 and 127.5; the last channel of the second point reaches 221.25.
    assert changed.tolist() == [[120, 80, 94], [140, 80, 221]]


def test_contrast_leaves_the_mean_colour_of_a_large_cloud():
    """A float32 sum of so many points is off by several steps of 255."""
    color = np.full((3_000_000, 3), 201, np.uint8)
    assert (tinted(color, (np.float32(3), np.zeros(3, np.float32)), 0.0, np.random.default_rng(0)) == 201).all()


@pytest.mark.parametrize("jitter", [0.02, 0.1])
def test_colour_noise_is_of_each_point_and_channel_apart(jitter):
    color = np.full((4000, 3), 128, np.uint8)
    plain = (np.float32(1), np.zeros(3, np.float32))
    noise = tinted(color, plain, jitter, np.random.default_rng(0)).astype(float) - 128
    assert noise.std(0) == pytest.approx([255 * jitter] * 3, rel=0.05)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.06
