"""CutMix for voxels: an upright box of one sample is replaced by a box of another.

The boxes have one shape in whole voxels, so the rows that come fill exactly the room of the rows that go, and no
coordinate is ever double. Rows bring along what they hold: label, truth, raw point, and the weak row they correspond
to. Pseudo-labels made on the weak rows therefore follow them, which is to mix labels and predictions with one mask.

Source: the share and the aspect of the box are those of UniMatch's CutMix for images (Yang et al., CVPR 2023), the next
sample as partner is that of U2PL (Wang et al., CVPR 2022); boxes that span the whole height are this project's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pointseg.data.dataset import Sample, SamplePair

AREA = (0.02, 0.4)
"""Smallest and largest share that a box has of the ground rectangle around the sample."""
ASPECT = (0.3, 1 / 0.3)
"""Smallest and largest ratio of a box's edges, each as a share of the rectangle's edge."""


def cutmix(pairs: Sequence[SamplePair], *, probability: float, voxel_size: float) -> tuple[list[Sample], list[Tensor]]:
    """The strong samples of one batch, mixed: sample i gets a box of sample i + 1 as that one was before mixing.

    All strong views stand with their floor at z = 0, so boxes move sideways only. Nothing is mixed in a batch of one
    sample. A mixed sample may be larger than either of the two it was made from.

    Args:
        pairs: the batch, each pair with the seed of its own draw.
        probability: with which a sample gets a box.
        voxel_size: metres.

    Returns:
        The mixed strong samples, and for each (V,) int64 the row of the stacked weak samples, -1 for none.
    """
    starts = np.cumsum([0, *(len(pair.weak.coord) for pair in pairs)])
    strong = [pair.strong for pair in pairs]
    rows = [torch.where(p.weak_row >= 0, p.weak_row + int(s), -1) for p, s in zip(pairs, starts, strict=False)]
    samples, weak_rows = list(strong), list(rows)
    for i, pair in enumerate(pairs):
        rng = np.random.default_rng(pair.seed)
        other = (i + 1) % len(pairs)
        if other == i or rng.random() >= probability:
            continue
        goes, comes, shift = _boxes(strong[i], strong[other], rng)
        samples[i] = _joined(strong[i].rows(~goes), _shifted(strong[other].rows(comes), shift, voxel_size))
        weak_rows[i] = torch.cat([rows[i][~goes], rows[other][comes]])
    return samples, weak_rows


def _boxes(host: Sample, partner: Sample, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that go, (V,) bool; rows of the partner that come, (V,) bool, one at least; the shift (2,) in voxels."""
    extent = np.ptp(host.coord[:, :2].numpy(), axis=0) + 1
    area, aspect = rng.uniform(*AREA), np.exp(rng.uniform(*np.log(ASPECT)))
    edges = np.sqrt([area * aspect, area / aspect]).clip(max=1) * extent
    size = torch.from_numpy(np.maximum(edges.round(), 1).astype(np.int32))
    to, goes = _box(host, size, rng)
    origin, comes = _box(partner, size, rng)
    return goes, comes, to - origin


def _box(sample: Sample, size: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Lowest corner (2,) of a box of that size around a random row, inside the sample's rectangle as far as it fits
    into it, and the rows in it, (V,) bool.
    """
    ground = sample.coord[:, :2]
    lowest, highest = ground.min(0).values, ground.max(0).values
    centre = ground[int(rng.integers(len(ground)))]
    low = torch.maximum(torch.minimum(centre - size // 2, highest - size + 1), lowest)
    return low, ((ground >= low) & (ground < low + size)).all(1)


def _shifted(sample: Sample, shift: Tensor, voxel_size: float) -> Sample:
    step = torch.cat([shift, shift.new_zeros(1)])
    return replace(sample, coord=sample.coord + step, position=sample.position + step * voxel_size)


def _joined(first: Sample, second: Sample) -> Sample:
    return Sample(**{name: torch.cat([tensor, getattr(second, name)]) for name, tensor in vars(first).items()})
