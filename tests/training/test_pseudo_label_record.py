"""The training scene whose pseudo-labels are kept stands on the grid that prediction sees it on."""

import shutil

import numpy as np

from pointseg.data.scene import open_scene, write_scene
from pointseg.training import Run, load_recipe
from pointseg.training.pseudo_label_record import PseudoLabelRecord


def test_a_cropped_scene_keeps_the_phase_of_the_whole_grid(rooms_root, tmp_path):
    root, rng = shutil.copytree(rooms_root, tmp_path / "data"), np.random.default_rng(0)
    # A floor whose lowest voxel is not that of the origin, large enough that a crop leaves its edges out.
    coord = rng.uniform((0.5, 0.5, 0.3), (9, 9, 0.35), (10_000, 3))
    arrays = {"coord": coord, "color": np.full((10_000, 3), 90, np.uint8), "segment": np.ones(10_000, np.int16)}
    facts = {"dataset": "s3dis", "sources": [], "repairs": [], "voxel_sizes": [0.1]}
    path = write_scene(root, "Area_1", "office_1", **arrays, **facts)
    settings = [f"data.root={root}", "data.labels=full", "data.voxel_size=0.1", "data.max_voxels=1000"]
    run = Run.create(tmp_path / "run", load_recipe("synthetic_supervised", settings))
    sample, grid = PseudoLabelRecord.of(run).sample, open_scene(path).grid(0.1)
    seen = (grid.coord - grid.coord.min(0))[grid.inverse[sample.point.numpy()]]
    assert sample.coord.tolist() == seen.tolist()
    assert len(seen) == 1000
    assert seen.min(0)[:2].min() > 0
