"""Scoring scenes in several processes: each scores some, and all learn what was counted of every one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pointseg.data.scene import PreparedScene
from pointseg.evaluation.calibration import BINS, Calibration
from pointseg.evaluation.evaluate import Evaluation, SceneEvaluation
from pointseg.methods.distributed import all_gather_rows, rank, world_size
from pointseg.training.processes import in_any, meeting_device


def evaluate_dealt(
    scenes: Sequence[PreparedScene],
    classes: Sequence[str],
    evaluate: Callable[[Sequence[PreparedScene]], Evaluation],
) -> Evaluation:
    """Deal scenes out like cards, score each in one process, and put the counts together: those of a single process.

    The processes meet after each round, so that none waits for the others' whole share.

    Args:
        scenes: the same list in every process, at least one.
        classes: K names.
        evaluate: scores scenes of this process.
    """
    if world_size() == 1:
        return evaluate(scenes)
    counted: list[SceneEvaluation] = []
    for first in range(0, len(scenes), world_size()):
        own = scenes[first + rank() : first + rank() + 1]
        counted += evaluate(own).scenes.values() if own else []
        in_any(False)
    dealt = [number for first in range(world_size()) for number in range(first, len(scenes), world_size())]
    by_number = dict(zip(dealt, _of_all(counted, len(classes)), strict=True))
    named = {f"{scene.split}/{scene.name}": by_number[number] for number, scene in enumerate(scenes)}
    return Evaluation(tuple(classes), named)


def _of_all(own: Sequence[SceneEvaluation], num_classes: int) -> list[SceneEvaluation]:
    """What every process counted, in the order of the ranks."""
    size = (num_classes, num_classes)
    parts = [(s.matrix, s.matrix_voxel, s.calibration.points, s.calibration.hits) for s in own]
    counts = np.array([np.concatenate([part.ravel() for part in scene]) for scene in parts], np.int64)
    sums = np.array([scene.calibration.confidence for scene in own], np.float64)
    device = meeting_device()
    counts = counts.reshape(len(own), 2 * num_classes**2 + 2 * BINS)
    rows = all_gather_rows(torch.from_numpy(counts).to(device)).cpu().numpy()
    confidence = all_gather_rows(torch.from_numpy(sums.reshape(len(own), BINS)).to(device)).cpu().numpy()
    split = np.cumsum([num_classes**2, num_classes**2, BINS])
    return [
        SceneEvaluation(points.reshape(size), voxels.reshape(size), Calibration(binned, hits, summed))
        for (points, voxels, binned, hits), summed in zip(
            (np.split(row, split) for row in rows), confidence, strict=True
        )
    ]
