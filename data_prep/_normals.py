"""Surface normals of a point cloud, estimated from the points around each point."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KDTree

from pointseg.errors import InputError

_CHUNK = 1 << 16
"""Points handled at a time: 16 neighbours of each are 25 MB of coordinates."""


def estimate_normals(coord: np.ndarray, neighbours: int = 16) -> np.ndarray:
    """Normals by principal components: the direction in which a point's neighbourhood varies least.

    All arithmetic is float64, on coordinates relative to the neighbourhood's mean. The sign is not in the data; every
    normal is turned to the side on which the centre of the cloud's bounding box lies, which for the walls, floor and
    ceiling of a room means inwards, and for furniture is arbitrary. Points at one place count once, so that copies do
    not take up a neighbourhood. Where neighbours lie on a line or in one place, the result is some direction across.

    Args:
        coord: (N, 3) metres; N may be 0.
        neighbours: How many of the nearest places make a neighbourhood, the point's own included; at least 3. All, if
            there are fewer.

    Returns:
        (N, 3) float32 unit vectors.

    Raises:
        InputError: Fewer than 3 neighbours, or coordinates that are not finite.
    """
    coord = np.asarray(coord, dtype=np.float64)
    if neighbours < 3:
        raise InputError(f"normals from {neighbours} neighbours are not possible; give at least 3")
    if not np.isfinite(coord).all():
        bad = int(np.flatnonzero(~np.isfinite(coord).all(axis=1))[0])
        raise InputError(f"point {bad} has coordinates {coord[bad].tolist()}; they must be finite numbers of metres")
    if len(coord) == 0:
        return np.empty((0, 3), np.float32)
    centre = (coord.min(axis=0) + coord.max(axis=0)) / 2
    places, place_of = _distinct(coord - centre)
    tree = KDTree(places)
    normal = np.empty((len(places), 3), dtype=np.float32)
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        around = places[tree.query(chunk, min(neighbours, len(places)), return_distance=False)]
        around -= around.mean(axis=1, keepdims=True)
        # eigh sorts the eigenvalues upwards: the first vector belongs to the least.
        direction = np.linalg.eigh(around.transpose(0, 2, 1) @ around)[1][:, :, 0]
        outward = np.sum(direction * chunk, axis=1) > 0
        normal[start : start + _CHUNK] = np.where(outward[:, None], -direction, direction)
    return normal[place_of]


def _distinct(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The M distinct rows and, for each of the N rows, which one it is.

    A search among equal points would visit all of them: a million copies would take for ever.
    """
    order = np.lexsort(coord.T)
    ranked = coord[order]
    new = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(axis=1)])
    place_of = np.empty(len(coord), dtype=np.int64)
    place_of[order] = np.cumsum(new) - 1
    return ranked[new], place_of
