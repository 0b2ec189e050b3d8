"""What each step is given: samples of the run's scenes, stacked, and as the flat rows that methods see."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.data.collate import StepSampler, ViewBatch, VoxelBatch, collate_views
from pointseg.data.dataset import Sample, SamplePair, SceneDataset
from pointseg.errors import InputError
from pointseg.methods import Batch, View
from pointseg.training.processes import own_share
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


def batches(run: Run, dataset: SceneDataset, *, start: int, workers: int, pinned: bool = False) -> Iterator[ViewBatch]:
    """This process's share of the batches of the steps from ``start`` on, ``accumulate`` a step.

    Args:
        run, dataset: the run and its training data.
        start: first step, 0-based.
        workers: processes that load them; 0 = this one.
        pinned: in memory that a GPU copies from while this process goes on.

    Raises:
        InputError: a scene is damaged.
        OSError: a file of a scene cannot be read.
    """
    config = run.config
    sampler = _PartSampler(run, len(dataset), start, config.steps)
    stack = functools.partial(_stacked, mixed=config.strong.cutmix, voxel_size=config.data.voxel_size)
    loader = torch.utils.data.DataLoader(
        _Keys(),
        batch_sampler=sampler,
        collate_fn=functools.partial(_loaded, dataset, stack),
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        pin_memory=pinned,
    )
    for batch in loader:
        if isinstance(batch, _Failed):
            raise batch.error
        yield batch


@contextmanager
def lost_loaders_told() -> Iterator[None]:
    """Turn the death of a loading process into one sentence; torch tells of it wherever the training just is.

    Raises:
        InputError: a loading process has died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise InputError(
            "a process that loads data was killed, as happens when memory runs out; see what else needs memory here, "
            "then continue with the same command, --resume and fewer --workers (0: none)"
        ) from error


Key = tuple[int, tuple[int, int, int]]


class _Keys(torch.utils.data.Dataset[Key]):
    """Hands the keys of samples on, for ``_loaded`` to load them."""

    def __getitem__(self, key: Key) -> Key:
        return key


@dataclass(frozen=True)
class _Failed:
    """What went wrong instead of a batch: an error that a loading process raises arrives as the text of a traceback."""

    error: Exception


def _loaded(
    dataset: SceneDataset, stack: Callable[[Sequence[Sample | SamplePair]], _LoadedBatch], keys: Sequence[Key]
) -> _LoadedBatch | _Failed:
    try:
        return stack([dataset[key] for key in keys])
    except (InputError, OSError, MemoryError) as error:
        return _Failed(error)


@dataclass(frozen=True)
class _LoadedBatch(ViewBatch):
    """A batch that the loader can pin: it does so by this method alone."""

    def pin_memory(self) -> _LoadedBatch:
        strong = None if self.strong is None else _pinned(self.strong)
        return _LoadedBatch(_pinned(self.weak), strong, None if self.weak_row is None else self.weak_row.pin_memory())


def _pinned(batch: VoxelBatch) -> VoxelBatch:
    tensors: dict[str, Tensor] = vars(batch)
    return VoxelBatch(**{name: tensor.pin_memory() for name, tensor in tensors.items()})


def _stacked(items: Sequence[Sample | SamplePair], *, mixed: float, voxel_size: float) -> _LoadedBatch:
    return _LoadedBatch(**vars(collate_views(items, mixed=mixed, voxel_size=voxel_size)))


def describe_batch(run: Run, dataset: SceneDataset, step: int, number: int) -> str:
    """This process's samples of a batch in words: the scene and the seed of each.

    Args:
        run, dataset: as ``batches`` takes them.
        step: 0-based.
        number: of the batch within its step, 0-based.
    """
    keys = list(_PartSampler(run, len(dataset), step, step + 1))[number]
    named = [(dataset.scenes[scene], seed) for scene, seed in keys]
    return ", ".join(f"{scene.split}/{scene.name} (sample {seed})" for scene, seed in named)


class _PartSampler(torch.utils.data.Sampler[list[Key]]):
    """The samples of each step, those that one large batch would hold, in ``accumulate`` batches one after another.

    Of each batch a process gets its own share. What a batch holds is a function of seed and step, whoever shares it.
    """

    def __init__(self, run: Run, num_scenes: int, start: int, stop: int) -> None:
        config = run.config
        self.size, self.parts, self.share = config.batch_size, config.accumulate, own_share(config.batch_size)
        self.steps = StepSampler(
            num_scenes, batch_size=self.size * self.parts, seed=config.seed, start=start, stop=stop
        )

    def __len__(self) -> int:
        return len(self.steps) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        for keys in self.steps:
            for part in range(self.parts):
                yield keys[part * self.size : (part + 1) * self.size][self.share]


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
