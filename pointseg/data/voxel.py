"""Points to voxels: which voxel each point lies in, and what a voxel takes over from its points.

One Morton key a point and one sort of integers do the work. The points are then merged in small pieces, so beside the
sorted keys and the result there is hardly any memory in use. Everything is deterministic;
``tests/data/test_voxel.py`` holds the slow twins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pointseg.data.classes import IGNORED
from pointseg.data.morton import sorted_pieces
from pointseg.data.voxel_lattice import MAX_EXTENT, Lattice, check_voxel_size
from pointseg.data.voxel_merge import PIECE, VoxelMerger
from pointseg.data.voxel_point import Representative, representative_points
from pointseg.errors import InputError

__all__ = ["MAX_EXTENT", "VoxelGrid", "check_voxel_size", "voxel_labels", "voxelize"]


@dataclass(frozen=True)
class VoxelGrid:
    """N points in V occupied voxels, rows in Morton order.

    Attributes:
        voxel_size: Edge of a voxel, metres.
        coord: (V, 3) int32, floor(position / voxel_size).
        point: (V,) int64, the representative point.
        inverse: (N,) int64, the voxel row of each point.
        color: (V, 3) uint8, mean colour rounded half up; None if the points have none.
        segment: (V,) int16, the class most of the voxel's labelled points have, the lower one on a tie, -1 if none is
            labelled; None if the points have no labels.
        intensity: (V,) float32, mean intensity, summed in float64; None if the points have none.
    """

    voxel_size: float
    coord: np.ndarray
    point: np.ndarray
    inverse: np.ndarray
    color: np.ndarray | None = None
    segment: np.ndarray | None = None
    intensity: np.ndarray | None = None


def voxelize(
    coord: np.ndarray,
    voxel_size: float,
    *,
    color: np.ndarray | None = None,
    segment: np.ndarray | None = None,
    intensity: np.ndarray | None = None,
    num_classes: int | None = None,
    representative: Representative = "first",
    seed: int = 0,
) -> VoxelGrid:
    """Group points by voxel.

    The division is done in float64 whatever the dtype of ``coord``, and rounds towards minus infinity.

    Args:
        coord: (N, 3) metres, N may be 0.
        voxel_size: Edge of a voxel, metres.
        color: (N, 3) uint8.
        segment: (N,) whole numbers, -1 = not labelled.
        intensity: (N,) real or whole numbers.
        num_classes: K; a label at or above it is refused.
        representative: Which of a voxel's points stands for it: the ``first``, that of lowest index; a ``random`` one,
            each with equal probability; or that nearest to their ``centroid``, the lowest index on a tie.
        seed: Of the random representatives.

    Raises:
        InputError: NaN or infinite coordinates, a size that is not positive, a cloud of more than ``MAX_EXTENT``
            voxels along an axis, lengths that do not match, a label out of range, or an unknown representative.
    """
    check_voxel_size(voxel_size)
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3:
        raise InputError(f"coordinates have shape {coord.shape}; they must be (N, 3)")
    lattice = Lattice.around(*bounding_box(coord), voxel_size)
    values = _checked_values(len(coord), color, segment, intensity, num_classes)
    merger = VoxelMerger(lattice, frozenset(values))
    inverse = np.empty(len(coord), dtype=np.int64)
    voxels = _Rows(len(coord))
    keys = (lattice.keys(part) for part in _pieces(coord))
    for key, index in sorted_pieces(keys, len(coord), lattice.morton.bits, PIECE):
        rows, finished = merger.add(key, index, {name: np.take(value, index, axis=0) for name, value in values.items()})
        inverse[index] = rows
        voxels.append(finished)
    voxels.append(merger.close())
    arrays = voxels.cut()
    if representative != "first":
        arrays["point"] = representative_points(coord, lattice, inverse, arrays["coord"], representative, seed)
    return VoxelGrid(voxel_size=float(voxel_size), inverse=inverse, **arrays)


def bounding_box(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest position on each axis, (3,) each; zeros for an empty cloud.

    Raises:
        InputError: A coordinate is not finite.
    """
    if len(coord) == 0:
        return np.zeros(3), np.zeros(3)
    # Along rows of a transposed copy NumPy compares many numbers at once, down columns of three it does not.
    boxes = [(part.min(axis=1), part.max(axis=1)) for part in (part.T.copy() for part in _pieces(coord))]
    low = np.min([box[0] for box in boxes], axis=0)
    high = np.max([box[1] for box in boxes], axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        bad = int(np.flatnonzero(~np.isfinite(coord).all(axis=1))[0])
        raise InputError(f"point {bad} has coordinates {coord[bad].tolist()}; they must be finite numbers of metres")
    return low, high


def voxel_labels(point_index: np.ndarray, label: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Carry annotations of single points over to the voxels that hold them.

    A voxel holding annotated points always keeps an annotation: the class most of them have; on a tie the class, among
    the tied, of the point with the lowest index.

    Args:
        point_index: (L,) raw point indices.
        label: (L,) their classes; -1 is passed over.
        grid: The grid of the N points.

    Returns:
        (V,) int16, -1 where no point is annotated.

    Raises:
        InputError: An index outside 0..N-1, or arrays of different length.
    """
    point_index, label = np.asarray(point_index, dtype=np.int64), np.asarray(label)
    if point_index.shape != label.shape or point_index.ndim != 1:
        raise InputError(f"{point_index.shape} point indices and {label.shape} labels; both must be (L,)")
    points = len(grid.inverse)
    if len(point_index) and not (point_index.min() >= 0 and point_index.max() < points):
        raise InputError(
            f"annotated point indices reach from {point_index.min()} to {point_index.max()}, but the cloud has "
            f"{points} points; the labels belong to another cloud"
        )
    labels = np.full(len(grid.coord), IGNORED, dtype=np.int16)
    point_index, label = point_index[label != IGNORED], label[label != IGNORED]
    voxel = grid.inverse[point_index]
    order = np.lexsort((point_index, label, voxel))
    voxel, label, point_index = voxel[order], label[order], point_index[order]
    changes = (voxel[1:] != voxel[:-1]) | (label[1:] != label[:-1])
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(voxel), 1), bool), changes]))
    votes = np.diff(np.append(starts, len(voxel)))
    # Written in rising order of preference: the last assignment to a voxel stays.
    preference = np.lexsort((-point_index[starts], votes))
    labels[voxel[starts][preference]] = label[starts][preference]
    return labels


class _Rows:
    """Named arrays that grow by rows up to a limit. Space reserved but not written to takes no memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._arrays: dict[str, np.ndarray] = {}

    def append(self, rows: dict[str, np.ndarray]) -> None:
        if not self._arrays:
            self._arrays = {name: np.empty((self._limit, *a.shape[1:]), a.dtype) for name, a in rows.items()}
        end = self._length + len(rows["coord"])
        for name, array in rows.items():
            self._arrays[name][self._length : end] = array
        self._length = end

    def cut(self) -> dict[str, np.ndarray]:
        for array in self._arrays.values():
            array.resize((self._length, *array.shape[1:]), refcheck=False)
        return self._arrays


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + PIECE] for start in range(0, len(array), PIECE))


