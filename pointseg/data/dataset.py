"""From prepared scenes to training samples: augment, voxelise, crop, attach the sparse labels.

Every sample is a pure function of (scene, seed), so a run can stop and resume anywhere, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pointseg.data.classes import IGNORED
from pointseg.data.scene import PreparedScene
from pointseg.data.sparse_labels import SparseLabels
from pointseg.data.transforms import AugmentConfig, augment
from pointseg.data.voxel import VoxelGrid, voxel_labels, voxelize
from pointseg.errors import InputError

FEATURES: dict[str, int] = {"ones": 1, "color": 3, "height": 1}
"""Input features and their channels: a constant, rgb in [-1, 1], metres above the lowest point of the scene."""


@dataclass(frozen=True)
class Sample:
    """One voxelised cloud, V rows.

    Attributes:
        coord: (V, 3) int32 voxel coordinates.
        features: (V, C) float32.
        labels: (V,) int64, annotated class or -1.
        truth: (V,) int64, majority class of the voxel or -1, all -1 without ground truth; hidden from losses.
        position: (V, 3) float32 metres, of the representative points.
        point: (V,) int64 raw index of the representative points.
    """

    coord: Tensor
    features: Tensor
    labels: Tensor
    truth: Tensor
    position: Tensor
    point: Tensor


def feature_channels(features: Sequence[str]) -> int:
    """Number of input channels of a list of feature names; an unknown name is refused."""
    for name in features:
        if name not in FEATURES:
            raise InputError(f"data.features contains {name!r}; allowed are {', '.join(FEATURES)}")
    return sum(FEATURES[name] for name in features)


def voxel_features(position: np.ndarray, color: np.ndarray | None, floor: float, features: Sequence[str]) -> np.ndarray:
    """The network's input, (V, C) float32, channels in the order of ``features``.

    Args:
        position: (V, 3) metres.
        color: (V, 3) mean colour, 0..255; None if the scene has none.
        floor: z of the scene's lowest point, metres.
        features: names out of ``FEATURES``.

    Raises:
        InputError: ``features`` asks for colour, and there is none.
    """
    columns = {
        "ones": np.ones((len(position), 1), np.float32),
        "height": (position[:, 2:3] - floor).astype(np.float32),
    }
    if color is not None:
        columns["color"] = color.astype(np.float32) / 127.5 - 1
    elif "color" in features:
        raise InputError(
            "data.features contains 'color', but the scene has no colour; take it out and train again, for example "
            "with [ones, height]"
        )
    return np.concatenate([columns[name] for name in features], axis=1)


def nearest_rows(position: np.ndarray, centre: np.ndarray, budget: int) -> np.ndarray:
    """Indices, in row order, of the ``budget`` rows horizontally nearest to ``centre`` (2,)."""
    distance = ((position[:, :2] - centre) ** 2).sum(1)
    return np.sort(np.argpartition(distance, budget - 1)[:budget])


class SceneDataset(torch.utils.data.Dataset[Sample]):
    """Training samples of prepared scenes, indexed by ``(scene number, seed)``.

    Args:
        scenes: prepared scenes; without ground truth they need ``sparse``.
        sparse: the draw whose labels are used; None = every point of the ground truth is annotated.
        voxel_size: metres.
        features: names out of ``FEATURES``.
        max_voxels: a sample above this many voxels is cropped to those horizontally nearest to a random annotated
            voxel, so a crop always holds an annotation.
        augmentation: what to do to the raw cloud first; None = nothing.
    """

    def __init__(
        self,
        scenes: Sequence[PreparedScene],
        sparse: SparseLabels | None,
        *,
        voxel_size: float,
        features: Sequence[str],
        max_voxels: int,
        augmentation: AugmentConfig | None,
    ) -> None:
        feature_channels(features)
        self.scenes = list(scenes)
        self.annotations = [_annotation(scene, sparse) for scene in self.scenes]
        self.voxel_size = voxel_size
        self.features = tuple(features)
        self.max_voxels = max_voxels
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Sample:
        number, seed = key
        scene = self.scenes[number]
        rng = np.random.default_rng(seed)
        coord, color, segment = np.asarray(scene.coord), scene.color, scene.segment
        if self.augmentation is not None:
            coord, color = augment(coord, color, self.augmentation, rng)
        grid = voxelize(coord, self.voxel_size, color=color, segment=segment)
        annotation = self.annotations[number]
        labels = grid.segment if annotation is None else voxel_labels(*annotation, grid)
        sample = _as_sample(grid, coord[grid.point], labels, float(coord[:, 2].min()), self.features)
        return self._crop(sample, rng)

    def _crop(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if len(sample.coord) <= self.max_voxels:
            return sample
        annotated = (sample.labels >= 0).nonzero()[:, 0]
        candidates = annotated if len(annotated) else torch.arange(len(sample.coord))
        centre = sample.position[candidates[rng.integers(len(candidates))], :2].numpy()
        keep = torch.from_numpy(nearest_rows(sample.position.numpy(), centre, self.max_voxels))
        return Sample(**{name: tensor[keep] for name, tensor in vars(sample).items()})


def _annotation(scene: PreparedScene, sparse: SparseLabels | None) -> tuple[np.ndarray, np.ndarray] | None:
    if sparse is not None:
        return sparse.for_scene(scene)
    if scene.segment is None:
        raise InputError(
            f"scene {scene.split}/{scene.name} has no ground truth; annotate some of its points ('pointseg label') and "
            "train on those"
        )
    return None


def _as_sample(
    grid: VoxelGrid, position: np.ndarray, labels: np.ndarray | None, floor: float, features: Sequence[str]
) -> Sample:
    assert labels is not None
    truth = np.full(len(grid.coord), IGNORED) if grid.segment is None else grid.segment
    return Sample(
        coord=torch.from_numpy(grid.coord),
        features=torch.from_numpy(voxel_features(position, grid.color, floor, features)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        truth=torch.from_numpy(truth.astype(np.int64)),
        position=torch.from_numpy(position.astype(np.float32)),
        point=torch.from_numpy(grid.point.astype(np.int64)),
    )
