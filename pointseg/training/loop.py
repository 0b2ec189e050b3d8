"""The training loop: one plain function, readable from top to bottom."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn

from pointseg.data.collate import StepSampler, VoxelBatch, collate
from pointseg.data.dataset import SceneDataset
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.inference.predict import ScenePrediction, predict_scene
from pointseg.methods import METHODS, Batch, LossTerms, Method, View
from pointseg.models.segmentor import Segmentor
from pointseg.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from pointseg.training.config import TrainConfig
from pointseg.training.run import Run
from pointseg.training.schedule import build_optimizer, learning_rate
from pointseg.training.tracking import Tracker

LOG_EVERY = 10
"""Steps between recorded training scalars."""

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
    model, method, optimizer = _build(run, device)
    done, best = _restore(run, model, method, optimizer)
    dataset, eval_scenes = _training_data(run), run.scored_scenes()
    tracker = Tracker(run.path, done)
    evaluated: dict[str, float] = {}
    scalars: dict[str, float] = {}
    model.train()
    for batch in _batches(run, dataset, done, workers):
        recorded = (done + 1) % LOG_EVERY == 0 or done + 1 == config.steps
        rows = as_batch(batch.to(device), step=done, steps=config.steps, monitor=recorded)
        terms = training_step(model, method, optimizer, rows, config)
        done += 1
        last = done == config.steps
        scalars |= {"loss": float(terms.total.detach()), **{name: float(value) for name, value in terms.log.items()}}
        if recorded:
            tracker.record("train", done, scalars | {"lr": optimizer.param_groups[0]["lr"]})
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


def training_step(
    model: Segmentor, method: Method, optimizer: torch.optim.Optimizer, batch: Batch, config: TrainConfig
) -> LossTerms:
    """One optimiser step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(batch.step, config.steps, config.optimizer)
    with torch.autocast(batch.weak.labels.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        terms = method.loss(model, batch)
    _require_finite(terms, batch.step)
    optimizer.zero_grad(set_to_none=True)
    terms.total.backward()
    if config.optimizer.clip_norm:
        nn.utils.clip_grad_norm_(_trained(model, method), config.optimizer.clip_norm)
    optimizer.step()
    method.after_step(model)
    return terms


def as_batch(batch: VoxelBatch, *, step: int, steps: int, monitor: bool) -> Batch:
    """A voxel batch as the flat rows that methods see; ``step`` of ``steps`` steps are done."""
    view = View(
        inputs=batch,
        labels=batch.labels,
        batch_index=batch.coord[:, 0].long(),
        coord=batch.position,
        row_id=batch.point,
        truth=batch.truth,
    )
    return Batch(weak=view, step=step, steps=steps, monitor=monitor)


def evaluate_network(run: Run, model: nn.Module, scenes: Iterable[PreparedScene], device: torch.device) -> Evaluation:
    """Score a network on scenes with the input settings of a run."""
    return evaluate_scenes(scenes, predictor(run, model, device), run.classes.names)


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


def _build(run: Run, device: torch.device) -> tuple[Segmentor, Method, torch.optim.Optimizer]:
    """Network first, method second: the same seed gives every method the same initial network."""
    config = run.config
    torch.manual_seed(config.seed)
    model = run.build_model().to(device)
    method = METHODS[config.method_name](config.method_config(), run.task(model.feature_dim)).to(device)
    method.prepare(model)
    return model, method, build_optimizer(_trained(model, method), config.optimizer)


def _trained(model: nn.Module, method: Method) -> list[nn.Parameter]:
    """What the optimiser moves: a teacher's weights are not among it."""
    return [p for p in (*model.parameters(), *method.parameters()) if p.requires_grad]


def _training_data(run: Run) -> SceneDataset:
    data = run.config.data
    return SceneDataset(
        run.training_scenes(),
        run.sparse_labels(),
        voxel_size=data.voxel_size,
        features=data.features,
        max_voxels=data.max_voxels,
        augmentation=run.config.augment,
    )


def _batches(run: Run, dataset: SceneDataset, start: int, workers: int) -> Iterator[VoxelBatch]:
    config = run.config
    sampler = StepSampler(len(dataset), batch_size=config.batch_size, seed=config.seed, start=start, stop=config.steps)
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers, worker_init_fn=_quiet_worker
    )
    try:
        yield from loader
    except InputError as error:
        # A loading process sends its whole traceback as the message; its last line is the sentence.
        raise InputError(str(error).strip().splitlines()[-1].split("InputError: ")[-1]) from None


def _quiet_worker(number: int) -> None:
    """A loading process hands its errors on; all it would print itself is the noise of a connection cut by Ctrl-C."""
    sys.excepthook = lambda kind, error, trace: None


def _restore(
    run: Run, model: Segmentor, method: Method, optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    latest = run.latest_checkpoint()
    if latest is None:
        return 0, {}
    state = load_checkpoint(latest, model=model.net, method=method, optimizer=optimizer)
    return int(state["step"]), dict(state["best"])


def _require_finite(terms: LossTerms, done: int) -> None:
    if not math.isfinite(float(terms.total.detach())):
        parts = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.log.items())
        raise InputError(
            f"the loss of step {done} is not finite ({parts}); start again under another --out with a lower "
            "optimizer.lr, or with precision fp32"
        )


def _record_evaluation(tracker: Tracker, evaluation: Evaluation, done: int) -> None:
    per_class = zip(evaluation.classes, evaluation.points.iou, strict=True)
    iou = {f"iou_{name}": float(value) for name, value in per_class if not math.isnan(value)}
    tracker.record("eval", done, evaluation.summary() | iou)
