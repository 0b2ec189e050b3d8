"""From prepared scenes to training samples: augment, mix, voxelise, crop, attach the sparse labels.

Every sample is a pure function of (scene, seed), so a run can stop and resume anywhere, with any number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pointseg.data.classes import IGNORED
from pointseg.data.cloud_mixing import boxes_swapped_in, overlaid
from pointseg.data.scene import PreparedScene
from pointseg.data.sparse_labels import SparseLabels
from pointseg.data.strong import StrongConfig, strengthen
from pointseg.data.training_cloud import TrainingCloud
from pointseg.data.transforms import AugmentConfig, augment, random_origin
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
        position: (V, 3) float32 metres, of the representative points; floor(position / voxel size) is ``coord``.
        point: (V,) int64 raw index of the representative points, in the scene they came from.
    """

    coord: Tensor
    features: Tensor
    labels: Tensor
    truth: Tensor
    position: Tensor
    point: Tensor

    def rows(self, index: Tensor) -> Sample:
        """Some of the rows, by number or by a mask."""
        return Sample(**{name: tensor[index] for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class SamplePair:
    """Two views of one scene, each augmented and voxelised for itself.

    Attributes:
        weak: the lightly augmented view.
        strong: the weakly augmented points within ``weak``, changed further. Their annotations stay on them.
        weak_row: (V of ``strong``,) int64, row of ``weak`` whose voxel holds the representative point of a strong row.
            The strong view is made of points of the weak one, so there always is one.
        seed: of what is drawn when the batch is put together.
        strong_floor: the layer of voxels, a z of ``strong.coord``, in which the floor of the strong view stands.
    """

    weak: Sample
    strong: Sample
    weak_row: Tensor
    seed: int
    strong_floor: int


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


class SceneDataset(torch.utils.data.Dataset[Sample | SamplePair]):
    """Training samples of prepared scenes, indexed by ``(scene number, seed)``.

    Args:
        scenes: prepared scenes; without ground truth they need ``sparse``.
        sparse: the draw whose labels are used; None = every point of the ground truth is annotated.
        voxel_size: metres.
        features: names out of ``FEATURES``.
        max_voxels: a sample above this many voxels is cropped to those horizontally nearest to a random annotated
            voxel, so a crop always holds an annotation.
        augmentation: what to do to the raw cloud first, mixing with another of the scenes included; None = nothing.
        strong: how the strong view differs; items are ``SamplePair`` then, with the same weak sample. None = one view.
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
        strong: StrongConfig | None = None,
    ) -> None:
        feature_channels(features)
        self.scenes = list(scenes)
        self.annotations = [_annotation(scene, sparse) for scene in self.scenes]
        self.voxel_size = voxel_size
        self.features = tuple(features)
        self.max_voxels = max_voxels
        self.augmentation = augmentation
        self.strong = strong

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Sample | SamplePair:
        number, seed = key
        rng = np.random.default_rng(seed)
        cloud = self._cloud(number, rng)
        weak, row_of_point = self._voxelized(cloud, rng)
        if self.strong is None:
            return _with_raw_points(weak, cloud.source)
        points, strong_cloud = self._strong_cloud(cloud, np.flatnonzero(row_of_point >= 0), self.strong, rng)
        strong, _ = self._voxelized(strong_cloud, rng)
        weak_row = torch.from_numpy(row_of_point[points])[strong.point]
        return SamplePair(
            weak=_with_raw_points(weak, cloud.source),
            strong=_with_raw_points(strong, strong_cloud.source),
            weak_row=weak_row,
            seed=int(rng.integers(2**63)),
            strong_floor=math.floor(strong_cloud.floor / self.voxel_size),
        )

    def _cloud(self, number: int, rng: np.random.Generator) -> TrainingCloud:
        """The points of a sample: those of its scene, augmented and perhaps mixed with another's."""
        cloud, config = self._augmented(number, rng), self.augmentation
        # What is off draws nothing, so it leaves the random numbers of the rest as they are.
        if config is not None and config.mix3d and rng.random() < config.mix3d:
            cloud = overlaid(cloud, self._augmented(self._partner(number, rng), rng))
        elif config is not None and config.cutmix and rng.random() < config.cutmix:
            cloud = boxes_swapped_in(cloud, self._augmented(self._partner(number, rng), rng), self.voxel_size, rng)
        return cloud.moved(self._origin(rng))

    def _augmented(self, number: int, rng: np.random.Generator) -> TrainingCloud:
        scene, config = self.scenes[number], self.augmentation
        coord = np.asarray(scene.coord)
        cloud = TrainingCloud(coord, scene.color, scene.segment, self.annotations[number], floor=0.0)
        if config is not None:
            cloud = cloud.thinned(config.point_drop, rng) if config.point_drop else cloud
            coord, color = augment(cloud.coord, cloud.color, config, rng)
            cloud = replace(cloud, coord=coord, color=color)
        return replace(cloud, floor=float(coord[:, 2].min()))

    def _partner(self, number: int, rng: np.random.Generator) -> int:
        """Any other scene; a single one is mixed with itself, augmented anew."""
        others = len(self.scenes) - 1
        return (number + 1 + int(rng.integers(max(others, 1)))) % len(self.scenes)

    def _strong_cloud(
        self, weak: TrainingCloud, points: np.ndarray, config: StrongConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, TrainingCloud]:
        """The strong view of some of the points, and which of the weak cloud's points its n points are, (n,)."""
        color = None if weak.color is None else weak.color[points]
        kept, coord, color = strengthen(weak.coord[points], color, weak.floor, config, rng)
        points = points[kept]
        origin = self._origin(rng)
        return points, replace(weak.take(points), coord=coord + origin, color=color, floor=float(origin[2]))

    def _origin(self, rng: np.random.Generator) -> np.ndarray:
        drawn = self.augmentation is not None and self.augmentation.random_origin
        return random_origin(self.voxel_size, rng) if drawn else np.zeros(3, np.float32)

    def _voxelized(self, cloud: TrainingCloud, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
        """The sample of a cloud, and (N,) int64 the row of each point in it, -1 where it was cropped away."""
        grid = voxelize(cloud.coord, self.voxel_size, color=cloud.color, segment=cloud.segment)
        labels = grid.segment if cloud.annotation is None else voxel_labels(*cloud.annotation, grid)
        sample = _as_sample(grid, cloud.coord[grid.point], labels, cloud.floor, self.features)
        if len(sample.coord) <= self.max_voxels:
            return sample, grid.inverse
        keep = self._crop(sample, rng)
        row = np.full(len(grid.coord), -1)
        row[keep] = np.arange(len(keep))
        return sample.rows(torch.from_numpy(keep)), row[grid.inverse]

    def _crop(self, sample: Sample, rng: np.random.Generator) -> np.ndarray:
        annotated = (sample.labels >= 0).nonzero()[:, 0]
        candidates = annotated if len(annotated) else torch.arange(len(sample.coord))
        centre = sample.position[candidates[rng.integers(len(candidates))], :2].numpy()
        return nearest_rows(sample.position.numpy(), centre, self.max_voxels)


def _with_raw_points(sample: Sample, source: np.ndarray | None) -> Sample:
    """A sample of a cloud whose points are the raw ones ``source`` (N,); None = it is the whole scene."""
    return sample if source is None else replace(sample, point=torch.from_numpy(source)[sample.point])


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
