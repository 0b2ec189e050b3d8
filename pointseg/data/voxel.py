"""Points to voxels: which voxel each point lies in, and what a voxel takes over from its points.

Everything here is deterministic. One 63-bit Morton key a point and one sort of integers do the work, so voxelising
costs about as much as sorting; ``tests/data/test_voxel.py`` holds the slow twins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.data.classes import IGNORED
from pointseg.errors import InputError

_AXIS_BITS = 21
"""Three axes share a 63-bit key."""

MAX_EXTENT = 1 << _AXIS_BITS
"""Most voxels a cloud may span along one axis (105 km at 5 cm)."""

_SPREAD = (
    (32, 0x001F00000000FFFF),
    (16, 0x001F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)


@dataclass(frozen=True)
class VoxelGrid:
    """N points in V occupied voxels, rows in Morton order.

    Attributes:
        voxel_size: Edge of a voxel, metres.
        coord: (V, 3) int32, floor(position / voxel_size).
        point: (V,) int64, the representative: the lowest index among the voxel's points.
        inverse: (N,) int64, the voxel row of each point.
        color: (V, 3) uint8, mean colour rounded half up; None if the points have none.
        segment: (V,) int16, the class most of the voxel's labelled points have, the lower one on a tie, -1 if none is
            labelled; None if the points have no labels.
    """

    voxel_size: float
    coord: np.ndarray
    point: np.ndarray
    inverse: np.ndarray
    color: np.ndarray | None = None
    segment: np.ndarray | None = None


def voxelize(
    coord: np.ndarray,
    voxel_size: float,
    *,
    color: np.ndarray | None = None,
    segment: np.ndarray | None = None,
    num_classes: int | None = None,
) -> VoxelGrid:
    """Group points by voxel.

    The division is done in float64 whatever the dtype of ``coord``, and rounds towards minus infinity.

    Args:
        coord: (N, 3) metres, N may be 0.
        voxel_size: Edge of a voxel, metres.
        color: (N, 3) uint8.
        segment: (N,) whole numbers, -1 = not labelled.
        num_classes: K; a label at or above it is refused.

    Raises:
        InputError: NaN or infinite coordinates, a size that is not positive, a cloud of more than ``MAX_EXTENT``
            voxels along an axis, lengths that do not match, or a label out of range.
    """
    check_voxel_size(voxel_size)
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3:
        raise InputError(f"coordinates have shape {coord.shape}; they must be (N, 3)")
    cell = _cells(coord, voxel_size)
    order, starts = _sort(cell)
    bounds = np.append(starts, len(order))
    counts = np.diff(bounds)
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.repeat(np.arange(len(starts)), counts)
    point = order[starts]
    return VoxelGrid(
        voxel_size=float(voxel_size),
        coord=cell[point].astype(np.int32),
        point=point,
        inverse=inverse,
        color=None if color is None else _mean_color(np.asarray(color), inverse, counts),
        segment=None if segment is None else _majority(np.asarray(segment), order, starts, inverse, num_classes),
    )


def voxel_mean(values: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """The mean of the points' values in each voxel.

    Args:
        values: (N, C).
        grid: The grid of the same N points.

    Returns:
        (V, C) float32, summed in float64.

    Raises:
        InputError: The number of rows is not the grid's number of points.
    """
    values = np.asarray(values)
    if values.ndim != 2 or len(values) != len(grid.inverse):
        raise InputError(f"values have shape {values.shape}; the grid needs ({len(grid.inverse)}, C)")
    voxels = len(grid.coord)
    counts = np.bincount(grid.inverse, minlength=voxels)
    means = np.empty((voxels, values.shape[1]), dtype=np.float32)
    for channel in range(values.shape[1]):
        means[:, channel] = np.bincount(grid.inverse, values[:, channel], minlength=voxels) / counts
    return means


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


def check_voxel_size(voxel_size: float) -> None:
    """Refuse a voxel size that is not a positive length in metres."""
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise InputError(f"the voxel size is {voxel_size}; it must be a positive number of metres, such as 0.05")


def _cells(coord: np.ndarray, voxel_size: float) -> np.ndarray:
    """(N, 3) int64 voxel coordinates, after checking that they fit the key and int32."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        scaled = np.floor(coord.astype(np.float64) / voxel_size)
    if len(scaled) == 0:
        return scaled.astype(np.int64)
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        bad = int(np.flatnonzero(~np.isfinite(scaled).all(axis=1))[0])
        raise InputError(f"point {bad} has coordinates {coord[bad].tolist()}; they must be finite numbers of metres")
    extent = high - low + 1
    if extent.max() > MAX_EXTENT:
        raise InputError(
            f"the cloud spans {extent.max():.0f} voxels of {voxel_size} m along one axis; at most {MAX_EXTENT} are "
            "possible; use a larger voxel size or remove far outliers"
        )
    limits = np.iinfo(np.int32)
    if low.min() < limits.min or high.max() > limits.max:
        raise InputError(
            f"voxel coordinates reach from {low.min():.0f} to {high.max():.0f}, beyond {limits.min}..{limits.max}; "
            "subtract an offset from the coordinates or use a larger voxel size"
        )
    return scaled.astype(np.int64)


