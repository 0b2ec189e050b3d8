"""Coordinates of a file as a cloud holds them: float32 metres from an offset."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from pointseg.errors import InputError
from pointseg.viewing.cloud import COARSEST_STEP, Cloud

logger = logging.getLogger(__name__)

FLOAT32_STEP = 1e-4
"""Metres: where float32 is coarser than this, an offset is taken off, and PLY files have float64."""

FARTHEST = 1e12
"""Metres; far beyond it float32 has no numbers."""


def placed(path: Path, coord: np.ndarray, offset: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a file relative to an offset.

    Where points lie so far apart that float32 loses more than a millimetre they are rounded nevertheless: pages and
    pictures are hundreds of times coarser than float32. Whoever writes them again has ``Cloud.step`` to look at.

    Args:
        path: The file, for messages.
        coord: (N, 3) metres, finite, in the file's own coordinates.
        offset: (3,) metres; None takes zero, or the floor of the smallest coordinates where float32 would lose a tenth
            of a millimetre.

    Returns:
        (N, 3) float32 and the offset (3,) float64.

    Raises:
        InputError: Coordinates that cannot be metres.
    """
    far = np.abs(coord).max(initial=0)
    if far > FARTHEST:
        raise InputError(f"{path} has coordinates up to {far:g}; they must be metres: export it again in those.")
    if offset is None:
        offset = np.zeros(3) if np.spacing(np.float32(far)) <= FLOAT32_STEP else np.floor(coord.min(axis=0))
    return (coord - offset).astype(np.float32), offset


def warn_if_coarse(path: Path, cloud: Cloud) -> None:
    """Say that positions are rounded, and why little may be seen."""
    if cloud.step > COARSEST_STEP:
        logger.warning(
            "%s reaches %s m from its offset, so positions are held to %.1g m; if little is seen, remove stray points",
            path, f"{cloud.reach:,.0f}", cloud.step,
        )  # fmt: skip
