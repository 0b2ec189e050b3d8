"""Class colours that people with a red-green colour vision deficiency can tell apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pointseg.data.classes import Classes
from pointseg.errors import InputError

SAFE = np.array(
    [
        *[(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)],
        *[(204, 121, 167), (0, 0, 255), (105, 30, 0), (135, 240, 150), (75, 45, 75), (45, 30, 165)],
        *[(90, 120, 255), (150, 240, 255), (225, 15, 75), (90, 240, 195), (45, 45, 120), (240, 150, 90)],
        *[(60, 75, 240), (150, 60, 0), (75, 150, 240), (75, 105, 60), (150, 75, 120), (75, 45, 45)],
    ],
    np.uint8,
)
"""(24, 3) RGB. The first seven are those of Okabe and Ito (2008), but black; each further one is, of colours neither
near white nor near black, the one farthest from all before it in CIELAB, as the nearest of normal vision and of
protanopia and deuteranopia after Machado et al. (2009). No two are closer than 17 in any of the three."""

PALETTES = ("own", "safe")
"""``own``: the class file's colours. ``safe``: those of ``SAFE``, in class order, again from the start after 24."""


def with_palette(classes: Classes, palette: str) -> Classes:
    """The classes in the colours of one of the ``PALETTES``.

    Raises:
        InputError: there is no such palette.
    """
    if palette not in PALETTES:
        raise InputError(f"there is no palette {palette!r}; allowed are {', '.join(PALETTES)}.")
    if palette == "own":
        return classes
    return replace(classes, colors=SAFE[np.arange(classes.num_classes) % len(SAFE)])