def _sort(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stable order of the points along the Morton curve, and where in it each voxel starts."""
    points = len(cell)
    if points == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low = cell.min(axis=0)
    key = np.zeros(points, dtype=np.int64)
    for axis in range(3):
        key |= _spread(cell[:, axis] - low[axis]) << axis
    index_bits = points.bit_length()
    if int(key.max()).bit_length() + index_bits <= 63:
        # Key and index in one number: sorting values is several times faster than a stable argsort.
        packed = (key << index_bits) | np.arange(points)
        packed.sort()
        order = packed & ((1 << index_bits) - 1)
        ranked = packed >> index_bits
    else:
        order = np.argsort(key, kind="stable")
        ranked = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts


def _spread(value: np.ndarray) -> np.ndarray:
    """Move bit i of non-negative numbers below 2^21 to bit 3i."""
    top = int(value.max())
    if top < len(value):
        # Fewer distinct values than points: spread each once.
        return _spread_bits(np.arange(top + 1, dtype=np.int64))[value]
    return _spread_bits(value)


def _spread_bits(value: np.ndarray) -> np.ndarray:
    for shift, mask in _SPREAD:
        value = (value | (value << shift)) & mask
    return value


def _mean_color(color: np.ndarray, inverse: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if color.shape != (len(inverse), 3) or color.dtype != np.uint8:
        raise InputError(f"colours are {color.dtype} {color.shape}; they must be uint8 ({len(inverse)}, 3)")
    means = np.empty((len(counts), 3), dtype=np.uint8)
    for channel in range(3):
        total = np.bincount(inverse, color[:, channel], minlength=len(counts)).astype(np.int64)
        means[:, channel] = (2 * total + counts) // (2 * counts)
    return means


def _majority(
    segment: np.ndarray, order: np.ndarray, starts: np.ndarray, inverse: np.ndarray, num_classes: int | None
) -> np.ndarray:
    if segment.shape != inverse.shape or segment.dtype.kind not in "iu":
        raise InputError(f"labels are {segment.dtype} {segment.shape}; they must be whole numbers ({len(inverse)},)")
    if len(segment) == 0:
        return np.empty(0, np.int16)
    top = int(segment.max())
    limit = min(num_classes if num_classes is not None else 1 << 15, 1 << 15)
    if segment.min() < IGNORED or top >= limit:
        raise InputError(f"labels reach from {segment.min()} to {top}; they must lie in -1..{limit - 1}")
    ranked = segment[order]
    lowest, highest = np.minimum.reduceat(ranked, starts), np.maximum.reduceat(ranked, starts)
    result = highest.astype(np.int16)
    mixed = np.flatnonzero(lowest != highest)
    if len(mixed):
        row = np.full(len(starts), -1, dtype=np.int64)
        row[mixed] = np.arange(len(mixed))
        votes = (row[inverse] >= 0) & (segment >= 0)
        cell = row[inverse[votes]] * (top + 1) + segment[votes].astype(np.int64)
        histogram = np.bincount(cell, minlength=len(mixed) * (top + 1)).reshape(len(mixed), top + 1)
        result[mixed] = histogram.argmax(axis=1)
    return result
