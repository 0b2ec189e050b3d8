"""The training loop: one plain function, readable from top to bottom."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import nn

from pointseg.atomic import remove_unfinished
from pointseg.data.collate import ViewBatch
from pointseg.data.scene import PreparedScene
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.inference.predict import ScenePrediction, predict_scene
from pointseg.methods import Method
from pointseg.methods.distributed import world_size
from pointseg.methods.teacher import Teacher
from pointseg.models.segmentor import Segmentor
from pointseg.training.averaging import average_log, replicate
from pointseg.training.batches import as_batch, batches, describe_batch, lost_loaders_told, training_data
from pointseg.training.checkpoint import known_damage, load_checkpoint, newest_undamaged, save_checkpoint
from pointseg.training.config import TrainConfig
from pointseg.training.dealing import evaluate_dealt
from pointseg.training.determinism import seed_step
from pointseg.training.lock import locked
from pointseg.training.notes import Notes, RunNotes
from pointseg.training.processes import every_text, first_does, is_first, require_shareable
from pointseg.training.run import Run
from pointseg.training.step import build, build_average, build_scaler, compiling, training_step
from pointseg.training.tracking import named_scalars, writers_fail_once
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

    Several processes (``pointseg.training.processes.joined``) each call this and share every batch; together they do
    what one does, and the first of them alone writes.

    Args:
        run: the run folder; everything is written there. No other job may train it meanwhile.
        device: where to train.
        workers: processes that load data, of each process that trains; 0 = load in this one.
        on_step: told of every step, for a progress bar.

    Returns:
        The share of the time of its steps, 0 to 1, that this process waited for data.

    Raises:
        InputError: the data of the recipe is missing or unfit, every checkpoint is damaged, another job trains the
            run, the loss stops being finite, or a process that loads data or another process of the job is lost.
    """
    require_shareable(run.config.batch_size, run.config.compile)
    with ExitStack() as held:
        first_does(lambda: held.enter_context(locked(run.path)))
        held.enter_context(lost_loaders_told())
        held.enter_context(writers_fail_once())
        held.enter_context(compiling(run.config, device))
        first_does(lambda: _remove_leftovers(run))
        return _train(run, device, workers, on_step)


def _remove_leftovers(run: Run) -> None:
    """Remove what a killed training, or evaluation, had only half written."""
    for name in ("classes", "config", "data", "metrics", "report"):
        remove_unfinished(run.path, name)
    for folder in (run.checkpoints, run.path / "evaluation"):
        remove_unfinished(folder)


def _train(run: Run, device: torch.device, workers: int, on_step: OnStep) -> float:
    config = run.config
    model, method, optimizer = build(run, device)
    scaler, average = build_scaler(config, device), build_average(config, model)
    done, best = _restore(run, model, method, optimizer, scaler, average)
    dataset, eval_scenes = training_data(run, two_views=method.needs_strong_view), run.scored_scenes()
    _warn_of_lost_mixing(config, method)
    notes = RunNotes(run, method, done, best, scored=bool(eval_scenes)) if is_first() else Notes(best)
    clock, shown = DataClock(), dict[str, float]()
    loaded = batches(run, dataset, start=done, workers=workers, pinned=device.type == "cuda")
    model.train()
    for parts in clock.waiting(_by_step(loaded, config.accumulate)):
        recorded = (done + 1) % LOG_EVERY == 0 or done + 1 == config.steps
        with clock.working():
            seed_step(config.seed, done)
            rows = [as_batch(part.to(device), step=done, steps=config.steps, monitor=recorded) for part in parts]
            describe = functools.partial(describe_batch, run, dataset, done)
            terms = training_step(model, method, optimizer, rows, config, scaler=scaler, describe=describe)
            if average is not None:
                average.update(model)
            newest = named_scalars(average_log({"loss": terms.total, **terms.log}), run.classes.names)
        done += 1
        last = done == config.steps
        scored = _scored(method, model, average)
        if recorded:
            notes.training(done, newest | {"lr": optimizer.param_groups[0]["lr"]}, clock.share)
        if done % HISTOGRAM_EVERY == 0 or last:
            notes.histograms(done, method)
        notes.pseudo_labels(done, method, model)
        if eval_scenes and (done % config.eval_every == 0 or last):
            notes.evaluation(done, evaluate_network(run, scored, eval_scenes, device, notes.look), scored.net)
        if last:
            first_does(functools.partial(notes.finished, done, method, model, scored.net))
        elif done % config.checkpoint_every == 0 and is_first():
            state = {"best": notes.best, "scaler": scaler.state_dict()}
            trained: dict[str, Any] = {"model": model.net, "method": method, "optimizer": optimizer, "average": average}
            apart = None if scored is model else scored.net
            save_checkpoint(run.checkpoints, step=done, state=state, scored=apart, **trained)
        shown |= newest | {f"eval_{name}": value for name, value in notes.scores.items()}
        on_step(done, dict(shown))
    return clock.share


