"""Score a network on prepared scenes: on every raw point (``miou``) and on voxels (``miou_voxel``)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import replacing_file
from pointseg.data.classes import IGNORED
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.evaluation.scores import Scores, confusion_matrix, scores_from_confusion
from pointseg.inference.predict import ScenePrediction

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Evaluation:
    """Pooled confusion matrices of a split, and each scene's own mIoU on raw points.

    Attributes:
        classes: the K class names.
        matrix: (K, K) int64 on raw points, truth in rows.
        matrix_voxel: the same on voxels (majority class).
        scene_miou: mIoU of each scene, by ``split/scene``.
    """

    classes: tuple[str, ...]
    matrix: np.ndarray
    matrix_voxel: np.ndarray
    scene_miou: dict[str, float]

    @property
    def points(self) -> Scores:
        return scores_from_confusion(self.matrix)

    @property
    def voxels(self) -> Scores:
        return scores_from_confusion(self.matrix_voxel)

    def summary(self) -> dict[str, float]:
        """The headline scores by their names; point scores unless the name says voxel."""
        points = self.points
        return {"miou": points.miou, "macc": points.macc, "oacc": points.oacc, "miou_voxel": self.voxels.miou}

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; a score that does not exist is null."""
        points, voxels = self.points, self.voxels
        return {
            **{name: _number(value) for name, value in self.summary().items()},
            "iou": {name: _number(v) for name, v in zip(self.classes, points.iou, strict=True)},
            "iou_voxel": {name: _number(v) for name, v in zip(self.classes, voxels.iou, strict=True)},
            "recall": {name: _number(v) for name, v in zip(self.classes, points.recall, strict=True)},
            "scenes": {name: _number(v) for name, v in self.scene_miou.items()},
            "confusion": self.matrix.tolist(),
            "confusion_voxel": self.matrix_voxel.tolist(),
        }

    def save(self, path: Path) -> None:
        """Write ``as_json`` to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as unfinished:
            unfinished.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _without(truth: np.ndarray, index: np.ndarray) -> np.ndarray:
    kept = np.array(truth)
    kept[index] = IGNORED
    return kept


def evaluate_scenes(
    scenes: Iterable[PreparedScene],
    predict: Callable[[PreparedScene], ScenePrediction],
    classes: Sequence[str],
    annotated: Callable[[PreparedScene], np.ndarray] = lambda scene: NOTHING,
) -> Evaluation:
    """Predict each scene and pool the confusion matrices.

    Args:
        scenes: prepared scenes with ground truth.
        predict: scene -> prediction, ``predict_scene`` with everything but the scene filled in.
        classes: class names; ids are positions in it.
        annotated: scene -> raw indices of points whose label was trained on: they, and their voxels in the voxel
            score, are left out.

    Raises:
        InputError: there is no scene, or one without ground truth.
    """
    k = len(classes)
    matrix, matrix_voxel = np.zeros((k, k), np.int64), np.zeros((k, k), np.int64)
    scene_miou: dict[str, float] = {}
    for scene in scenes:
        if scene.segment is None:
            raise InputError(f"scene {scene.split}/{scene.name} has no ground truth and cannot be scored")
        prediction = predict(scene)
        known, inverse = annotated(scene), prediction.grid.inverse
        own = confusion_matrix(_without(scene.segment, known), prediction.pred, k)
        matrix += own
        assert prediction.grid.segment is not None
        truth_voxel = _without(prediction.grid.segment, inverse[known])
        matrix_voxel += confusion_matrix(truth_voxel, prediction.voxel_pred, k)
        scene_miou[f"{scene.split}/{scene.name}"] = scores_from_confusion(own).miou
    if not scene_miou:
        raise InputError("there is no scene to evaluate; name splits that hold prepared scenes")
    return Evaluation(tuple(classes), matrix, matrix_voxel, scene_miou)
