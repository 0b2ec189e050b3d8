"""The training loop: one plain function, readable from top to bottom."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn

from pointseg.data.collate import StepSampler, VoxelBatch, collate
from pointseg.data.dataset import SceneDataset
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.inference.predict import predict_scene
from pointseg.methods import METHODS, Batch, LossTerms, Method, View
from pointseg.models.segmentor import Segmentor
from pointseg.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
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
    torch.manual_seed(config.seed)
    model = run.build_model().to(device)
    method = METHODS[config.method_name](
        config.method_config(), num_classes=run.classes.num_classes, feature_dim=model.feature_dim
    ).to(device)
    parameters = [*model.parameters(), *method.parameters()]
    optimizer = build_optimizer(parameters, config.optimizer)
    done, best = _restore(run, model, method, optimizer)
    dataset, eval_scenes = _training_data(run), run.scenes()
    bf16 = config.precision == "bf16"
    tracker = Tracker(run.path, done)
    scalars: dict[str, float] = {}
    model.train()
    for batch in _batches(run, dataset, done, workers):
        rate = learning_rate(done, config.steps, config.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            terms = method.loss(model, as_batch(batch.to(device)))
        _require_finite(terms, done)
        optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        if config.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm)
        optimizer.step()
        method.after_step(model)
        done += 1
        last = done == config.steps
        if done % LOG_EVERY == 0 or last:
            scalars |= {"loss": float(terms.total.detach()), **{k: float(v) for k, v in terms.log.items()}, "lr": rate}
            tracker.record("train", done, {k: v for k, v in scalars.items() if not k.startswith("eval_")})
        if done % config.eval_every == 0 or last:
            evaluated = cast(Segmentor, method.evaluated(model))
            evaluation = evaluate_network(run, evaluated, eval_scenes, device)
            scalars |= {f"eval_{name}": value for name, value in evaluation.summary().items()}
            _record_evaluation(tracker, evaluation, done)
            if not best or evaluation.points.miou > best["miou"]:
                best = {"step": done, **evaluation.summary()}
                save_weights(run.checkpoints / "best", evaluated.net, best)
        if done % config.checkpoint_every == 0 or last:
            state = {"best": best}
            save_checkpoint(
                run.checkpoints, step=done, model=model.net, method=method, optimizer=optimizer, state=state
            )
        if last:
            save_weights(run.checkpoints / "final", evaluated.net, {"step": done, **evaluation.summary()})
        on_step(done, scalars)
    tracker.close()


def as_batch(batch: VoxelBatch) -> Batch:
    """A voxel batch as the flat rows that methods see."""
    view = View(
        inputs=batch,
        labels=batch.labels,
        batch_index=batch.coord[:, 0].long(),
        coord=batch.position,
        row_id=batch.point,
        truth=batch.truth,
    )
    return Batch(weak=view)


def evaluate_network(run: Run, model: nn.Module, scenes: Iterable[PreparedScene], device: torch.device) -> Evaluation:
    """Score a network on scenes with the input settings of a run."""
    config = run.config
    predict = functools.partial(
        predict_scene,
        model,
        voxel_size=config.data.voxel_size,
        features=config.data.features,
        device=device,
        bf16=config.precision == "bf16",
    )
    return evaluate_scenes(scenes, predict, run.classes.names)


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
    return iter(torch.utils.data.DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers))


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
            f"the loss of step {done} is not finite ({parts}); lower optimizer.lr or set precision to fp32, "
            "and continue from the last checkpoint with --resume"
        )


def _record_evaluation(tracker: Tracker, evaluation: Evaluation, done: int) -> None:
    per_class = zip(evaluation.classes, evaluation.points.iou, strict=True)
    iou = {f"iou_{name}": float(value) for name, value in per_class if not math.isnan(value)}
    tracker.record("eval", done, evaluation.summary() | iou)