def _by_step(parts: Iterator[ViewBatch], accumulate: int) -> Iterator[tuple[ViewBatch, ...]]:
    return zip(*[parts] * accumulate, strict=True)


def _scored(method: Method, model: Segmentor, average: Teacher | None) -> Segmentor:
    """The network that is scored and saved: the average stands in for the student, never for a method's own choice."""
    chosen = method.evaluated(model)
    return cast(Segmentor, average.model if average is not None and chosen is model else chosen)


def _warn_of_lost_mixing(config: TrainConfig, method: Method) -> None:
    each = config.batch_size // world_size()
    if is_first() and each == 1 and config.strong.cutmix and method.needs_strong_view:
        logger.warning(
            "strong.cutmix mixes the samples that one process has of a batch, and with batch_size %d %s has a single "
            "one: nothing is mixed there; batch_size %d gives two to each, strong.cutmix=0 goes without",
            config.batch_size,
            "it" if world_size() == 1 else "some process",
            2 * world_size(),
        )


def _restore(
    run: Run,
    model: Segmentor,
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Teacher | None,
) -> tuple[int, dict[str, Any]]:
    """Take up the newest undamaged checkpoint, if there is one: the steps done, and the best evaluation so far.

    The first process chooses it, and all are alike afterwards.
    """
    latest = first_does(lambda: newest_undamaged(run.checkpoints))
    name = every_text("" if latest is None else latest.name)[0]
    state: dict[str, Any] = {"step": 0, "best": {}}
    if name:
        path = run.checkpoints / name
        state = load_checkpoint(path, model=model.net, method=method, optimizer=optimizer, average=average)
        scaler.load_state_dict(state["scaler"])
    replicate([model, method] if average is None else [model, method, average])
    # A kill while the best weights were being replaced can leave none; the steps since the checkpoint make them again.
    best = run.checkpoints / "best"
    kept = (best / "state.json").is_file()
    if kept and known_damage(best) is not None:
        kept = False
        if is_first():
            logger.warning("the best weights, %s, are damaged; the best is chosen anew from the steps to come", best)
    return int(state["step"]), dict(state["best"]) if kept else {}


def evaluate_network(
    run: Run,
    model: nn.Module,
    scenes: Sequence[PreparedScene],
    device: torch.device,
    look: Callable[[PreparedScene, ScenePrediction], None] = lambda scene, prediction: None,
) -> Evaluation:
    """Score a network on scenes with the input settings of a run, apart from the points it was trained on.

    Several processes share the scenes; each returns what all of them counted.

    Args:
        run, model, scenes, device: the run, the network, what is scored, and where.
        look: shown each scene that this process scores, with its prediction.
    """
    predict = predictor(run, model, device)

    def shown(scene: PreparedScene) -> ScenePrediction:
        prediction = predict(scene)
        look(scene, prediction)
        return prediction

    def evaluate(dealt: Sequence[PreparedScene]) -> Evaluation:
        return evaluate_scenes(dealt, shown, run.classes.names, run.annotated_points)

    return evaluate_dealt(scenes, run.classes.names, evaluate)


def predictor(run: Run, model: nn.Module, device: torch.device) -> Callable[[PreparedScene], ScenePrediction]:
    """``predict_scene`` with the input settings of a run filled in."""
    data = run.config.data
    return functools.partial(
        predict_scene,
        model,
        voxel_size=data.voxel_size,
        features=data.features,
        device=device,
        precision=run.config.precision,
    )
