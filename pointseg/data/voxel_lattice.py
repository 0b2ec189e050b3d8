"""Which voxel a position lies in: float64 division, and one Morton key per voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.data.morton import AXIS_BITS, Morton
from pointseg.errors import InputError

MAX_EXTENT = 1 << AXIS_BITS
"""Most voxels a cloud may span along one axis (105 km at 5 cm)."""


@dataclass(frozen=True)
class Lattice:
    """The voxels a cloud may occupy.

    Attributes:
        voxel_size: Edge of a voxel, metres.
        low: (3,) float64 whole numbers, the cloud's lowest voxel on each axis.
        morton: Keys of voxel coordinates counted from ``low``.
    """

    voxel_size: float
    low: np.ndarray
    morton: Morton

    @classmethod
    def around(cls, lowest: np.ndarray, highest: np.ndarray, voxel_size: float) -> Lattice:
        """The lattice of a cloud of which only the bounding box is known.

        Args:
            lowest: (3,) metres, finite.
            highest: (3,) metres, finite.
            voxel_size: Metres.

        Raises:
            InputError: A size that is not positive, more than ``MAX_EXTENT`` voxels along an axis, or voxel
                coordinates beyond int32.
        """
        check_voxel_size(voxel_size)
        with np.errstate(over="ignore"):  # an overflow to infinity is refused as too large an extent
            # Division and floor keep the order of numbers, so the extreme points have the extreme voxels.
            low = np.floor(lowest.astype(np.float64) / voxel_size) + 0.0
            high = np.floor(highest.astype(np.float64) / voxel_size) + 0.0
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"the cloud reaches from {lowest.tolist()} to {highest.tolist()}, too far for voxels of {voxel_size} "
                "m; check the unit of the coordinates"
            )
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
        return cls(float(voxel_size), low, Morton([int(size - 1).bit_length() for size in extent]))

    def keys(self, coord: np.ndarray) -> np.ndarray:
        """(N,) int64 keys of the voxels that positions (N, 3) within the bounding box lie in."""
        scaled = coord.astype(np.float64)
        scaled /= self.voxel_size
        np.floor(scaled, out=scaled)
        scaled -= self.low
        return self.morton.keys(scaled.astype(np.int64))

    def coordinates(self, key: np.ndarray) -> np.ndarray:
        """(V, 3) int32 voxel coordinates of keys (V,)."""
        return (self.morton.cells(key) + self.low.astype(np.int64)).astype(np.int32)


def check_voxel_size(voxel_size: float) -> None:
    """Refuse a voxel size that is not a positive length in metres."""
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise InputError(f"the voxel size is {voxel_size}; it must be a positive number of metres, such as 0.05")
