"""The training loop: one plain function, readable from top to bottom."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from PIL import Image
from torch import nn

from pointseg.data.collate import ViewBatch
from pointseg.data.scene import PreparedScene
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.inference.predict import ScenePrediction, predict_scene
from pointseg.methods import Method
from pointseg.methods.teacher import Teacher
from pointseg.models.segmentor import Segmentor
from pointseg.training.alarm import CollapseAlarm
from pointseg.training.batches import as_batch, batches, describe_batch, training_data
from pointseg.training.checkpoint import load_checkpoint, newest_undamaged, save_checkpoint, save_weights
from pointseg.training.config import TrainConfig
from pointseg.training.determinism import seed_step
from pointseg.training.lock import locked
from pointseg.training.pictures import PredictionPictures
from pointseg.training.recipe import to_dict
from pointseg.training.report import write_report
from pointseg.training.run import Run
from pointseg.training.step import build, build_average, build_scaler, training_step
from pointseg.training.tracking import Tracker, named_scalars
from pointseg.training.waiting import DataClock

LOG_EVERY = 10
"""Steps between recorded training scalars."""

HISTOGRAM_EVERY = 100
"""Steps between recorded histograms."""

logger = logging.getLogger(__name__)

OnStep = Callable[[int, dict[str, float]], None]
"""Called after each step with the steps done and the newest scalars (training and evaluation)."""


def train(run: Run, *, device: torch.device, workers: int = 1, on_step: OnStep = lambda done, scalars: None) -> float:
    """Train a run to its end, from its newest undamaged checkpoint if it has one.

    Weights after the last step do not depend on whether, where or how often the run was interrupted, nor on
    ``workers``: data, schedule, augmentation and torch's random numbers are functions of the seed and the step.

    Args:
        run: the run folder; everything is written there. No other process may train it meanwhile.
        device: where to train.
        workers: processes that load data; 0 = load in this one.
        on_step: told of every step, for a progress bar.

    Returns:
        The share of the time of its steps, 0 to 1, that this process waited for data.

    Raises:
        InputError: the data of the recipe is missing or unfit, every checkpoint is damaged, another process trains the
            run, or the loss stops being finite.
    """
    with locked(run.path):
        return _train(run, device, workers, on_step)


def _train(run: Run, device: torch.device, workers: int, on_step: OnStep) -> float:
    config = run.config
    model, method, optimizer = build(run, device)
    scaler, average = build_scaler(config, device), build_average(config, model)
    done, best = _restore(run, model, method, optimizer, scaler, average)
    dataset, eval_scenes = training_data(run, two_views=method.needs_strong_view), run.scored_scenes()
    tracker, clock, pictures = Tracker(run.path, done), DataClock(), PredictionPictures(run.classes)
    if done == 0:
        tracker.describe(to_dict(config), "eval/miou" if eval_scenes else "train/loss")
    alarm = _alarm(method, tracker, config)
    evaluated: dict[str, float] = {}
    scalars: dict[str, float] = {}
    drawn: dict[str, Image.Image] = {}
    model.train()
    for parts in clock.waiting(_by_step(batches(run, dataset, start=done, workers=workers), config.accumulate)):
        recorded = (done + 1) % LOG_EVERY == 0 or done + 1 == config.steps
        with clock.working():
            seed_step(config.seed, done)
            rows = [as_batch(part.to(device), step=done, steps=config.steps, monitor=recorded) for part in parts]
            describe = functools.partial(describe_batch, run, dataset, done)
            terms = training_step(model, method, optimizer, rows, config, scaler=scaler, describe=describe)
            if average is not None:
                average.update(model)
            newest = named_scalars({"loss": terms.total, **terms.log}, run.classes.names)
        done += 1
        last = done == config.steps
        scalars |= newest
        if recorded:
            _record_training(tracker, alarm, done, newest | {"lr": optimizer.param_groups[0]["lr"]})
            tracker.record("time", done, {"data_wait": clock.share})
        if done % HISTOGRAM_EVERY == 0 or last:
            tracker.histograms(done, method.histograms())
        if eval_scenes and (done % config.eval_every == 0 or last):
            scored = _scored(method, model, average)
            evaluation = evaluate_network(run, scored, eval_scenes, device, pictures.look)
            evaluated = evaluation.summary()
            _record_evaluation(tracker, evaluation, done)
            drawn = pictures.draw()
            tracker.pictures(done, drawn)
            if not best or evaluated["miou"] > best["miou"]:
                best = {"step": done, **evaluated}
                save_weights(run.checkpoints / "best", scored.net, best)
        if last:
            write_report(run.path, config, run.classes.names, tracker.lines(), drawn)
            # Last of all: a run with final weights is finished.
            save_weights(run.checkpoints / "final", _scored(method, model, average).net, {"step": done, **evaluated})
        if done % config.checkpoint_every == 0 and not last:
            save_checkpoint(
                run.checkpoints,
                step=done,
                model=model.net,
                method=method,
                optimizer=optimizer,
                state={"best": best, "scaler": scaler.state_dict()},
                average=average,
            )
        on_step(done, scalars | {f"eval_{name}": value for name, value in evaluated.items()})
    tracker.close()
    return clock.share


def _by_step(parts: Iterator[ViewBatch], accumulate: int) -> Iterator[tuple[ViewBatch, ...]]:
    return zip(*[parts] * accumulate, strict=True)


def _scored(method: Method, model: Segmentor, average: Teacher | None) -> Segmentor:
    """The network that is scored and saved: the average stands in for the student, never for a method's own choice."""
    chosen = method.evaluated(model)
    return cast(Segmentor, average.model if average is not None and chosen is model else chosen)


def evaluate_network(
    run: Run,
    model: nn.Module,
    scenes: Iterable[PreparedScene],
    device: torch.device,
    look: Callable[[PreparedScene, ScenePrediction], None] = lambda scene, prediction: None,
) -> Evaluation:
    """Score a network on scenes with the input settings of a run, apart from the points it was trained on.

    Args:
        run, model, scenes, device: the run, the network, what is scored, and where.
        look: shown each scene with its prediction.
    """
    predict = predictor(run, model, device)

    def shown(scene: PreparedScene) -> ScenePrediction:
        prediction = predict(scene)
        look(scene, prediction)
        return prediction

    return evaluate_scenes(scenes, shown, run.classes.names, run.annotated_points)


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
    run: Run,
    model: Segmentor,
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Teacher | None,
) -> tuple[int, dict[str, Any]]:
    """Take up the newest undamaged checkpoint, if there is one: the steps done, and the best evaluation so far."""
    latest = newest_undamaged(run.checkpoints)
    if latest is None:
        return 0, {}
    state = load_checkpoint(latest, model=model.net, method=method, optimizer=optimizer, average=average)
    scaler.load_state_dict(state["scaler"])
    # A kill while the best weights were being replaced can leave none; the steps since the checkpoint make them again.
    kept = (run.checkpoints / "best" / "state.json").is_file()
    return int(state["step"]), dict(state["best"]) if kept else {}


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
