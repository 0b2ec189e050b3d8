"""What is kept of a training while it goes on: records, warnings, pictures, scores, the report. The first process alone
keeps them; ``Notes`` are those of the others, who keep none.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import nn

from pointseg.data.scene import PreparedScene
from pointseg.evaluation.evaluate import Evaluation
from pointseg.inference.predict import ScenePrediction
from pointseg.methods import Method
from pointseg.models.segmentor import Segmentor
from pointseg.training.alarm import CollapseAlarm
from pointseg.training.checkpoint import FINAL, save_weights
from pointseg.training.explained import explained
from pointseg.training.pictures import WIDTH, PredictionPictures
from pointseg.training.pseudo_label_record import PseudoLabelRecord, snapshot_steps
from pointseg.training.recipe import to_dict
from pointseg.training.report import write_report
from pointseg.training.run import Run
from pointseg.training.tracking import Tracker
from pointseg.viewing.bars import iou_bars
from pointseg.viewing.colors import available_modes
from pointseg.viewing.figure import draw_scene

logger = logging.getLogger(__name__)


class Notes:
    """Nothing is noted.

    Attributes:
        best: the step and scores of the best evaluation so far; empty before the first.
        scores: of the newest evaluation, by name.
    """

    def __init__(self, best: Mapping[str, Any]) -> None:
        self.best = dict(best)
        self.scores: dict[str, float] = {}

    def training(self, done: int, scalars: Mapping[str, float], data_wait: float) -> None:
        """The scalars of a step, the ``done``-th, and the share of time waited for data so far."""

    def histograms(self, done: int, method: Method) -> None:
        """The distributions that a method shows."""

    def pseudo_labels(self, done: int, method: Method, model: Segmentor) -> None:
        """What the method takes a training scene for, if the ``done``-th step is one of those kept."""

    def look(self, scene: PreparedScene, prediction: ScenePrediction) -> None:
        """A scored scene, for pictures."""

    def evaluation(self, done: int, evaluation: Evaluation, network: nn.Module) -> None:
        """Scores, and the weights of ``network`` if they are the best so far."""

    def finished(self, done: int, method: Method, model: Segmentor, network: nn.Module) -> None:
        """The report and the final weights, those of ``network``."""


class RunNotes(Notes):
    """Notes in the run folder.

    Args:
        run: the run.
        method: whose annotated points the alarm compares with.
        done: steps done before; what was noted of later ones is dropped.
        best: the best evaluation so far.
        scored: whether there will be evaluations.
    """

    def __init__(self, run: Run, method: Method, done: int, best: Mapping[str, Any], *, scored: bool) -> None:
        super().__init__(best)
        self.run = run
        self.tracker = Tracker(run.path, done)
        self.panels = PredictionPictures(run.classes)
        self.record = PseudoLabelRecord.of(run)
        self.drawn: dict[str, dict[str, Image.Image]] = {}
        if done == 0:
            self.tracker.describe(to_dict(run.config), "eval/miou" if scored else "train/loss")
        self.alarm = CollapseAlarm(method.label_counts.tolist(), run.config.steps)
        # Of what was recorded before the run was resumed it has warned already.
        for line in self.tracker.recorded("train"):
            self.alarm.observe(line["step"], line)

    def training(self, done: int, scalars: Mapping[str, float], data_wait: float) -> None:
        self.tracker.record("train", done, scalars)
        for warning in self.alarm.observe(done, scalars):
            self.tracker.warn(warning.kind, warning.step, warning.text)
            logger.warning("%s", warning.text)
        self.tracker.record("time", done, {"data_wait": data_wait})

    def histograms(self, done: int, method: Method) -> None:
        self.tracker.histograms(done, method.histograms())

    def pseudo_labels(self, done: int, method: Method, model: Segmentor) -> None:
        if done not in snapshot_steps(self.run.config.steps):
            return
        cloud = self.record.look(done, method, model)
        if cloud is not None:
            modes = [mode for mode in ("gt", "pseudo", "entropy") if mode in available_modes(cloud)]
            drawn = draw_scene(cloud, self.run.classes, modes=modes, width=WIDTH)
            self.tracker.pictures(done, "pseudo_labels", {self.record.name: drawn})

    def look(self, scene: PreparedScene, prediction: ScenePrediction) -> None:
        self.panels.look(scene, prediction)

    def evaluation(self, done: int, evaluation: Evaluation, network: nn.Module) -> None:
        per_class = zip(evaluation.classes, evaluation.points.iou, strict=True)
        self.scores = _existing(evaluation.summary())
        iou = _existing({f"iou_{name}": float(value) for name, value in per_class})
        self.tracker.record("eval", done, self.scores | iou)
        self.drawn["Predictions"] = self.panels.draw()
        self.tracker.pictures(done, "prediction", self.drawn["Predictions"])
        self.tracker.thumbnails(done, "prediction", self.panels.thumbnails())
        self.drawn["Classes"] = {
            "IoU of each class": iou_bars({self.run.path.name: evaluation.points.iou}, self.run.classes)
        }
        # A score that is not a number is above nothing, and nothing is kept from being above it.
        if "miou" in self.scores and not self.scores["miou"] <= self.best.get("miou", math.nan):
            self.best = {"step": done, **self.scores}
            save_weights(self.run.checkpoints / "best", network, self.best)

    def finished(self, done: int, method: Method, model: Segmentor, network: nn.Module) -> None:
        run = self.run
        self.drawn |= explained(self.record, method, model)
        write_report(run.path, run.config, run.classes.names, self.tracker.lines(), self.drawn)
        # Last of all: a run with final weights is finished.
        save_weights(run.checkpoints / FINAL, network, {"step": done, **self.scores})
        self.tracker.close()


def _existing(scores: Mapping[str, float]) -> dict[str, float]:
    """Without the scores of nothing, which are NaN."""
    return {name: value for name, value in scores.items() if not math.isnan(value)}
