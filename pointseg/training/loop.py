"""The training loop: one plain function, readable from top to bottom."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn

from pointseg.data.scene import PreparedScene
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.inference.predict import ScenePrediction, predict_scene
from pointseg.methods import Method
from pointseg.models.segmentor import Segmentor
from pointseg.training.alarm import CollapseAlarm
from pointseg.training.batches import as_batch, batches, training_data
from pointseg.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from pointseg.training.config import TrainConfig
from pointseg.training.recipe import to_dict
from pointseg.training.run import Run
from pointseg.training.step import build, training_step
from pointseg.training.tracking import Tracker, named_scalars

LOG_EVERY = 10
"""Steps between recorded training scalars."""

HISTOGRAM_EVERY = 100
"""Steps between recorded histograms."""

logger = logging.getLogger(__name__)

OnStep = Callable[[int, dict[str, float]], None]
"""Called after each step with the steps done and the newest scalars (training and evaluation)."""


def train(run: Run, *, device: torch.device, workers: int = 1, on_step: OnStep = lambda done, scalars: None) -> None:
    """Train a run to its end, from its newest checkpoint if it has one.

    Weights after the last step do not depend on whether, where or how often the run was interrupted, nor on
    ``workers``: data, schedule and augmentation are functions of the step.

    Args:
        run: the run folder; everything is written there.
        device: where to train.
        workers: processes that load data; 0 = load in this one.
        on_step: told of every step, for a progress bar.

    Raises:
        InputError: the data of the recipe is missing or unfit, or the loss stops being finite.
    """
    config = run.config
    model, method, optimizer = build(run, device)
    done, best = _restore(run, model, method, optimizer)
    dataset, eval_scenes = training_data(run, two_views=method.needs_strong_view), run.scored_scenes()
    tracker = Tracker(run.path, done)
    if done == 0:
        tracker.describe(to_dict(config), "eval/miou" if eval_scenes else "train/loss")
    alarm = _alarm(method, tracker, config)
    evaluated: dict[str, float] = {}
    scalars: dict[str, float] = {}
    model.train()
    for batch in batches(run, dataset, start=done, workers=workers):
        recorded = (done + 1) % LOG_EVERY == 0 or done + 1 == config.steps
        rows = as_batch(batch.to(device), step=done, steps=config.steps, monitor=recorded)
        terms = training_step(model, method, optimizer, rows, config)
        done += 1
        last = done == config.steps
        newest = named_scalars({"loss": terms.total, **terms.log}, run.classes.names)
        scalars |= newest
        if recorded:
            _record_training(tracker, alarm, done, newest | {"lr": optimizer.param_groups[0]["lr"]})
        if done % HISTOGRAM_EVERY == 0 or last:
            tracker.histograms(done, method.histograms())
        if eval_scenes and (done % config.eval_every == 0 or last):
            scored = cast(Segmentor, method.evaluated(model))
            evaluation = evaluate_network(run, scored, eval_scenes, device)
            evaluated = evaluation.summary()
            _record_evaluation(tracker, evaluation, done)
            if not best or evaluated["miou"] > best["miou"]:
                best = {"step": done, **evaluated}
                save_weights(run.checkpoints / "best", scored.net, best)
        if last:
            scored = cast(Segmentor, method.evaluated(model))
            save_weights(run.checkpoints / "final", scored.net, {"step": done, **evaluated})
        if done % config.checkpoint_every == 0 and not last:
            state = {"best": best}
            save_checkpoint(
                run.checkpoints, step=done, model=model.net, method=method, optimizer=optimizer, state=state
            )
        on_step(done, scalars | {f"eval_{name}": value for name, value in evaluated.items()})
    tracker.close()


def evaluate_network(run: Run, model: nn.Module, scenes: Iterable[PreparedScene], device: torch.device) -> Evaluation:
    """Score a network on scenes with the input settings of a run, apart from the points it was trained on."""
    return evaluate_scenes(scenes, predictor(run, model, device), run.classes.names, run.annotated_points)


def predictor(run: Run, model: nn.Module, device: torch.device) -> Callable[[PreparedScene], ScenePrediction]:
    """``predict_scene`` with the input settings of a run filled in."""
    data = run.config.data
    return functools.partial(
        predict_scene,
        model,
        voxel_size=data.voxel_size,
        features=data.features,
        device=device,
        bf16=run.config.precision == "bf16",
    )


def _restore(
    run: Run, model: Segmentor, method: Method, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    latest = run.latest_checkpoint()
    if latest is None:
        return 0, {}
    state = load_checkpoint(latest, model=model.net, method=method, optimizer=optimizer)
    return int(state["step"]), dict(state["best"])


def _alarm(method: Method, tracker: Tracker, config: TrainConfig) -> CollapseAlarm:
    """The alarm, told of what was recorded before the run was resumed; it has warned of that already."""
    alarm = CollapseAlarm(method.label_counts.tolist(), config.steps)
    for line in tracker.recorded("train"):
        alarm.observe(line["step"], line)
    return alarm


def _record_training(tracker: Tracker, alarm: CollapseAlarm, done: int, scalars: dict[str, float]) -> None:
    tracker.record("train", done, scalars)
    for warning in alarm.observe(done, scalars):
        tracker.warn(warning.kind, warning.step, warning.text)
        logger.warning("%s", warning.text)


def _record_evaluation(tracker: Tracker, evaluation: Evaluation, done: int) -> None:
    per_class = zip(evaluation.classes, evaluation.points.iou, strict=True)
    iou = {f"iou_{name}": float(value) for name, value in per_class if not math.isnan(value)}
    tracker.record("eval", done, evaluation.summary() | iou)
