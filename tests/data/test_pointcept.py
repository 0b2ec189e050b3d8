"""Prepared scenes as Pointcept's datasets read them, and back again."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from data_prep import pointcept, s3dis
from data_prep._jobs import Store, prepare_scenes
from pointseg.data.check import check_root
from pointseg.data.classes import load_classes
from pointseg.data.pointcept import export_root
from pointseg.data.scene import list_scenes, open_scene, prepare_root, write_scene
from pointseg.errors import InputError

CLASSES = load_classes("s3dis")
DATA = os.environ.get("POINTSEG_TEST_DATA")
REAL = Path(DATA or ".") / "s3dis"


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", CLASSES)
    rng = np.random.default_rng(0)
    for split, name, offset in (("train", "x", 0), ("val", "y z", 4_500_000)):
        normal = rng.normal(size=(500, 3))
        normal[0], normal[1:] = 0, normal[1:] / np.linalg.norm(normal[1:], axis=1, keepdims=True)
        write_scene(
            root,
            split,
            name,
            coord=rng.uniform(-3, 4, (500, 3)) + offset,
            color=rng.integers(0, 256, (500, 3)),
            segment=rng.integers(-1, 13, 500),
            instance=rng.integers(-1, 70_000, 500),
            normal=normal,
            intensity=rng.uniform(0, 60_000, 500),
            dataset="toy",
            sources=[],
            voxel_sizes=[0.5, 0.25],
        )
    bare = rng.uniform(0, 2, (9, 3))
    write_scene(root, "test", "bare", coord=bare, dataset="toy", sources=[], voxel_sizes=[0.5, 0.25])
    return root


def as_pointcept_reads(path, assets):
    """What its DefaultDataset and ScanNetDataset do with a scene folder."""
    found = {p.stem: np.load(p) for p in path.iterdir() if p.suffix == ".npy" and p.stem in assets}
    for name in ("coord", "color", "normal"):
        found[name] = found[name].astype(np.float32)
    for name in {"segment", "segment20", "instance"} & set(found):
        found[name] = found[name].reshape([-1]).astype(np.int32)
    return found


def test_exported_folders_are_what_pointcept_reads(root, tmp_path):
    export = export_root(root, tmp_path / "pc", segment_name="segment20")
    assert (export.scenes, export.files) == (3, 13)
    scene = open_scene(root / "val" / "y z")
    read = as_pointcept_reads(
        tmp_path / "pc/val/y z", {"coord", "color", "normal", "segment20", "instance", "strength"}
    )
    assert set(read) == {"coord", "color", "normal", "segment20", "instance", "strength"}
    for name, twin in (("segment20", "segment"), ("coord", "coord"), ("color", "color"), ("instance", "instance")):
        np.testing.assert_array_equal(read[name], getattr(scene, twin))
    features = np.concatenate([read["coord"], read["strength"]], axis=1)
    np.testing.assert_array_equal(features[:, 3], scene.intensity)
    assert sorted(p.name for p in (tmp_path / "pc").iterdir()) == ["pointseg.json", "test", "train", "val"]
    record = json.loads((tmp_path / "pc" / "pointseg.json").read_text())
    assert record["scenes"]["val/y z"] == {"points": 500, "offset": scene.offset.tolist()}
    assert record["classes"] == list(CLASSES.names)


def test_a_prepared_root_itself_is_what_pointcept_reads(root):
    scene = open_scene(root / "train" / "x")
    read = as_pointcept_reads(scene.path, {"coord", "color", "normal", "strength", "segment", "instance", "pose"})
    assert set(read) == {"coord", "color", "normal", "segment", "instance"}
    np.testing.assert_array_equal(read["segment"], scene.segment)


def assert_same_arrays(one, other):
    scenes = list_scenes(one)
    assert scenes
    for before in scenes:
        after = open_scene(other / before.split / before.name)
        assert after.meta["arrays"] == before.meta["arrays"]
        for file in before.path.rglob("*.npy"):
            twin = after.path / file.relative_to(before.path)
            assert twin.read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("name", ["segment", "segment20"])
def test_there_and_back_again_every_array_is_the_same(root, tmp_path, name):
    export_root(root, tmp_path / "pc", segment_name=name)
    jobs = pointcept.jobs(tmp_path / "pc", CLASSES, segment_name=name)
    assert prepare_scenes(jobs, Store(tmp_path / "back", "pointcept", CLASSES, (0.5, 0.25))).failed == ()
    assert_same_arrays(root, tmp_path / "back")


def test_an_export_shares_no_file_with_the_root(root, tmp_path):
    export_root(root, tmp_path / "pc")
    prepared, exported = root / "train" / "x" / "coord.npy", tmp_path / "pc" / "train" / "x" / "coord.npy"
    assert exported.read_bytes() == prepared.read_bytes()
    assert not exported.samefile(prepared)


def test_folders_that_were_not_exported_are_not_replaced(root, tmp_path):
    kept = tmp_path / "pc" / "train" / "x" / "pose.npy"
    kept.parent.mkdir(parents=True)
    np.save(kept, np.eye(4))
    with pytest.raises(InputError, match=r"train/x exists and was not exported from here"):
        export_root(root, tmp_path / "pc")
    assert kept.is_file()


def test_exporting_again_replaces_and_a_full_disk_is_one_sentence(root, tmp_path, monkeypatch):
    export_root(root, tmp_path / "pc", segment_name="segment200")
    export_root(root, tmp_path / "pc")
    names = sorted(p.name for p in (tmp_path / "pc" / "train" / "x").iterdir())
    assert names == ["color.npy", "coord.npy", "instance.npy", "normal.npy", "segment.npy", "strength.npy"]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pointseg.data.pointcept.save_array", full)
    with pytest.raises(InputError, match=r"cannot write to .*pc: No space left on device"):
        export_root(root, tmp_path / "pc")
    assert sorted(p.name for p in (tmp_path / "pc" / "train" / "x").iterdir()) == names
    assert not list((tmp_path / "pc").rglob(".*"))


def test_export_says_when_it_is_not_needed_or_not_enough(root, tmp_path):
    assert export_root(root, tmp_path / "a").notes == ()
    assert "1 scenes lack color or normal" in export_root(root, tmp_path / "b", segment_name="segment20").notes[0]
    plain = prepare_root(tmp_path / "plain", CLASSES)
    write_scene(plain, "a", "b", coord=np.eye(3), dataset="toy", sources=[], voxel_sizes=[])
    assert "no export needed" in export_root(plain, tmp_path / "c").notes[0]


def test_export_refusals(root, tmp_path):
    with pytest.raises(InputError, match="--segment-name is 'labels'"):
        export_root(root, tmp_path / "pc", segment_name="labels")
    with pytest.raises(InputError, match="lies in the prepared root"):
        export_root(root, root / "pc")
    (root / "train" / "x" / "coord.npy").unlink()
    with pytest.raises(InputError, match=r"coord\.npy is missing"):
        export_root(root, tmp_path / "pc")
    assert not (tmp_path / "pc").exists()


@pytest.mark.skipif(
    not DATA or not (REAL / "Area_3" / "hallway_3").is_dir(), reason="POINTSEG_TEST_DATA does not hold the S3DIS room"
)
def test_a_real_room_there_and_back_again(tmp_path):
    prepare_scenes(s3dis.jobs(REAL, CLASSES), Store(tmp_path / "root", "s3dis", CLASSES, (0.05,)))
    assert check_root(tmp_path / "root").problems == ()
    export_root(tmp_path / "root", tmp_path / "pc")
    jobs = pointcept.jobs(tmp_path / "pc", CLASSES)
    report = prepare_scenes(jobs, Store(tmp_path / "back", "pointcept", CLASSES, (0.05,)))
    assert [(result.name, result.points) for result in report.results] == [("Area_3/hallway_3", 175_075)]
    assert_same_arrays(tmp_path / "root", tmp_path / "back")
