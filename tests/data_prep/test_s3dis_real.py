"""A real room of S3DIS, where it is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep import s3dis
from data_prep._jobs import Store, prepare_scenes
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import draw

DATA = os.environ.get("POINTSEG_TEST_DATA")
RAW = Path(DATA or ".") / "s3dis"
COUNTS = {"ceiling": 34283, "floor": 33948, "wall": 57387, "door": 35890, "clutter": 13567}

pytestmark = pytest.mark.skipif(
    not DATA or not (RAW / "Area_3" / "hallway_3").is_dir(), reason="POINTSEG_TEST_DATA does not hold the S3DIS room"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    out = tmp_path_factory.mktemp("real")
    classes = load_classes("s3dis")
    report = prepare_scenes(s3dis.jobs(RAW, classes), Store(out, "s3dis", classes, (0.05,)))
    assert [(r.name, r.status, r.repairs) for r in report.results] == [("Area_3/hallway_3", "written", ())]
    return open_scene(out / "Area_3" / "hallway_3")


def test_counts_of_the_real_room(scene):
    assert scene.num_points == sum(COUNTS.values()) == 175_075
    classes = load_classes("s3dis")
    assert scene.meta["counts"] == {str(classes.index(name)): n for name, n in COUNTS.items()}
    assert len(np.unique(scene.instance)) == 12


def test_values_of_the_real_room(scene):
    first = RAW / "Area_3" / "hallway_3" / "Annotations" / "ceiling_1.txt"
    rows = np.array([line.split() for line in first.read_text().splitlines()], dtype=float)
    np.testing.assert_allclose(scene.coord[: len(rows)] + scene.offset, rows[:, :3], atol=1e-6)
    np.testing.assert_array_equal(scene.color[: len(rows)], rows[:, 3:])


def test_grid_of_the_real_room_goes_back_to_every_point(scene):
    grid = scene.grid(0.05)
    np.testing.assert_array_equal(grid.coord[grid.inverse], np.floor(scene.coord.astype(np.float64) / 0.05))
    np.testing.assert_array_equal(grid.inverse[grid.point], np.arange(len(grid.coord)))
    assert len(np.unique(grid.coord, axis=0)) == len(grid.coord)


def test_a_draw_on_the_real_room(scene):
    labels = draw(scene.path.parents[1], "0.1%", seed=0, voxel_size=0.05, splits=["Area_3"])
    available = np.bincount(scene.segment[scene.grid(0.05).point], minlength=13)
    expected = np.where(available, np.maximum(available // 1000, 1), 0)
    np.testing.assert_array_equal(labels.counts, expected)
