"""Samples to batches, and which samples make up each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pointseg.data.dataset import Sample


@dataclass(frozen=True)
class VoxelBatch:
    """B samples stacked into V rows.

    Attributes:
        coord: (V, 4) int32, batch index first: the coordinates of a sparse tensor.
        features: (V, C) float32.
        labels, truth, point: (V,) int64, as in ``Sample``.
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
