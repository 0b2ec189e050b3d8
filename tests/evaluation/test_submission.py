"""Benchmark files: what is written, and what the checker finds in folders that are not as they must be."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from data_prep import scannet as scannet_preparation
from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, write_scene
from pointseg.errors import InputError
from pointseg.evaluation import check_submission, write_submission

REAL = Path(os.environ.get("POINTSEG_TEST_DATA", "nowhere")) / "scannet"
REAL_LABELS = REAL / "scans" / "scene0000_00" / "scene0000_00_vh_clean_2.labels.ply"


def scenes_of(root, dataset, split, names, labelled):
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        points = 30 + number
        segment = rng.integers(0, 13, points).astype(np.int16) if labelled else None
        coord = rng.uniform(0, 5, (points, 3))
        write_scene(
            root, split, name, coord=coord, segment=segment, dataset=dataset, sources=[], repairs=[], voxel_sizes=[0.2]
        )
    return list_scenes(root, [split])


@pytest.fixture(scope="module")
def scannet(tmp_path_factory):
    root = tmp_path_factory.mktemp("scannet")
    return scenes_of(root, "scannet", "val", ["scene0011_00", "scene0015_00"], labelled=True)


@pytest.fixture(scope="module")
def urban(tmp_path_factory):
    names = ["birmingham_block_2", "birmingham_block_8", *(f"cambridge_block_{k}" for k in (15, 16, 22, 27))]
    return scenes_of(tmp_path_factory.mktemp("urban"), "sensaturban", "test", names, labelled=False)


def last_classes(k):
    """Every point one of the last classes, the last one first."""
    return lambda scene: k - 1 - np.arange(scene.num_points) % 5


def test_scannet_has_one_nyu40_id_a_line(scannet, tmp_path):
    folder = write_submission(tmp_path / "send", scannet, last_classes(20), load_classes("scannet20"))
    assert sorted(path.name for path in folder.iterdir()) == ["scene0011_00.txt", "scene0015_00.txt"]
    text = (folder / "scene0011_00.txt").read_text()
    nyu40 = ["39", "36", "34", "33", "28"]
    assert text == "".join(f"{nyu40[point % 5]}\n" for point in range(30))
    assert check_submission(folder, scannet, load_classes("scannet20")) == []


def test_scannet200_has_the_ids_of_the_label_table(scannet, tmp_path):
    classes = load_classes("scannet200")
    folder = write_submission(tmp_path / "send", scannet, last_classes(200), classes)
    ids = np.loadtxt(folder / "scene0011_00.txt", dtype=int)
    assert ids[0] == classes.source_ids[199][0] > 200
    assert check_submission(folder, scannet, classes) == []


def test_sensaturban_has_a_byte_a_point(urban, tmp_path):
    classes = load_classes("sensaturban")
    folder = write_submission(tmp_path / "send", urban, last_classes(13), classes)
    content = (folder / "cambridge_block_22.label").read_bytes()
    assert content == bytes(12 - point % 5 for point in range(34))
    assert check_submission(folder, urban, classes) == []
    assert check_submission(folder, urban[:5], classes)[-1].startswith("5 test scenes are prepared")


def test_the_checker_names_every_kind_of_fault(scannet, urban, tmp_path):
    classes = load_classes("scannet20")
    folder = write_submission(tmp_path / "send", scannet, last_classes(20), classes)
    file, whole = folder / "scene0011_00.txt", (folder / "scene0011_00.txt").read_text()

    def problems(text):
        file.write_text(text)
        return check_submission(folder, scannet, classes)

    assert problems(whole.removesuffix("\n")) == []
    assert problems(whole.replace("39\n", "13\n")) == [
        "scene0011_00.txt: it holds the ids [13], which are no class of the benchmark"
    ]
    assert "29 labels, but the scene has 30 points" in problems(whole[3:])[0]
    assert "line 2 is 'wall'" in problems(whole.replace("36", "wall", 1))[0]
    assert "line 2 is '-1'" in problems(whole.replace("36", "-1", 1))[0]
    assert "line 31 is ''" in problems(whole + "\n")[0]
    assert "too many" in problems(whole * 10)[0]
    file.rename(folder / "scene0011_00.label")
    assert check_submission(folder, scannet, classes) == [
        "scene0011_00.txt is missing",
        "scene0011_00.label does not belong there",
    ]
    labels = write_submission(tmp_path / "urban", urban, last_classes(13), load_classes("sensaturban"))
    tile = labels / "birmingham_block_2.label"
    tile.write_bytes(bytes([13]) + tile.read_bytes()[1:])
    assert check_submission(labels, urban, load_classes("sensaturban")) == [
        "birmingham_block_2.label: it holds the ids [13], which are no class of the benchmark"
    ]
    with pytest.raises(InputError, match="there is no folder"):
        check_submission(tmp_path / "nothing", scannet, classes)


def test_a_folder_appears_whole_or_not_at_all(scannet, tmp_path):
    def fails_at_the_second(scene):
        if scene.name == "scene0015_00":
            raise KeyboardInterrupt
        return np.zeros(scene.num_points, np.int16)

    with pytest.raises(KeyboardInterrupt):
        write_submission(tmp_path / "send", scannet, fails_at_the_second, load_classes("scannet20"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(scannet, tmp_path):
    zeros = last_classes(1)
    with pytest.raises(InputError, match="no benchmark for the data set s3dis"):
        write_submission(tmp_path / "send", scannet, zeros, load_classes("s3dis"))
    with pytest.raises(InputError, match="no scene to predict"):
        write_submission(tmp_path / "send", [], zeros, load_classes("scannet20"))
    with pytest.raises(InputError, match="two scenes are called"):
        write_submission(tmp_path / "send", [*scannet, scannet[0]], last_classes(20), load_classes("scannet20"))
    with pytest.raises(InputError, match="30 points and 3 predictions"):
        write_submission(tmp_path / "send", scannet, lambda scene: np.zeros(3, int), load_classes("scannet20"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.txt").touch()
    with pytest.raises(InputError, match="holds something already"):
        write_submission(tmp_path / "full", scannet, last_classes(20), load_classes("scannet20"))


@pytest.mark.skipif(not REAL_LABELS.is_file(), reason="POINTSEG_TEST_DATA does not hold the ScanNet scene")
def test_the_truth_of_a_real_scene_comes_back_vertex_by_vertex(tmp_path):
    parser = argparse.ArgumentParser()
    scannet_preparation.add_arguments(parser)
    options = ["--raw", REAL, "--out", tmp_path / "root", "--workers", 1, "--split", "val", "--voxel-size", 0.1]
    assert scannet_preparation.run(parser.parse_args([str(option) for option in options])) == 0
    scenes, classes = list_scenes(tmp_path / "root", ["val"]), load_classes("scannet20")
    only = [scene for scene in scenes if scene.name == "scene0000_00"]
    folder = write_submission(tmp_path / "send", only, lambda scene: np.maximum(scene.segment, 0), classes)
    assert check_submission(folder, only, classes) == []
    written = np.loadtxt(folder / "scene0000_00.txt", dtype=int)
    nyu40 = np.asarray(PlyData.read(REAL_LABELS)["vertex"]["label"]).astype(int)
    scored = np.isin(nyu40, [ids[0] for ids in classes.source_ids])
    assert len(written) == len(nyu40)
    assert scored.sum() > 10_000
    np.testing.assert_array_equal(written[scored], nyu40[scored])
