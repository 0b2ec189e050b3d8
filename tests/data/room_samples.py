"""Training samples of the small prepared rooms, and a slow twin of where their grid starts."""

import numpy as np

from pointseg.data.dataset import SceneDataset
from pointseg.data.scene import list_scenes
from pointseg.data.sparse_labels import open_labels
from pointseg.data.transforms import AugmentConfig

FEATURES = ("ones", "color", "height")


def dataset(root, labels="1pt_seed0", **settings):
    defaults = {"voxel_size": 0.1, "features": FEATURES, "max_voxels": 10**6, "augmentation": AugmentConfig()}
    sparse = None if labels is None else open_labels(root, labels)
    return SceneDataset(list_scenes(root, ["Area_1", "Area_2"]), sparse, **{**defaults, **settings})


def slow_origin(rng):
    part = rng.uniform(0, 0.1, 3)
    whole = rng.integers(16, size=3) if rng.random() < 0.25 else np.zeros(3)
    return (part + 0.1 * whole).astype(np.float32)
