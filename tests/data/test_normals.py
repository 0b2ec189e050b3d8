"""Normals of length 1: scaled once, left alone when they are so already, 0 where there is no direction."""

import numpy as np

from pointseg.data.normals import unit_normals


def test_lengths_and_the_count():
    given = np.array([[0, 3, 4], [0, 0, 0], [1, 0, 0], [0.577, 0.577, 0.577], [0, 0, -1e-30]])
    normal, scaled = unit_normals(given)
    assert normal.dtype == np.float32
    third = 1 / np.sqrt(3)
    np.testing.assert_allclose(normal, [[0, 0.6, 0.8], [0, 0, 0], [1, 0, 0], [third] * 3, [0, 0, -1]], rtol=1e-7)
    assert scaled == 2, "three printed digits are rounding"


def test_without_a_part_there_is_no_direction():
    given = np.array([[np.nan, 1, 0], [0, -np.inf, 0], [0, 0, 1]], np.float32)
    normal, scaled = unit_normals(given)
    assert (normal.tolist(), scaled) == ([[0, 0, 0], [0, 0, 0], [0, 0, 1]], 0)
    assert np.isnan(given[0, 0]), "the caller's own"
    assert unit_normals(np.empty((0, 3)))[0].shape == (0, 3)


def test_a_second_time_changes_no_bit():
    given = np.random.default_rng(0).normal(size=(5000, 3)) * 7
    once, _ = unit_normals(given)
    np.testing.assert_array_equal(unit_normals(once)[0], once)
    # A direct quotient would: the length of a rounded vector is not quite 1.
    assert (once.astype(float) / np.linalg.norm(once.astype(float), axis=1, keepdims=True)).astype("f4").tobytes() != (
        once.tobytes()
    )
