"""Opening a room like a doll's house, so that a picture from above shows what is inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.viewing.splat import Camera

_CELLS = 24  # along the longer side of the floor plan
_ENCLOSED = 0.4  # share of the floor plan that must lie under a ceiling
_LOWEST_CUT = 0.5  # of the room's height: what stands on the floor stays


@dataclass(frozen=True)
class Opening:
    """What to leave out of a picture.

    Attributes:
        keep: (N,) bool, the points to draw.
        height: metres above the lowest points at which the ceiling was cut, None where nothing was cut.
    """

    keep: np.ndarray
    height: float | None


def cut_ceiling(coord: np.ndarray) -> Opening:
    """Leave out the ceiling of a room, and nothing of a scene without one.

    A floor plan cell lies under a ceiling when it holds points near the bottom and, above a gap, points near the top
    of the scene. Where at least 40 % of the cells do, points are cut below the lowest tenth of those ceilings.

    Args:
        coord: (N, 3) metres, z up.
    """
    everything = Opening(np.ones(len(coord), dtype=bool), None)
    if len(coord) < 100:
        return everything
    low, high = np.percentile(coord[:, 2], [0.5, 99.5])
    height = float(high - low)
    span = np.ptp(coord[:, :2], axis=0)
    # A ceiling lies over a floor at a height comparable to nothing but itself; a relief a tenth as high as it is
    # wide is terrain seen from a plane.
    if height <= 0 or height < 0.04 * float(span.max()):
        return everything
    size = float(span.max()) / _CELLS
    if size <= 0:
        return everything
    cell = np.floor((coord[:, :2] - coord[:, :2].min(axis=0)) / size).astype(np.int64)
    _, cell_of = np.unique(cell[:, 0] * (_CELLS + 2) + cell[:, 1], return_inverse=True)
    z = (coord[:, 2] - low) / height
    cells = int(cell_of.max()) + 1
    top = np.full(cells, -np.inf)
    np.maximum.at(top, cell_of, z)
    counts = np.bincount(cell_of, minlength=cells)
    floor = np.bincount(cell_of[z < 0.15], minlength=cells)
    middle = np.bincount(cell_of[(z > 0.2) & (z < 0.75)], minlength=cells)
    covered = (top > 0.75) & (floor > 0)
    hollow = covered & (middle < 0.5 * counts)
    if covered.sum() < _ENCLOSED * cells or not hollow.any():
        return everything
    cut = max(_LOWEST_CUT, float(np.percentile(top[hollow], 10)) - 0.08) * height
    return Opening(coord[:, 2] <= low + cut, cut)


def cut_near_walls(coord: np.ndarray, camera: Camera, depth: float = 0.3) -> np.ndarray:
    """(N,) bool: False for what stands closest to an oblique camera, at any height above the floor.

    For each direction seen from the camera the first ``depth`` metres are dropped, measured along the floor.

    Args:
        coord: (N, 3) metres, without the ceiling.
        camera: an oblique view.
        depth: metres.
    """
    if len(coord) == 0:
        return np.zeros(0, dtype=bool)
    level = camera.forward[:2] / np.linalg.norm(camera.forward[:2])
    across = np.floor((coord[:, :2] @ camera.right[:2]) / depth).astype(np.int64)
    across -= across.min()
    along = coord[:, :2] @ level
    nearest = np.full(int(across.max()) + 1, np.inf)
    np.minimum.at(nearest, across, along)
    low = np.percentile(coord[:, 2], 0.5)
    return (along > nearest[across] + depth) | (coord[:, 2] < low + 0.1)
