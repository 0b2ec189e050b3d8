"""Opening a room like a doll's house, so that a picture from above shows what is inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.viewing.splat import Camera

_CELLS = 24  # along the longer side of the floor plan
_ENCLOSED = 0.4  # share of the floor plan that must lie under a ceiling
_LOWEST_CUT = 0.5  # of the room's height: what stands on the floor stays
_HOLLOW = 0.25  # of a cell's points, the largest share that may lie between floor and ceiling
_LEAST_HOLLOW = 0.2  # share of the floor plan; furnished rooms have 0.45, a wall alone is hollow only by chance
_THICKEST = 0.045  # of the scene's height: the spread of a ceiling in a cell; that of a crown or a wall's top is more

_STRIP = 0.1  # metres
_MEDIAN_REACH = 7  # strips to either side: wider than half a door
_WALL_DEPTH = 0.3  # metres
_FLOOR = 0.1  # metres


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

    A floor plan cell lies under a ceiling when it holds points near the bottom and near the top of the scene. Where
    at least 40 % of the cells do, at least a fifth is all but empty between the two, and there the upper points
    are a thin layer, points are cut below the lowest tenth of those ceilings.

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
    hollow = covered & (middle < _HOLLOW * counts)
    if covered.sum() < _ENCLOSED * cells or hollow.sum() < _LEAST_HOLLOW * cells:
        return everything
    if float(np.median(_spread(z, cell_of, z > 0.75, cells)[hollow])) > _THICKEST:
        return everything
    cut = max(_LOWEST_CUT, float(np.percentile(top[hollow], 10)) - 0.08) * height
    return Opening(coord[:, 2] <= low + cut, cut)


def _spread(z: np.ndarray, cell_of: np.ndarray, chosen: np.ndarray, cells: int) -> np.ndarray:
    """(cells,) standard deviation of the chosen heights in each cell, 0 where there is none."""
    where, heights = cell_of[chosen], z[chosen]
    counts = np.maximum(np.bincount(where, minlength=cells), 1)
    mean = np.bincount(where, heights, minlength=cells) / counts
    return np.sqrt(np.bincount(where, (heights - mean[where]) ** 2, minlength=cells) / counts)


def cut_near_walls(coord: np.ndarray, camera: Camera) -> np.ndarray:
    """(N,) bool: False for the walls between an oblique camera and the room, True for the floor and all else.

    The floor plan is cut into strips that run away from the camera. In each, everything up to and with the first
    tall thing is dropped; a running median over neighbouring strips carries the wall across doors and windows.

    Args:
        coord: (N, 3) metres, without the ceiling.
        camera: an oblique view.
    """
    if len(coord) == 0:
        return np.zeros(0, dtype=bool)
    z = coord[:, 2] - np.percentile(coord[:, 2], 0.5)
    across = coord[:, :2] @ camera.right[:2]
    along = coord[:, :2] @ (camera.forward[:2] / np.linalg.norm(camera.forward[:2]))
    strip = np.floor((across - across.min()) / _STRIP).astype(np.int64)
    strips = int(strip.max()) + 1
    nearest, wall = np.full(strips, np.inf), np.full(strips, np.inf)
    np.minimum.at(nearest, strip, along)
    tall = z > 0.75 * z.max()
    np.minimum.at(wall, strip[tall], along[tall])
    window = np.pad(wall, _MEDIAN_REACH, mode="edge")
    wall = np.median(np.lib.stride_tricks.sliding_window_view(window, 2 * _MEDIAN_REACH + 1), axis=1)
    # A room seen through a wide gap keeps what stands in it.
    limit = np.minimum(wall + _WALL_DEPTH, nearest + 3 * _WALL_DEPTH)
    return (along > limit[strip]) | (z < _FLOOR)
