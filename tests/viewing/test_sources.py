"""What a path shows: prepared scenes, splits, roots and folders, pairs of them, and those that cannot be shown."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from predicted_files import COORD, PRED, N, load, write

from data_prep import pointcept
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene
from pointseg.data.sparse_labels import open_labels
from pointseg.errors import InputError
from pointseg.viewing.holding import held
from pointseg.viewing.palettes import SAFE
from pointseg.viewing.sources import Wishes, open_target, paired, scene_cloud


def test_of_a_huge_scene_every_annotated_point_is_held():
    annotated = np.full(1000, -1)
    annotated[[0, 7, 8, 999]] = 1
    assert held(1000, annotated, 1000) is None
    index = held(1000, annotated, 100)
    assert set(np.flatnonzero(annotated >= 0)) <= set(index.tolist())
    assert 100 <= len(index) <= 104
    assert len(held(1000, None, 100)) == 100


def test_a_prepared_scene_a_split_and_a_root(rooms_root):
    scene, classes = load(rooms_root / "Area_5" / "office_1")
    stored = open_scene(rooms_root / "Area_5" / "office_1")
    assert scene.name == "Area_5/office_1"
    np.testing.assert_array_equal(scene.coord, stored.coord)
    np.testing.assert_array_equal(scene.gt, stored.segment)
    assert classes.same_as(load_classes("s3dis"))
    names = ["Area_1/office_1", "Area_2/office_1", "Area_5/office_1"]
    assert [s.name for s in open_target(rooms_root, Wishes())] == names
    assert [s.name for s in open_target(rooms_root, Wishes(splits=("Area_5", "Area_1")))] == [names[0], names[2]]
    assert [(s.name, s.source) for s in open_target(rooms_root / "Area_2", Wishes())] == [
        (names[1], str(rooms_root / "Area_2"))
    ]
    with pytest.raises(InputError, match="no split 'Area_9'; it has Area_1, Area_2, Area_5"):
        open_target(rooms_root, Wishes(splits=("Area_9",)))


def test_a_relative_path_knows_its_split(rooms_root, monkeypatch):
    monkeypatch.chdir(rooms_root / "Area_5" / "office_1")
    assert open_target(Path("."), Wishes())[0].name == "Area_5/office_1"


def test_stored_sparse_labels_of_prepared_scenes(rooms_root):
    sources = open_target(rooms_root, Wishes(labels="1pct_seed0"))
    cloud, _ = sources[0].load()
    index, label = open_labels(rooms_root, "1pct_seed0").for_scene(open_scene(rooms_root / "Area_1" / "office_1"))
    assert set(np.flatnonzero(cloud.annotated >= 0)) == set(index)
    np.testing.assert_array_equal(cloud.annotated[index], label)
    assert sources[2].load()[0].annotated is None  # the draw is of the other areas
    with pytest.raises(InputError, match="no sparse labels named 'none'"):
        open_target(rooms_root, Wishes(labels="none"))


def test_a_damaged_scene_fails_only_when_it_is_opened(rooms_root, tmp_path):
    for split in ("a", "b"):
        (tmp_path / split).mkdir()
        os.symlink(rooms_root / "Area_5" / "office_1", tmp_path / split / "room")
    (tmp_path / "b" / "room").unlink()
    (tmp_path / "b" / "room").mkdir()
    (tmp_path / "b" / "room" / "meta.json").write_text("{")
    good, bad = open_target(tmp_path, Wishes())
    good.load()
    with pytest.raises(InputError, match=r"meta\.json"):
        bad.load()


def test_without_a_class_file_ids_are_numbered(rooms_root, tmp_path):
    (tmp_path / "Area_5").mkdir()
    os.symlink(rooms_root / "Area_5" / "office_1" / "coord.npy", tmp_path / "x")
    stored = open_scene(rooms_root / "Area_5" / "office_1")
    copy = tmp_path / "Area_5" / "room"
    copy.mkdir()
    for file in stored.path.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    for grid in stored.path.glob("grid_*"):
        os.symlink(grid, copy / grid.name)
    _, classes = load(copy)
    assert classes.names[-1] == "class 8"


def test_a_folder_of_clouds(tmp_path):
    for name in ("Area_1/a.ply", "Area_2/a.ply", "a.las", "a.ply", ".hidden.ply"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no points")
    sources = open_target(tmp_path, Wishes())
    assert [s.name for s in sources] == ["Area_1/a", "Area_2/a", "a.las", "a.ply"]
    assert {s.source for s in sources} == {str(tmp_path)}


@pytest.mark.parametrize("target", [".", "train", "train/scene0"])
def test_pointcepts_folders_are_refused_with_the_command_that_prepares_them(tmp_path, target):
    """Taken for a folder of clouds, colours and labels would be drawn as coordinates."""
    (tmp_path / "train" / "scene0").mkdir(parents=True)
    for name, array in (("coord", COORD), ("color", np.zeros((N, 3), np.uint8)), ("segment", PRED)):
        np.save(tmp_path / "train" / "scene0" / f"{name}.npy", array)
    with pytest.raises(InputError, match=r"no meta\.json.* 'pointseg prepare pointcept --raw .* --out ROOT") as error:
        open_target(tmp_path / target, Wishes())
    raw = Path(str(error.value).split("--raw ")[1].split()[0])
    assert [job.scene for job in pointcept.jobs(raw, load_classes("s3dis"))] == ["scene0"]
    (tmp_path / "train" / "scene0" / "coord.npy").rename(tmp_path / "train" / "coord.npy")
    assert "train/coord" in [source.name for source in open_target(tmp_path, Wishes())]


def test_tables_are_clouds_where_a_folder_holds_nothing_else(tmp_path):
    write(tmp_path / "a.csv")
    assert [s.name for s in open_target(tmp_path, Wishes())] == ["a"]


def test_a_palette_and_an_unknown_one(rooms_root):
    _, classes = load(rooms_root / "Area_5" / "office_1", palette="safe")
    np.testing.assert_array_equal(classes.colors, SAFE[:13])
    with pytest.raises(InputError, match="no palette 'pretty'; allowed are own, safe"):
        open_target(rooms_root, Wishes(palette="pretty"))


def test_pairs_are_made_by_name(rooms_root, tmp_path):
    rooms = open_target(rooms_root, Wishes())
    assert [(a.name, b.name) for a, b in paired(rooms, rooms[1:])] == [(s.name, s.name) for s in rooms[1:]]
    files = [open_target(write(tmp_path / f"{name}.las"), Wishes()) for name in ("one", "other")]
    assert [(a.name, b.name) for a, b in paired(*files)] == [("one", "other")]
    with pytest.raises(InputError, match="have no scene in common"):
        paired(rooms, files[0])


def test_paths_that_show_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat")
    for name, sentence in [
        ("absent", "there is no .*absent; give a run"),
        ("empty", "holds no cloud file"),
        ("a.jpg", "ends in '.jpg'"),
        ("cut.ply", "no PLY file"),
    ]:
        with pytest.raises(InputError, match=sentence):
            open_target(tmp_path / name, Wishes())


def test_a_scene_as_a_cloud_keeps_rows_together(rooms_root):
    scene = open_scene(rooms_root / "Area_5" / "office_1")
    cloud = scene_cloud(scene, (np.array([3, 5]), np.array([1, 2])), max_points=50)
    rows = [int(np.flatnonzero((scene.coord == point).all(axis=1))[0]) for point in cloud.coord]
    np.testing.assert_array_equal(cloud.gt, np.asarray(scene.segment)[rows])
    assert {3, 5} <= set(rows)
    assert cloud.annotated[rows.index(5)] == 2
    assert "points read" in cloud.name
