"""Pointcept's folders, read as its scripts write them."""

import os
import pickle

import numpy as np
import pytest

from data_prep import pointcept
from data_prep._jobs import Store, prepare_scenes
from data_prep._main import run_module
from pointseg.data.classes import load_classes
from pointseg.data.scene import open_scene
from pointseg.errors import InputError

CLASSES = load_classes("s3dis")
POINTS = 200


def folder(raw, scene, **arrays):
    path = raw / scene
    path.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def arrays(seed=0, n=POINTS):
    rng = np.random.default_rng(seed)
    return {
        "coord": rng.uniform(-5, 5, (n, 3)).astype(np.float32),
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "normal": np.tile([0, 0, 1], (n, 1)).astype(np.float32),
    }


def s3dis_like(seed=0):
    """As its S3DIS script: labels int16 (N, 1)."""
    rng = np.random.default_rng(seed)
    labels = {name: rng.integers(0, 13, (POINTS, 1)).astype(np.int16) for name in ("segment", "instance")}
    return arrays(seed) | labels


def scannet_like(seed=0):
    """As its ScanNet script: labels int64 (N,), two sets of them, -1 where there is none."""
    rng = np.random.default_rng(seed)
    tops = {"segment20": 13, "segment200": 200, "instance": 9}
    return arrays(seed) | {name: rng.integers(-1, top, POINTS) for name, top in tops.items()}


def prepare(raw, out, *, voxel_sizes=(0.5,), **settings):
    jobs = pointcept.jobs(raw, CLASSES, **settings)
    return prepare_scenes(jobs, Store(out, "pointcept", CLASSES, voxel_sizes))


def test_reads_what_the_s3dis_script_writes(tmp_path):
    given = s3dis_like()
    folder(tmp_path / "raw", "Area_1/office_1", **given)
    folder(tmp_path / "raw", "Area_5/hallway_1", **s3dis_like(1))
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert [(r.name, r.status) for r in report.results] == [
        ("Area_1/office_1", "written"),
        ("Area_5/hallway_1", "written"),
    ]
    scene = open_scene(tmp_path / "out" / "Area_1" / "office_1")
    np.testing.assert_allclose(scene.coord + scene.offset, given["coord"], atol=1e-6)
    for name in ("color", "normal", "segment", "instance"):
        expected = given[name][:, 0] if name in ("segment", "instance") else given[name]
        np.testing.assert_array_equal(getattr(scene, name), expected)
    assert scene.intensity is None


def test_reads_what_the_scannet_script_writes(tmp_path):
    given = scannet_like()
    folder(tmp_path / "raw", "train/scene0000_00", **given)
    folder(tmp_path / "raw", "test/scene0707_00", **arrays(5))
    assert prepare(tmp_path / "raw", tmp_path / "out", segment_name="segment20").failed == ()
    train, test = open_scene(tmp_path / "out/train/scene0000_00"), open_scene(tmp_path / "out/test/scene0707_00")
    np.testing.assert_array_equal(train.segment, given["segment20"])
    np.testing.assert_array_equal(train.instance, given["instance"])
    assert test.segment is None


def test_other_types_with_the_same_values_give_the_same_scene(tmp_path):
    given = s3dis_like() | {"strength": np.linspace(0, 1, POINTS, dtype=np.float32)[:, None]}
    other = {
        "coord": given["coord"].astype(np.float64),
        "color": given["color"].astype(np.float64),
        "normal": given["normal"].astype(np.float64),
        "segment": given["segment"].astype(np.float32)[:, 0],
        "instance": given["instance"].astype(np.uint16),
        "strength": given["strength"][:, 0],
    }
    scenes = []
    for name, content in (("one", given), ("two", other)):
        folder(tmp_path / name, "train/x", **content)
        prepare(tmp_path / name, tmp_path / f"{name}_out")
        scenes.append(open_scene(tmp_path / f"{name}_out" / "train" / "x"))
    for name in ("coord", "color", "normal", "segment", "instance", "intensity"):
        a, b = (getattr(scene, name) for scene in scenes)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_scenes_without_a_split_and_folders_that_are_no_scenes(tmp_path):
    raw = tmp_path / "raw"
    folder(raw, "office_1", **s3dis_like())
    folder(raw, "office_1/images", depth=np.zeros(3))
    folder(raw, "val/office_2", **s3dis_like())
    folder(raw, ".cache/x", **s3dis_like())
    (raw / "val" / "notes").mkdir()
    names = [job.name for job in pointcept.jobs(raw, CLASSES, split="mine")]
    assert names == ["mine/office_1", "val/office_2"]


def test_normals_that_are_not_finite_are_zeroed_on_record(tmp_path):
    given = s3dis_like()
    given["normal"][[3, 7]] = np.nan
    folder(tmp_path / "raw", "train/x", **given)
    (result,) = prepare(tmp_path / "raw", tmp_path / "out").results
    assert result.repairs == ({"file": "train/x/normal.npy", "what": "2 normals that are not finite set to zero"},)
    scene = open_scene(tmp_path / "out" / "train" / "x")
    assert np.flatnonzero(~scene.normal.any(axis=1)).tolist() == [3, 7]


