"""Normals as a file has them, brought to length 1."""

import numpy as np

_ROUNDING = 1e-3
"""How far from 1 the length of a unit vector may be that was printed with three digits."""


def unit_normals(normal: np.ndarray) -> tuple[np.ndarray, int]:
    """Normals of length 1, or 0 where they are 0 or have a part that is not finite.

    Args:
        normal: (N, 3).

    Returns:
        (N, 3) float32, and how many were of another length by more than the rounding of three printed digits.
    """
    normal = np.where(np.isfinite(normal).all(axis=1, keepdims=True), normal, 0).astype(np.float64)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    off = np.where(length > 0, np.abs(length - 1), 0)
    # Of length 1 as far as float32 can tell, they keep every bit: scenes that go from tool to tool stay the same.
    np.divide(normal, length, out=normal, where=off > 4 * np.finfo(np.float32).eps)
    return normal.astype(np.float32), int(np.count_nonzero(off > _ROUNDING))
