"""Which box of one sample takes the place of which box of another.

Source: the share and the aspect of the box are those of UniMatch's CutMix for images (Yang et al., CVPR 2023); upright
boxes that span the whole height are this project's choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

AREA = (0.02, 0.4)
"""Smallest and largest share that a box has of the ground rectangle around the sample."""
ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest ratio of a box's edges, each as a share of the rectangle's edge."""


def draw_boxes(host: Tensor, partner: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Two boxes of one shape, drawn.

    Args:
        host: (V, 2) int32, the ground cells of the rows that receive.
        partner: (W, 2) int32, of the rows that give.
        rng: the only source of randomness.

    Returns:
        Rows of the host that go, (V,) bool; rows of the partner that come, (W,) bool, one at least; the shift of the
        latter in cells, (2,) int32.
    """
    extent = np.ptp(host.numpy(), axis=0) + 1
    area, aspect = rng.uniform(*AREA), np.exp(rng.uniform(*np.log(ASPECT)))
    edges = np.sqrt([area * aspect, area / aspect]).clip(max=1) * extent
    size = torch.from_numpy(np.maximum(edges.round(), 1).astype(np.int32))
    to, goes = _box(host, size, rng)
    origin, comes = _box(partner, size, rng)
    return goes, comes, to - origin


def _box(ground: Tensor, size: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Lowest corner (2,) of a box of that size around a random row, inside the sample's rectangle as far as it fits
    into it, and the rows in it, (V,) bool.
    """
    lowest, highest = ground.min(0).values, ground.max(0).values
    centre = ground[int(rng.integers(len(ground)))]
    low = torch.maximum(torch.minimum(centre - size // 2, highest - size + 1), lowest)
    return low, ((ground >= low) & (ground < low + size)).all(1)