def _checked_values(
    points: int,
    color: np.ndarray | None,
    segment: np.ndarray | None,
    intensity: np.ndarray | None,
    num_classes: int | None,
) -> dict[str, np.ndarray]:
    """What is given, by name."""
    values = {}
    if color is not None:
        values["color"] = color = np.asarray(color)
        if color.shape != (points, 3) or color.dtype != np.uint8:
            raise InputError(f"colours are {color.dtype} {color.shape}; they must be uint8 ({points}, 3)")
    if segment is not None:
        values["segment"] = segment = np.asarray(segment)
        if segment.shape != (points,) or segment.dtype.kind not in "iu":
            raise InputError(f"labels are {segment.dtype} {segment.shape}; they must be whole numbers ({points},)")
        limit = min(num_classes if num_classes is not None else 1 << 15, 1 << 15)
        if points and (segment.min() < IGNORED or segment.max() >= limit):
            raise InputError(f"labels reach from {segment.min()} to {segment.max()}; they must lie in -1..{limit - 1}")
    if intensity is not None:
        values["intensity"] = intensity = np.asarray(intensity)
        if intensity.shape != (points,) or intensity.dtype.kind not in "iuf":
            raise InputError(f"intensities are {intensity.dtype} {intensity.shape}; they must be numbers ({points},)")
    return values
