"""Samples to batches, and which samples make up each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pointseg.data.dataset import Sample, SamplePair
from pointseg.data.mixing import cutmix


@dataclass(frozen=True)
class VoxelBatch:
    """B samples stacked into V rows.

    Attributes:
        coord: (V, 4) int32, batch index first: the coordinates of a sparse tensor.
        features: (V, C) float32.
        labels, truth, point: (V,) int64, as in ``Sample``. Where samples were mixed, ``point`` is the raw index in the
            scene a row came from, while the batch index is that of the sample it is in now.
        position: (V, 3) float32 metres.
    """

    coord: Tensor
    features: Tensor
    labels: Tensor
    truth: Tensor
    position: Tensor
    point: Tensor

    def to(self, device: torch.device) -> VoxelBatch:
        """The same batch on a device."""
        return VoxelBatch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


def collate(samples: Sequence[Sample]) -> VoxelBatch:
    """Stack samples; the batch index becomes the first column of ``coord``."""
    index = torch.cat([torch.full((len(s.coord), 1), i, dtype=torch.int32) for i, s in enumerate(samples)])
    stacked = {name: torch.cat([getattr(s, name) for s in samples]) for name in vars(samples[0])}
    stacked["coord"] = torch.cat([index, stacked["coord"]], dim=1)
    return VoxelBatch(**stacked)


@dataclass(frozen=True)
class ViewBatch:
    """One step's samples in the weak view, and in the strong view where they were made as pairs.

    Attributes:
        weak: the samples.
        strong: the same samples changed further, perhaps mixed with one another; None = one view.
        weak_row: (V of ``strong``,) int64 row of ``weak`` that holds the representative point of a strong row, -1 if
            none does; None = one view.
    """

    weak: VoxelBatch
    strong: VoxelBatch | None = None
    weak_row: Tensor | None = None

    def to(self, device: torch.device) -> ViewBatch:
        """The same batch on a device."""
        if self.strong is None or self.weak_row is None:
            return ViewBatch(self.weak.to(device))
        return ViewBatch(self.weak.to(device), self.strong.to(device), self.weak_row.to(device, non_blocking=True))


def collate_views(items: Sequence[Sample | SamplePair], *, mixed: float, voxel_size: float) -> ViewBatch:
    """Stack samples of one view, or pairs of two, whose strong views are mixed first.

    Args:
        items: of a ``SceneDataset``.
        mixed: probability that a strong sample gets a box of the next one; see ``pointseg.data.mixing``.
        voxel_size: metres.
    """
    pairs = [item for item in items if isinstance(item, SamplePair)]
    if not pairs:
        return ViewBatch(collate([item for item in items if isinstance(item, Sample)]))
    strong, weak_row = cutmix(pairs, probability=mixed, voxel_size=voxel_size)
    return ViewBatch(collate([pair.weak for pair in pairs]), collate(strong), torch.cat(weak_row))


class StepSampler(torch.utils.data.Sampler[list[tuple[int, tuple[int, int, int]]]]):
    """The keys of each step's samples, computed from (seed, step) alone, so training can start at any step.

    Scenes are visited in epochs, each a permutation of its own; a batch may straddle two epochs.

    Args:
        num_scenes: how many scenes there are.
        batch_size: scenes a step.
        seed: of the run.
        start: first step to yield.
        stop: one past the last step.
    """

    def __init__(self, num_scenes: int, *, batch_size: int, seed: int, start: int, stop: int) -> None:
        self.num_scenes, self.batch_size, self.seed, self.start, self.stop = num_scenes, batch_size, seed, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int, int]]]]:
        for step in range(self.start, self.stop):
            yield [(self._scene(step * self.batch_size + i), (self.seed, step, i)) for i in range(self.batch_size)]

    def _scene(self, visit: int) -> int:
        epoch, position = divmod(visit, self.num_scenes)
        return int(np.random.default_rng((self.seed, epoch, 0, 1)).permutation(self.num_scenes)[position])
