"""Two scenes in one training sample: laid over each other, or a box of one put into the other.

Mixing is of points, before they are voxelised and before a strong view is made of them. A voxel that holds points of
both scenes is then merged as any other: an annotation in it stays, and the rows of two views correspond as always.

Source: Mix3D (Nekrasov et al., 3DV 2021) for the overlay; there two samples of a batch become one, here the partner is
any scene of the training set, so that a sample needs no batch. The boxes are those of ``pointseg.data.boxes``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pointseg.data.boxes import draw_boxes
from pointseg.data.training_cloud import TrainingCloud


def overlaid(host: TrainingCloud, partner: TrainingCloud) -> TrainingCloud:
    """The points of both, on one floor. Augmented clouds stand with their middle at the origin, so middles meet too."""
    return host.joined(partner.moved(np.array([0, 0, host.floor - partner.floor])))


def boxes_swapped_in(
    host: TrainingCloud, partner: TrainingCloud, cell: float, rng: np.random.Generator
) -> TrainingCloud:
    """The host with an upright box of it replaced by one of the partner.

    A box that takes the last annotation along would leave a sample that teaches nothing; the host then stays whole.

    Args:
        host: N points.
        partner: the cloud that gives; it moves sideways by whole cells, and onto the host's floor.
        cell: edge of the ground cells that boxes are counted in, metres.
        rng: the only source of randomness.
    """
    goes, comes, shift = draw_boxes(_ground_cells(host, cell), _ground_cells(partner, cell), rng)
    piece = partner.take(np.flatnonzero(comes.numpy()))
    step = np.append(shift.numpy() * cell, host.floor - partner.floor)
    mixed = host.take(np.flatnonzero(~goes.numpy())).joined(piece.moved(step))
    return mixed if mixed.annotated else host


def _ground_cells(cloud: TrainingCloud, cell: float) -> Tensor:
    return torch.from_numpy(np.floor(cloud.coord[:, :2].astype(np.float64) / cell).astype(np.int32))
