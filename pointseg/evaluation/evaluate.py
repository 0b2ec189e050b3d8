"""Score a network on prepared scenes: on every raw point (``miou``) and on voxels (``miou_voxel``)."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import replacing_file
from pointseg.data.classes import IGNORED
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, miou_interval
from pointseg.evaluation.calibration import Calibration
from pointseg.evaluation.scores import Scores, confusion_matrix, scores_from_confusion
from pointseg.inference.predict import ScenePrediction

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class SceneEvaluation:
    """What is counted of a scene.

    Attributes:
        matrix: (K, K) int64 on raw points, truth in rows.
        matrix_voxel: the same on voxels (majority class).
        calibration: of the raw points.
    """

    matrix: np.ndarray
    matrix_voxel: np.ndarray
    calibration: Calibration


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split, from what was counted of its scenes.

    Attributes:
        classes: the K class names.
        scenes: by ``split/scene``; at least one.
    """

    classes: tuple[str, ...]
    scenes: Mapping[str, SceneEvaluation]

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """(K, K) int64 on raw points, truth in rows, of all scenes."""
        return np.asarray(sum(scene.matrix for scene in self.scenes.values()))

    @functools.cached_property
    def matrix_voxel(self) -> np.ndarray:
        """The same on voxels."""
        return np.asarray(sum(scene.matrix_voxel for scene in self.scenes.values()))

    @property
    def matrices(self) -> dict[str, np.ndarray]:
        """The matrix of each scene, on raw points."""
        return {name: scene.matrix for name, scene in self.scenes.items()}

    @property
    def calibration(self) -> Calibration:
        """Of the raw points of all scenes."""
        return functools.reduce(Calibration.__add__, (scene.calibration for scene in self.scenes.values()))

    @property
    def points(self) -> Scores:
        return scores_from_confusion(self.matrix)

    @property
    def voxels(self) -> Scores:
        return scores_from_confusion(self.matrix_voxel)

    @property
    def scene_miou(self) -> dict[str, float]:
        """mIoU of each scene on raw points."""
        return {name: scores_from_confusion(scene.matrix).miou for name, scene in self.scenes.items()}

    def summary(self) -> dict[str, float]:
        """The headline scores by their names; point scores unless the name says voxel."""
        points = self.points
        return {"miou": points.miou, "macc": points.macc, "oacc": points.oacc, "miou_voxel": self.voxels.miou}

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; a score that does not exist is null."""
        points, voxels, calibration = self.points, self.voxels, self.calibration
        confidence, accuracy = calibration.curve()
        return {
            **{name: _number(value) for name, value in self.summary().items()},
            "ece": _number(calibration.error),
            "miou_interval": interval_json(miou_interval(self.matrices)),
            "iou": {name: _number(v) for name, v in zip(self.classes, points.iou, strict=True)},
            "iou_voxel": {name: _number(v) for name, v in zip(self.classes, voxels.iou, strict=True)},
            "recall": {name: _number(v) for name, v in zip(self.classes, points.recall, strict=True)},
            "scenes": {name: _number(v) for name, v in self.scene_miou.items()},
            "confusion": self.matrix.tolist(),
            "confusion_voxel": self.matrix_voxel.tolist(),
            "calibration": {
                "points": calibration.points.tolist(),
                "confidence": [_number(value) for value in confidence],
                "accuracy": [_number(value) for value in accuracy],
            },
            "scene_confusion": {name: _triples(scene.matrix) for name, scene in self.scenes.items()},
        }

    def save(self, path: Path, more: Mapping[str, Any] | None = None) -> None:
        """Write ``as_json``, and ``more`` JSON values, to a file with one key a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = {**self.as_json(), **(more or {})}
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in entries.items())
        with replacing_file(path) as unfinished:
            unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval, and how it was made, as JSON values."""
    limits = {name: _number(value) for name, value in vars(interval).items()}
    return {**limits, "level": LEVEL, "resamples": RESAMPLES}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _triples(matrix: np.ndarray) -> list[list[int]]:
    """The elements of a matrix that are not 0, as [truth, prediction, count]: few for a scene of 200 classes."""
    truth, pred = np.nonzero(matrix)
    return np.stack([truth, pred, matrix[truth, pred]], axis=1).tolist()


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
    """Predict each scene and count what came out.

    Args:
        scenes: prepared scenes with ground truth.
        predict: scene -> prediction, ``predict_scene`` with everything but the scene filled in.
        classes: class names; ids are positions in it.
        annotated: scene -> raw indices of points whose label was trained on: they, and their voxels in the voxel
            score, are left out.

    Raises:
        InputError: there is no scene, or one without ground truth.
    """
    counted = {
        f"{scene.split}/{scene.name}": _evaluate_scene(scene, predict, len(classes), annotated(scene))
        for scene in scenes
    }
    if not counted:
        raise InputError("there is no scene to evaluate; name splits that hold prepared scenes")
    return Evaluation(tuple(classes), counted)


def _evaluate_scene(
    scene: PreparedScene, predict: Callable[[PreparedScene], ScenePrediction], num_classes: int, known: np.ndarray
) -> SceneEvaluation:
    if scene.segment is None:
        raise InputError(f"scene {scene.split}/{scene.name} has no ground truth and cannot be scored")
    prediction = predict(scene)
    truth, pred = _without(scene.segment, known), prediction.pred
    assert prediction.grid.segment is not None
    truth_voxel = _without(prediction.grid.segment, prediction.grid.inverse[known])
    scored = truth >= 0
    return SceneEvaluation(
        confusion_matrix(truth, pred, num_classes),
        confusion_matrix(truth_voxel, prediction.voxel_pred, num_classes),
        Calibration.of(prediction.confidence[scored], (pred == truth)[scored]),
    )


def pooled(folds: Sequence[Evaluation]) -> Evaluation:
    """Several evaluations as one over all their scenes, which must differ.

    Raises:
        InputError: two of them scored the same scene, or know other classes.
    """
    scenes: dict[str, SceneEvaluation] = {}
    for fold in folds:
        if fold.classes != folds[0].classes:
            raise InputError("the runs were trained on different class files and cannot be pooled; use runs of one")
        if twice := sorted(scenes.keys() & fold.scenes.keys()):
            raise InputError(f"scene {twice[0]} was scored by two runs; each scene must be held out by one run alone")
        scenes |= fold.scenes
    return Evaluation(folds[0].classes, scenes)
