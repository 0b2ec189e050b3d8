"""Scenes of which little is left at the deeper levels of the network, down to a single voxel."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pointseg.data.classes import load_classes, save_classes
from pointseg.data.scene import write_scene
from pointseg.training import Run, load_recipe, train

SMALL = [
    "data.voxel_size=0.1",
    "data.labels=full",
    "data.eval_splits=[scored]",
    "model.planes=[4, 4, 4, 4, 4, 4, 4, 4]",
    "model.init_dim=4",
    "steps=2",
    "batch_size=1",
    "optimizer.warmup_steps=0",
    "augment.scale=[1, 1]",
    "augment.jitter=0",
    "augment.random_origin=false",
]


@pytest.fixture
def root(tmp_path):
    """Trained on are one voxel, and eight above each other; scored is one."""
    (tmp_path / "data").mkdir()
    save_classes(load_classes("s3dis"), tmp_path / "data" / "classes.yaml")
    for split, voxels in (("one", 1), ("line", 8), ("scored", 1)):
        coord = np.zeros((voxels, 3))
        coord[:, 2] = 0.11 * np.arange(voxels)
        rows = {"coord": coord, "color": np.full((voxels, 3), 90, np.uint8), "segment": np.zeros(voxels, np.int16)}
        facts = {"dataset": "s3dis", "sources": [], "repairs": [], "voxel_sizes": [0.1]}
        write_scene(tmp_path / "data", split, "tiny", **rows, **facts)
    return tmp_path / "data"


def test_a_single_voxel_is_trained_on_like_any_other_scene(root, tmp_path):
    run = Run.create(tmp_path / "run", load_recipe("synthetic_supervised", [*SMALL, f"data.root={root}"]))
    train(run, device=torch.device("cpu"), workers=0)
    weights = load_file(run.checkpoints / "final" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())
    # Only the line has more than one voxel, and only until a stride of 8 makes it one.
    tracked = {int(weights[f"{name}.bn.num_batches_tracked"]) for name in ("bn0", "block1.0.norm1", "block2.0.norm1")}
    assert tracked == {1}
    assert weights["block3.0.norm1.bn.num_batches_tracked"] == weights["block4.0.norm1.bn.num_batches_tracked"] == 0
