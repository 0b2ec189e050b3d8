"""What a method takes one training scene for, kept from time to time while it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pointseg.atomic import remove_unfinished
from pointseg.data.collate import collate_views
from pointseg.data.dataset import Sample, SceneDataset
from pointseg.methods import FeatureSpace, Method, View
from pointseg.models.segmentor import Segmentor
from pointseg.training.batches import as_batch
from pointseg.training.run import Run
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.ply import read_ply, write_ply

FOLDER = "pseudo_labels"

SHARES = (0.01, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)
"""Of a training, after which the pseudo-labels are kept."""


def snapshot_steps(steps: int) -> tuple[int, ...]:
    """The steps after which pseudo-labels are kept, rising."""
    return tuple(sorted({max(1, round(steps * share)) for share in SHARES}))


@dataclass(frozen=True)
class PseudoLabelRecord:
    """The first training scene as the network sees it, without augmentation, cropped as in training if it is large.

    Attributes:
        run: whose scene it is; snapshots go into its folder ``pseudo_labels``.
        name: of the scene.
        sample: V voxels.
        cloud: their representative points, with truth and annotations.
    """

    run: Run
    name: str
    sample: Sample
    cloud: Cloud

    @classmethod
    def of(cls, run: Run) -> PseudoLabelRecord:
        """The record of a run's first training scene."""
        scene, data = run.training_scenes()[0], run.config.data
        dataset = SceneDataset(
            [scene],
            run.sparse_labels(),
            voxel_size=data.voxel_size,
            features=data.features,
            max_voxels=data.max_voxels,
            augmentation=None,
        )
        sample = dataset[0, (run.config.seed,)]
        assert isinstance(sample, Sample)
        # As in prediction, where the grid begins at the lowest voxel of the whole scene, not of what is left of it.
        lowest = np.floor(np.asarray(scene.coord).min(axis=0).astype(np.float64) / data.voxel_size)
        sample = replace(sample, coord=sample.coord - torch.from_numpy(lowest.astype(np.int32)))
        point, offset = sample.point.numpy(), scene.offset.tolist()
        cloud = Cloud(
            coord=np.asarray(scene.coord)[point],
            color=None if scene.color is None else np.asarray(scene.color)[point],
            gt=sample.truth.numpy(),
            annotated=sample.labels.numpy(),
            name=f"{scene.split}/{scene.name}",
            offset=(offset[0], offset[1], offset[2]),
        )
        return cls(run, cloud.name, sample, cloud)

    def look(self, done: int, method: Method, model: Segmentor) -> Cloud | None:
        """Keep the method's pseudo-labels after ``done`` steps as a PLY file; None if it makes none."""
        view = self._view(model)
        p = method.pseudo_labels(model, view)
        if p is None:
            return None
        pseudo = torch.where(method.uses(p, view), p.argmax(1), -1).cpu().numpy()
        entropy = torch.special.entr(p).sum(1).cpu().numpy()
        cloud = replace(self.cloud, pseudo=pseudo, entropy=entropy, name=f"{self.name}, step {done}")
        path = self._file(done)
        path.parent.mkdir(exist_ok=True)
        remove_unfinished(path.parent)
        write_ply(path, cloud, self.run.classes)
        return cloud

    def snapshots(self) -> list[tuple[int, Cloud]]:
        """Everything kept so far, by step."""
        there = [(done, self._file(done)) for done in snapshot_steps(self.run.config.steps)]
        return [(done, replace(read_ply(path), name=self.name)) for done, path in there if path.is_file()]

    def feature_space(self, method: Method, model: Segmentor) -> FeatureSpace:
        """Where the voxels lie for the method."""
        return method.feature_space(model, self._view(model))

    def _view(self, model: Segmentor) -> View:
        device = next(model.parameters()).device
        stacked = collate_views([self.sample], mixed=0.0, voxel_size=self.run.config.data.voxel_size).to(device)
        return as_batch(stacked, step=0, steps=1, monitor=False).weak

    def _file(self, done: int) -> Path:
        return self.run.path / FOLDER / f"step_{done:06d}.ply"
