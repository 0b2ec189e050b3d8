"""CutMix of strong views: an upright box of one sample is replaced by a box of another.

The boxes have one shape in whole voxels, so the rows that come fill exactly the room of the rows that go, and no
coordinate is ever double. Rows bring along what they hold: label, truth, raw point, and the weak row they correspond
to. Pseudo-labels made on the weak rows therefore follow them, which is to mix labels and predictions with one mask.

Source: the next sample as partner is that of U2PL (Wang et al., CVPR 2022); the boxes are those of
``pointseg.data.boxes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pointseg.data.boxes import draw_boxes
from pointseg.data.dataset import Sample, SamplePair


def cutmix(pairs: Sequence[SamplePair], *, probability: float, voxel_size: float) -> tuple[list[Sample], list[Tensor]]:
    """The strong samples of one batch, mixed: sample i gets a box of sample i + 1 as that one was before mixing.

    A box moves sideways by what the draw says, and up or down so that its floor comes to stand in the layer of its new
    sample's floor. Nothing is mixed in a batch of one sample. A mixed sample may be larger than either of the two it
    was made from.

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
        goes, comes, shift = draw_boxes(strong[i].coord[:, :2], strong[other].coord[:, :2], rng)
        shift = torch.cat([shift, shift.new_tensor([pair.strong_floor - pairs[other].strong_floor])])
        samples[i] = _joined(strong[i].rows(~goes), _shifted(strong[other].rows(comes), shift, voxel_size))
        weak_rows[i] = torch.cat([rows[i][~goes], rows[other][comes]])
    return samples, weak_rows


def _shifted(sample: Sample, shift: Tensor, voxel_size: float) -> Sample:
    return replace(sample, coord=sample.coord + shift, position=sample.position + shift * voxel_size)


def _joined(first: Sample, second: Sample) -> Sample:
    return Sample(**{name: torch.cat([tensor, getattr(second, name)]) for name, tensor in vars(first).items()})
