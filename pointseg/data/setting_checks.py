"""What the settings of the augmentation groups may be; each refusal names the setting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointseg.errors import InputError


def require_share(name: str, value: float) -> None:
    """Refuse what is not a share below 1, of which something is left over."""
    if not 0 <= value < 1:
        raise InputError(f"{name} is {value}; it must be a share, from 0 (off) to less than 1")


def require_unit(name: str, value: float) -> None:
    """Refuse what does not lie in 0 to 1, such as a probability or a strength relative to the full range."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; it must lie in 0 (off) to 1")


def require_angle(name: str, value: float, largest: float) -> None:
    """Refuse an angle outside 0 to ``largest`` degrees."""
    if not 0 <= value <= largest:
        raise InputError(f"{name} is {value}; it must be an angle from 0 (off) to {largest:g} degrees")


def require_elastic(name: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Refuse pairs that are not a granularity and a magnitude of ``elastic_displacement``."""
    for granularity, magnitude in pairs:
        if not (0 < granularity < np.inf and 0 <= magnitude < np.inf):
            raise InputError(
                f"{name} holds ({granularity}, {magnitude}); each pair must be a granularity above 0 and a "
                "magnitude of 0 or more, in metres"
            )
