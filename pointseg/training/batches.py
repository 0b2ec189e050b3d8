"""What each step is given: samples of the run's scenes, stacked, and as the flat rows that methods see."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import torch

from pointseg.data.collate import StepSampler, ViewBatch, VoxelBatch, collate_views
from pointseg.data.dataset import SceneDataset
from pointseg.errors import InputError
from pointseg.methods import Batch, View
from pointseg.training.run import Run


def training_data(run: Run, *, two_views: bool) -> SceneDataset:
    """The samples of a run's training scenes; with ``two_views`` each comes as a weak and a strong one."""
    data = run.config.data
    return SceneDataset(
        run.training_scenes(),
        run.sparse_labels(),
        voxel_size=data.voxel_size,
        features=data.features,
        max_voxels=data.max_voxels,
        augmentation=run.config.augment,
        strong=run.config.strong if two_views else None,
    )


def batches(run: Run, dataset: SceneDataset, *, start: int, workers: int) -> Iterator[ViewBatch]:
    """The batches of the steps from ``start`` on, loaded by ``workers`` processes (0 = this one)."""
    config = run.config
    sampler = StepSampler(len(dataset), batch_size=config.batch_size, seed=config.seed, start=start, stop=config.steps)
    stack = functools.partial(collate_views, mixed=config.strong.cutmix, voxel_size=config.data.voxel_size)
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=sampler, collate_fn=stack, num_workers=workers, worker_init_fn=_quiet_worker
    )
    try:
        yield from loader
    except InputError as error:
        # A loading process sends its whole traceback as the message; its last line is the sentence.
        raise InputError(str(error).strip().splitlines()[-1].split("InputError: ")[-1]) from None


def _quiet_worker(number: int) -> None:
    """A loading process hands its errors on; all it would print itself is the noise of a connection cut by Ctrl-C."""
    sys.excepthook = lambda kind, error, trace: None


def as_batch(batch: ViewBatch, *, step: int, steps: int, monitor: bool) -> Batch:
    """A voxel batch as the flat rows that methods see; ``step`` of ``steps`` steps are done."""
    strong = None if batch.strong is None else _as_view(batch.strong)
    return Batch(_as_view(batch.weak), strong, batch.weak_row, step=step, steps=steps, monitor=monitor)


def _as_view(batch: VoxelBatch) -> View:
    return View(
        inputs=batch,
        labels=batch.labels,
        batch_index=batch.coord[:, 0].long(),
        coord=batch.position,
        row_id=batch.point,
        truth=batch.truth,
    )
