"""The store of prepared scenes: round trips, refusals, damage of every kind, and kills in mid-write."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from pointseg.atomic import remove_unfinished
from pointseg.data import scene_writer
from pointseg.data.classes import load_classes
from pointseg.data.scene import add_grids, list_scenes, list_splits, open_scene, prepare_root, write_scene
from pointseg.data.voxel import voxelize
from pointseg.errors import InputError


def cloud(n=300, seed=0, **more):
    rng = np.random.default_rng(seed)
    return {
        "coord": rng.uniform(-2, 3, (n, 3)),
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "segment": rng.integers(-1, 4, n),
        "dataset": "toy",
        "sources": [],
        "repairs": [],
        "voxel_sizes": [0.5],
    } | more


@pytest.fixture
def root(tmp_path):
    return prepare_root(tmp_path / "root", load_classes("s3dis"))


def hidden(root):
    return [p for p in root.rglob(".*") if p.name.startswith(".")]


def test_round_trip(root):
    given = cloud(
        instance=np.arange(300),
        normal=np.tile([0.0, 0, 1], (300, 1)),
        sources=[{"name": "a.txt", "bytes": 3}],
        repairs=[{"file": "a.txt"}],
        voxel_sizes=[0.5, 0.25],
    )
    path = write_scene(root, "Area_1", "room_1", **given)
    assert path == root / "Area_1" / "room_1"
    scene = open_scene(path)
    assert (scene.split, scene.name, scene.num_points) == ("Area_1", "room_1", 300)
    assert scene.offset.tolist() == [-2, -2, -2]
    np.testing.assert_allclose(scene.coord + scene.offset, given["coord"], atol=1e-6)
    for key, dtype in {"color": np.uint8, "segment": np.int16, "instance": np.int32, "normal": np.float32}.items():
        array = getattr(scene, key)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, given[key])
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    assert scene.meta["sources"] == given["sources"]
    assert scene.meta["repairs"] == given["repairs"]
    assert scene.meta["counts"] == {str(k): int((given["segment"] == k).sum()) for k in range(-1, 4)}
    assert hidden(root) == []


def test_stored_grids_are_those_of_the_stored_coordinates(root):
    scene = open_scene(write_scene(root, "a", "b", **cloud(voxel_sizes=[0.25, 0.5])))
    assert scene.voxel_sizes == (0.25, 0.5)
    for size in scene.voxel_sizes:
        fresh = voxelize(scene.coord, size, color=scene.color, segment=scene.segment)
        for key, value in vars(fresh).items():
            np.testing.assert_array_equal(getattr(scene.grid(size), key), value)
    with pytest.raises(InputError, match=r"a/b has no voxel grid of 0\.05 m \(stored: 0\.25, 0\.5\)"):
        scene.grid(0.05)


def test_a_scene_without_ground_truth(root):
    scene = open_scene(write_scene(root, "a", "b", **cloud(segment=None)))
    assert scene.segment is None
    assert scene.instance is None
    assert scene.normal is None
    assert scene.grid(0.5).segment is None


def test_far_coordinates_keep_their_millimetres(root):
    coord = np.array([[4_500_000.123, 600_000.456, 100.789], [4_500_003.5, 600_001.0, 99.0]])
    given = cloud(2, coord=coord)
    scene = open_scene(write_scene(root, "a", "b", **given))
    assert scene.offset.tolist() == [4_500_000, 600_000, 99]
    np.testing.assert_allclose(scene.coord.astype(np.float64) + scene.offset, coord, rtol=0, atol=1e-6)


def test_many_open_scenes_hold_no_file_handles(root):
    path = write_scene(root, "a", "b", **cloud(10))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("needs /proc")
    scenes = [open_scene(path) for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(pickle.dumps(scenes[0])) < 3000


def test_scenes_and_splits_are_listed_in_order(root):
    for split, name in [("Area_2", "b"), ("Area_1", "z"), ("Area_1", "a")]:
        write_scene(root, split, name, **cloud(5))
    (root / "sparse_labels" / "x").mkdir(parents=True)
    (root / "Area_1" / ".a.x.tmp").mkdir()
    (root / "Area_9").mkdir()
    assert list_splits(root) == ["Area_1", "Area_2"]
    assert [(s.split, s.name) for s in list_scenes(root)] == [("Area_1", "a"), ("Area_1", "z"), ("Area_2", "b")]
    assert [s.name for s in list_scenes(root, ["Area_2", "Area_2"])] == ["b"]
    with pytest.raises(InputError, match=r"no split 'Area_5'; it has Area_1, Area_2"):
        list_scenes(root, ["Area_5"])
    with pytest.raises(InputError, match="there is no folder"):
        list_splits(root / "nowhere")


def test_split_and_name_are_found_through_relative_paths(root, monkeypatch):
    path = write_scene(root, "Area_1", "a", **cloud(5))
    monkeypatch.chdir(path)
    assert (open_scene(".").split, open_scene(".").name) == ("Area_1", "a")


def test_rewriting_replaces_the_scene(root):
    write_scene(root, "a", "b", **cloud(voxel_sizes=[0.5, 1.0]))
    scene = open_scene(write_scene(root, "a", "b", **cloud(7)))
    assert scene.num_points == 7
    assert not (scene.path / "grid_1").exists()
    assert hidden(root) == []


def test_adding_a_grid_keeps_the_rest(root):
    path = write_scene(root, "a", "b", **cloud())
    (path / ".grid_1.killed.tmp").mkdir()
    scene = add_grids(open_scene(path), [1.0, 0.5])
    assert scene.voxel_sizes == (0.5, 1.0)
    np.testing.assert_array_equal(scene.grid(1.0).inverse, voxelize(scene.coord, 1.0).inverse)
    assert open_scene(path).meta == scene.meta
    assert hidden(root) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"coord": np.zeros((0, 3))}, r"shape \(0, 3\)"),
        ({"coord": np.zeros((300, 2))}, r"shape \(300, 2\)"),
        ({"coord": np.full((300, 3), np.nan)}, r"point 0 is at \[nan"),
        ({"color": np.zeros((299, 3), np.uint8)}, r"color has shape \(299, 3\), expected \(300, 3\)"),
        ({"color": np.full((300, 3), 256)}, r"color is int64 from 256 to 256; it must be whole numbers in 0\.\.255"),
        ({"color": np.full((300, 3), 0.5)}, r"color is float64"),
        ({"segment": np.full(300, -2)}, r"segment is int64 from -2"),
        ({"segment": np.full(300, 1 << 15)}, r"whole numbers in -1\.\.32767"),
        ({"segment": np.zeros((300, 1), int)}, r"segment has shape \(300, 1\)"),
        ({"instance": np.zeros(3, int)}, r"instance has shape"),
        ({"voxel_sizes": [-1.0]}, r"voxel size is -1\.0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(root, more, message):
    with pytest.raises(InputError, match=message):
        write_scene(root, "a", "b", **cloud(**more))
    assert not (root / "a" / "b").exists()


@pytest.mark.parametrize("name", ["", ".hidden", "..", "x/y", "sparse_labels"])
def test_names_that_are_no_plain_folders_are_refused(root, name):
    with pytest.raises(InputError, match="plain folder name"):
        write_scene(root, "a", name, **cloud(3))


def edit_meta(path, **changes):
    meta = json.loads((path / "meta.json").read_text()) | changes
    (path / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if v is not None}))


def truncate(file, keep):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])


DAMAGES = {
    "coord.npy is missing": lambda p: (p / "coord.npy").unlink(),
    "segment.npy is missing": lambda p: (p / "segment.npy").unlink(),
    "color.npy is damaged or truncated": lambda p: truncate(p / "color.npy", 0.5),
    "coord.npy is damaged or truncated ": lambda p: truncate(p / "coord.npy", 0),
    "segment.npy is damaged or truncated": lambda p: truncate(p / "segment.npy", 0.05),
    "color.npy is damaged or truncated  ": lambda p: (p / "color.npy").write_bytes(b"\x80pickle"),
    r"segment.npy holds int16 \(9,\), expected int16 \(300,\)": lambda p: np.save(
        p / "segment.npy", np.zeros(9, np.int16)
    ),
    r"segment.npy holds float64 \(300,\)": lambda p: np.save(p / "segment.npy", np.zeros(300)),
    r"coord.npy holds float32 \(300, 2\), expected float32 \(300, 3\)": lambda p: np.save(
        p / "coord.npy", np.zeros((300, 2), np.float32)
    ),
    r"coord.npy holds float32 \(\)": lambda p: np.save(p / "coord.npy", np.float32(3)),
    r"color.npy is damaged .*no plain number": lambda p: np.save(p / "color.npy", np.array([{}]), allow_pickle=True),
    r"grid_0.5/inverse.npy is missing": lambda p: (p / "grid_0.5" / "inverse.npy").unlink(),
    r"grid_0.5/point.npy holds int64 \(1,\)": lambda p: np.save(p / "grid_0.5" / "point.npy", np.zeros(1, np.int64)),
    r"grid_0.5/coord.npy is missing": lambda p: shutil.rmtree(p / "grid_0.5"),
    "meta.json is missing": lambda p: (p / "meta.json").unlink(),
    "meta.json is damaged": lambda p: truncate(p / "meta.json", 0.5),
    "meta.json is damaged ": lambda p: (p / "meta.json").write_bytes(b"\xff\xfe"),
    "has format version 99, this program reads version 1": lambda p: edit_meta(p, format_version=99),
    "has format version None": lambda p: (p / "meta.json").write_text("[]"),
    "holds None for 'num_points'": lambda p: edit_meta(p, num_points=None),
    "holds {'axis_alignment': 3} for 'facts'": lambda p: edit_meta(p, facts={"axis_alignment": 3}),
    "axis_alignment.* for 'facts'": lambda p: edit_meta(p, facts={"axis_alignment": [[1, 0, 0, "0"]] * 4}),
    "names unknown arrays feature": lambda p: edit_meta(p, arrays=["coord", "feature"]),
    "there is no scene folder": shutil.rmtree,
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_scene_is_refused_with_one_sentence(root, message):
    path = write_scene(root, "a", "b", **cloud())
    DAMAGES[message](path)
    with pytest.raises(InputError, match=message.strip()) as caught:
        open_scene(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("call", [1, 3, 6])
def test_a_write_that_breaks_off_leaves_no_scene_and_keeps_the_old_one(root, monkeypatch, error, replacing, call):
    if replacing:
        write_scene(root, "a", "b", **cloud(20))
    calls = []
    save = scene_writer.save_array

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise error
        save(*args, **kwargs)

    monkeypatch.setattr(scene_writer, "save_array", failing)
    with pytest.raises(type(error)):
        write_scene(root, "a", "b", **cloud())
    monkeypatch.undo()
    assert [s.num_points for s in list_scenes(root)] == ([20] if replacing else [])
    assert hidden(root) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_in_mid_write_leaves_no_scene(root):
    script = """
        import os, signal, sys
        import numpy as np
        from pointseg.data import scene_writer
        from pointseg.data.scene import write_scene
        save, calls = scene_writer.save_array, []
        def dying(*args, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            save(*args, **kwargs)
        scene_writer.save_array = dying
        zeros = np.zeros((50, 3))
        write_scene(sys.argv[1], "a", "b", coord=zeros, color=zeros.astype(np.uint8), segment=np.zeros(50, int),
                    dataset="toy", sources=[], repairs=[], voxel_sizes=[0.1])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(hidden(root)) == 1
    assert list_scenes(root) == []
    remove_unfinished(root / "a")
    assert hidden(root) == []
    assert open_scene(write_scene(root, "a", "b", **cloud())).num_points == 300


def test_a_root_keeps_a_copy_of_its_classes_and_refuses_others(root, tmp_path):
    classes = load_classes("s3dis")
    assert load_classes(root / "classes.yaml") == classes
    assert prepare_root(root, classes) == root
    write_scene(root, "a", "b", **cloud())
    other = tmp_path / "other.yaml"
    for old, new in [("name: board", "name: poster"), ("[50, 50, 50]", "[51, 50, 50]")]:
        text = (root / "classes.yaml").read_text()
        assert old in text
        other.write_text(text.replace(old, new))
        with pytest.raises(InputError, match="was prepared with other classes"):
            prepare_root(root, load_classes(other))


def test_a_root_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        prepare_root(tmp_path / "file" / "root", load_classes("s3dis"))
