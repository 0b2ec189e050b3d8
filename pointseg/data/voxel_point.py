"""The point that stands for a voxel, where it is not simply the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from pointseg.data.voxel_lattice import Lattice
from pointseg.data.voxel_merge import PIECE
from pointseg.errors import InputError

Representative = Literal["first", "random", "centroid"]

_TIE = 1e-12
"""Squared distances, in squared voxel edges, that differ by no more than rounding are equal."""


def representative_points(
    coord: np.ndarray, lattice: Lattice, inverse: np.ndarray, voxel: np.ndarray, rule: Representative, seed: int
) -> np.ndarray:
    """One point of each voxel.

    Args:
        coord: (N, 3) metres.
        lattice: Of the voxels.
        inverse: (N,) the voxel row of each point.
        voxel: (V, 3) voxel coordinates.
        rule: ``random`` or ``centroid``, as in ``voxelize``.
        seed: Of the random points.

    Returns:
        (V,) int64 point indices.

    Raises:
        InputError: Another rule.
    """
    if rule == "random":
        return _least(lambda: _priorities(len(coord), seed), inverse, len(voxel), tie=0.0)
    if rule == "centroid":
        mean = _means(coord, lattice, inverse, voxel)
        return _least(lambda: _distances(coord, lattice, inverse, voxel, mean), inverse, len(voxel), tie=_TIE)
    raise InputError(f"the representative is {rule!r}; it must be first, random or centroid")


def _least(cost: Callable[[], Iterator[np.ndarray]], inverse: np.ndarray, voxels: int, tie: float) -> np.ndarray:
    """(V,) int64, the lowest index among each voxel's points of least cost; costs are gone through twice."""
    best = np.full(voxels, np.inf)
    for start, part in zip(range(0, len(inverse), PIECE), cost(), strict=True):
        np.minimum.at(best, inverse[start : start + PIECE], part)
    best += tie
    point = np.full(voxels, len(inverse), dtype=np.int64)
    for start, part in zip(range(0, len(inverse), PIECE), cost(), strict=True):
        row = inverse[start : start + PIECE]
        chosen = np.flatnonzero(part <= best[row])
        np.minimum.at(point, row[chosen], chosen + start)
    return point


def _priorities(points: int, seed: int) -> Iterator[np.ndarray]:
    """A number in [0, 1) a point, from raw bits of PCG64, which NumPy promises not to change."""
    bits = np.random.PCG64(seed)
    for start in range(0, points, PIECE):
        yield (bits.random_raw(min(PIECE, points - start)) >> np.uint64(11)) * 2.0**-53


def _means(coord: np.ndarray, lattice: Lattice, inverse: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """(3, V) float64 mean place of each voxel's points in it, in voxel edges."""
    sums = np.zeros((3, len(voxel)))
    for start in range(0, len(coord), PIECE):
        row = inverse[start : start + PIECE]
        place = _places(coord[start : start + PIECE], lattice, voxel[row])
        for axis in range(3):
            np.add.at(sums[axis], row, place[:, axis])
    return sums / np.bincount(inverse, minlength=len(voxel))


def _distances(
    coord: np.ndarray, lattice: Lattice, inverse: np.ndarray, voxel: np.ndarray, mean: np.ndarray
) -> Iterator[np.ndarray]:
    for start in range(0, len(coord), PIECE):
        row = inverse[start : start + PIECE]
        away = _places(coord[start : start + PIECE], lattice, voxel[row])
        for axis in range(3):
            away[:, axis] -= mean[axis, row]
        yield np.einsum("na,na->n", away, away)


def _places(coord: np.ndarray, lattice: Lattice, voxel: np.ndarray) -> np.ndarray:
    """(n, 3) float64 places of points in their voxels, in voxel edges.

    Counted from the voxel's corner, because far from the origin a mean of positions would lose digits.
    """
    place = coord.astype(np.float64)
    place -= voxel * lattice.voxel_size
    place /= lattice.voxel_size
    return place
