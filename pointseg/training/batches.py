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
    """The batches of the steps from ``start`` on, ``accumulate`` a step; ``workers`` processes load them (0 = this)."""
    config = run.config
    sampler = _PartSampler(run, len(dataset), start, config.steps)
    stack = functools.partial(collate_views, mixed=config.strong.cutmix, voxel_size=config.data.voxel_size)
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=sampler, collate_fn=stack, num_workers=workers, worker_init_fn=_quiet_worker
    )
    try:
        yield from loader
    except InputError as error:
        # A loading process sends its whole traceback as the message; its last line is the sentence.
        raise InputError(str(error).strip().splitlines()[-1].split("InputError: ")[-1]) from None


def describe_batch(run: Run, dataset: SceneDataset, step: int, number: int) -> str:
    """The samples of a batch in words: the scene and the seed of each.

    Args:
        run, dataset: as ``batches`` takes them.
        step: 0-based.
        number: of the batch within its step, 0-based.
    """
    keys = list(_PartSampler(run, len(dataset), step, step + 1))[number]
    named = [(dataset.scenes[scene], seed) for scene, seed in keys]
    return ", ".join(f"{scene.split}/{scene.name} (sample {seed})" for scene, seed in named)


class _PartSampler(torch.utils.data.Sampler[list[tuple[int, tuple[int, int, int]]]]):
    """The samples of each step, those that one large batch would hold, in ``accumulate`` batches one after another."""

    def __init__(self, run: Run, num_scenes: int, start: int, stop: int) -> None:
        config = run.config
        self.size, self.parts = config.batch_size, config.accumulate
        self.steps = StepSampler(
            num_scenes, batch_size=self.size * self.parts, seed=config.seed, start=start, stop=stop
        )

    def __len__(self) -> int:
        return len(self.steps) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int, int]]]]:
        for keys in self.steps:
            for part in range(self.parts):
                yield keys[part * self.size : (part + 1) * self.size]


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