def test_normals_of_another_length_are_scaled_on_record(tmp_path):
    given = s3dis_like()
    given["normal"][[3, 7, 9]] = [[0, 3, 4], [np.nan, 0, 1], [0, 0, 0]]
    folder(tmp_path / "raw", "train/x", **given)
    (result,) = prepare(tmp_path / "raw", tmp_path / "out").results
    assert [repair["what"] for repair in result.repairs] == [
        "1 normals that are not finite set to zero",
        "1 normals of another length than 1 scaled to it",
    ]
    normal = open_scene(tmp_path / "out" / "train" / "x").normal
    np.testing.assert_allclose(normal[[3, 7, 9, 10]], [[0, 0.6, 0.8], [0, 0, 0], [0, 0, 0], [0, 0, 1]], atol=1e-7)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def pickled(path):
    (path / "color.npy").write_bytes(pickle.dumps(Evil()))


def objects(path):
    np.save(path / "color.npy", np.array([Evil()] * 3, dtype=object), allow_pickle=True)


def save(name, array):
    return lambda path: np.save(path / f"{name}.npy", array)


BAD = {
    "holds no coord.npy": lambda p: (p / "coord.npy").unlink(),
    "coord.npy, row 9: [nan, 0.0, 0.0] is not finite": save(
        "coord", np.where(np.arange(POINTS)[:, None] == 9, [np.nan, 0, 0], 1)
    ),
    "strength.npy, row 0: inf is not finite": save("strength", np.full((POINTS, 1), np.inf)),
    "expected numbers (N, 3)": save("coord", np.zeros((POINTS, 4))),
    "coord.npy holds float64 (), expected numbers (N, 3)": save("coord", np.float64(3)),
    "color.npy holds uint8 (3, 3), expected numbers (200, 3)": save("color", np.zeros((3, 3), np.uint8)),
    "colours from 0 to 0.5 that are not all whole numbers": save(
        "color", np.linspace(0, 0.5, 3 * POINTS).reshape(-1, 3)
    ),
    "colours from 0 to 256": save("color", np.repeat([[0, 256, 3]], POINTS, axis=0)),
    "color.npy is damaged or no array of numbers": pickled,
    "color.npy is damaged or no array of numbers ": objects,
    "coord.npy is damaged": lambda p: (p / "coord.npy").write_bytes((p / "coord.npy").read_bytes()[:-9]),
    "labels that are not in -1..12, the classes of the class file: 13 (1 points), 255 (2 points)": save(
        "segment", np.r_[np.zeros(POINTS - 3, int), 13, 255, 255]
    ),
    "-2 (200 points)": save("segment", np.full(POINTS, -2)),
    "segment.npy holds numbers that are not whole": save("segment", np.full(POINTS, 0.5)),
    "instance.npy holds numbers that are not whole": save("instance", np.full(POINTS, np.nan)),
    "holds no segment.npy but segment20, segment200; name the labels": lambda p: [
        (p / "segment.npy").rename(p / "segment20.npy"),
        save("segment200", np.zeros(POINTS, int))(p),
    ],
    "segment.npy: Is a directory": lambda p: [(p / "segment.npy").unlink(), (p / "segment.npy").mkdir()],
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_scene_is_named_and_the_others_are_prepared(tmp_path, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "raw", "train/good", **s3dis_like())
    BAD[message](folder(tmp_path / "raw", "train/bad", **s3dis_like()))
    good = {r.name: r for r in prepare(tmp_path / "raw", tmp_path / "out").results}
    assert good["train/good"].status == "written"
    assert good["train/bad"].status == "failed"
    assert message.strip() in good["train/bad"].error
    assert not (tmp_path / "executed").exists()


def test_refusals(tmp_path):
    raw = tmp_path / "raw"
    with pytest.raises(InputError, match="there is no folder"):
        pointcept.jobs(raw, CLASSES)
    (raw / "Area_1").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no scenes; expected folders such as"):
        pointcept.jobs(raw, CLASSES)
    (raw / "Area_1" / "office_1.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds \.pth files of an older Pointcept"):
        pointcept.jobs(raw, CLASSES)
    scene = folder(tmp_path, "data/train/x", **s3dis_like())
    with pytest.raises(InputError, match=f"is a scene itself; .* {tmp_path / 'data'}, with --raw"):
        pointcept.jobs(scene, CLASSES)


def test_the_command_and_another_label_name_is_noticed(tmp_path, capsys):
    folder(tmp_path / "raw", "train/x", **scannet_like() | {"segment200": np.zeros(POINTS, int)})
    command = ["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--classes", "s3dis", "--workers", "1"]
    for name, words in (
        ("segment20", "1 scenes written"),
        ("segment20", "1 up to date"),
        ("segment200", "1 scenes wr"),
    ):
        arguments = [*command, "--segment-name", name]
        assert run_module(pointcept.HELP, pointcept.add_arguments, pointcept.run, arguments) == 0
        assert words in capsys.readouterr().out
    assert not open_scene(tmp_path / "out" / "train" / "x").segment.any()
