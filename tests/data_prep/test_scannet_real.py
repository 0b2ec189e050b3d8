"""A real scene of ScanNet with its lists, where they are at hand.

Its label mesh is of release 2, its two annotation files of release 1: they suit the reader, not as truth.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from data_prep import scannet
from data_prep._scannet_lists import SPLITS, read_point_lists, read_scene_list
from data_prep._scannet_scene import Reading, read_scene
from data_prep.synthetic.scannet_writer import WORDS
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene

DATA = os.environ.get("POINTSEG_TEST_DATA")
RAW = Path(DATA or ".") / "scannet"
META = RAW / "meta"
SCENE = "scene0000_00"
FOLDER = RAW / "scans" / SCENE
TABLE = META / "scannetv2-labels.combined.tsv"
VERTICES = 81_369

pytestmark = pytest.mark.skipif(
    not DATA or not FOLDER.is_dir(), reason="POINTSEG_TEST_DATA does not hold the ScanNet scene"
)


def run(out, *flags):
    parser = argparse.ArgumentParser()
    scannet.add_arguments(parser)
    return scannet.run(parser.parse_args(["--raw", str(RAW), "--out", str(out), "--workers", "1", *flags]))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    out = tmp_path_factory.mktemp("scannet")
    assert run(out) == 0
    return open_scene(out / "train" / SCENE)


@pytest.fixture(scope="module")
def table():
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_vertices_are_the_meshs(scene):
    vertex = PlyData.read(FOLDER / f"{SCENE}_vh_clean_2.ply")["vertex"]
    assert scene.num_points == len(vertex) == VERTICES
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(scene.coord[:, axis] + scene.offset[axis], vertex[name], atol=1e-6)
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(scene.color[:, channel], vertex[name])
    np.testing.assert_allclose(np.linalg.norm(scene.normal, axis=1), 1, atol=1e-6)


def test_the_floor_looks_up(scene):
    floor = scene.normal[scene.segment == load_classes("scannet20").index("floor")]
    assert np.median(floor[:, 2]) > 0.98


def test_labels_by_an_independent_mapping(scene, table):
    label = PlyData.read(FOLDER / f"{SCENE}_vh_clean_2.labels.ply")["vertex"]["label"]
    names = {int(row["nyu40id"]): row["nyu40class"].replace("refridgerator", "refrigerator") for row in table}
    wanted = list(load_classes("scannet20").names)
    expected = [wanted.index(names[i]) if names.get(i) in wanted else -1 for i in label.tolist()]
    np.testing.assert_array_equal(scene.segment, expected)
    assert int((scene.segment == -1).sum()) == 21_917


def test_the_first_releases_objects_agree_with_the_second_releases_labels_on_68_percent():
    files = (FOLDER / f"{SCENE}_vh_clean_2.ply", *sorted(FOLDER.glob("*.json")), *FOLDER.glob("*.labels.ply"), TABLE)
    same = {i: i for i in range(1, 41)}
    ply, objects = (read_scene(files, Reading(same, "nyu40id", truth, False)) for truth in ("ply", "aggregation"))
    assert np.mean(ply.segment == objects.segment) == pytest.approx(0.680, abs=0.001)


def test_the_mixed_releases_are_noticed(scene):
    assert [r["what"][:50] for r in scene.meta["repairs"]] == ["its objects give 76% of the vertices the class the"]


def test_instances_are_plausible(scene):
    numbers, counts = np.unique(scene.instance, return_counts=True)
    np.testing.assert_array_equal(numbers, np.arange(-1, 55))
    assert counts[0] / VERTICES == pytest.approx(0.2249, abs=1e-4)
    second = np.load(META / f"{SCENE}_ins_label_all.npy")
    # An object of the first release is mostly one object of the second.
    pure = [np.bincount(second[scene.instance == k]).max() / n for k, n in zip(numbers[1:], counts[1:], strict=True)]
    assert np.median(pure) > 0.9


def test_the_200_classes(tmp_path, table):
    assert run(tmp_path, "--benchmark", "200") == 0
    scene = open_scene(tmp_path / "train" / SCENE)
    whats = [r["what"] for r in scene.meta["repairs"]]
    assert whats == [
        "'dishrack' of 1 objects is not in the label table: 420 vertices ignored",
        "'trashcan' of 3 objects is not in the label table: 600 vertices ignored",
    ]
    assert len(np.unique(scene.segment[scene.segment >= 0])) > 15


def test_names_and_ids_of_the_class_files_are_the_label_tables(table):
    words: dict[int, set[str]] = {}
    for row in table:
        words.setdefault(int(row["id"]), set()).update((row["raw_category"], row["category"]))
    classes = load_classes("scannet200")
    for name, (source,) in zip(classes.names, classes.source_ids, strict=True):
        assert name in words[source]


def test_the_synthetic_scenes_use_the_label_tables_words(table):
    rows = {(r["raw_category"], int(r["id"]), int(r["nyu40id"]), r["nyu40class"]) for r in table}
    assert set(WORDS.values()) <= rows


def test_official_splits():
    lists = {split: read_scene_list(META / file) for split, file in SPLITS.items()}
    assert [len(lists[split]) for split in ("train", "val", "test")] == [1201, 312, 100]
    assert len(set().union(*lists.values())) == 1613


def test_official_limited_scenes():
    train = set(read_scene_list(META / SPLITS["train"]))
    for percent, scenes in ((1, 12), (5, 60), (10, 120), (20, 240)):
        listed = read_scene_list(META / "limited_reconstruction" / f"{percent}.txt")
        assert len(listed) == scenes
        assert set(listed) <= train


@pytest.mark.parametrize("points", [20, 50, 100, 200])
def test_official_limited_points(points):
    lists = read_point_lists(META / "limited_annotation" / f"points{points}")
    assert set(lists) == set(read_scene_list(META / SPLITS["train"]))
    assert {len(indices) for indices in lists.values()} == {points}
    assert lists[SCENE].max() < VERTICES
    assert len(np.unique(lists[SCENE])) == points
