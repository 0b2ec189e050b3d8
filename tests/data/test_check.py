"""Verifying a prepared root: a whole one passes, and every kind of damage is named, whatever the size of the chunks."""

import errno
import json
import shutil
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from pointseg.data import check
from pointseg.data.check import check_root, scene_folders
from pointseg.data.classes import load_classes
from pointseg.data.scene import add_grids, hash_file, open_scene, prepare_root, write_scene
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError

POINTS = 300
GRID = "grid_0.5"


def write(root, split, name, n=POINTS, seed=0, **more):
    rng = np.random.default_rng(seed)
    given = {
        "coord": rng.uniform(-1.3, 3, (n, 3)) + np.array([5e5, 4e6, 0]),
        "color": rng.integers(0, 256, (n, 3)).astype(np.uint8),
        "segment": rng.integers(-1, 4, n),
        "intensity": rng.uniform(0, 9, n).astype(np.float32),
        "normal": np.tile([0.0, 0, 1], (n, 1)),
        "dataset": "toy",
        "sources": [],
        "voxel_sizes": [0.5, 0.25],
    }
    return write_scene(root, split, name, **(given | more))


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    write(root, "Area_1", "a")
    write(root, "Area_1", "b", seed=1, color=None, segment=None, intensity=None, normal=None)
    write(root, "Area_2", "a", seed=2)
    draw(root, "2pt", seed=0, voxel_size=0.5, splits=["Area_2"])
    return root


def replace(scene, name, change):
    """Change an array in place of the program that wrote it: its stored hash is the new content's."""
    path = scene / f"{name}.npy"
    array = np.load(path)
    np.save(path, change(array))
    edit(scene, lambda meta: meta["sha256"].update({f"{name}.npy": hash_file(path)}))


def edit(scene, change):
    meta = json.loads((scene / "meta.json").read_text())
    change(meta)
    (scene / "meta.json").write_text(json.dumps(meta))


def put(row, value):
    def change(array):
        array[row] = value
        return array

    return change


def swap_two_voxels(scene):
    """Voxels 6 and 7 change places in everything, so that only the order of the rows is wrong."""
    order = np.arange(10_000)
    order[[6, 7]] = 7, 6
    for name in ("coord", "point"):
        replace(scene, f"{GRID}/{name}", lambda a: a[order[: len(a)]])
    replace(scene, f"{GRID}/inverse", lambda a: order[a])


def list_a_voxel_twice(scene):
    """A voxel of several points is cut in two rows with the same place."""
    inverse = np.load(scene / GRID / "inverse.npy")
    voxel = int(np.flatnonzero(np.bincount(inverse) > 1)[0])
    last = int(np.flatnonzero(inverse == voxel)[-1])
    for name in ("coord", "color", "segment", "intensity"):
        replace(scene, f"{GRID}/{name}", lambda a: np.insert(a, voxel, a[voxel], axis=0))
    replace(scene, f"{GRID}/point", lambda a: np.insert(a, voxel + 1, last))
    replace(scene, f"{GRID}/inverse", lambda a: put(last, voxel + 1)(a + (a > voxel)))
    edit(scene, lambda meta: meta["grids"]["0.5"].update(num_voxels=meta["grids"]["0.5"]["num_voxels"] + 1))


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def an_unstored_class(scene):
    replace(scene, "segment", put(250, 13))


DAMAGES = {
    "coord.npy was changed after it was written": lambda s: flip_a_bit(s / "coord.npy"),
    "grid_0.5/color.npy was changed after it was written": lambda s: flip_a_bit(s / GRID / "color.npy"),
    "coord.npy is missing": lambda s: (s / "coord.npy").unlink(),
    "old.npy is gone although its hash is stored": lambda s: edit(s, lambda m: m["sha256"].update({"old.npy": "0"})),
    "coord.npy holds [nan, nan, nan] at point 271": lambda s: replace(s, "coord", put(271, np.nan)),
    "intensity.npy holds inf at point 5": lambda s: replace(s, "intensity", put(5, np.inf)),
    "normal.npy holds [nan, 0.0, 1.0] at point 299": lambda s: replace(s, "normal", put((299, 0), np.nan)),
    "segment.npy holds class 13 in row 250, but classes.yaml allows -1..12": an_unstored_class,
    "points of class -1, but meta.json counts": lambda s: replace(
        s, "segment", lambda a: np.where(a < 0, 9, a).astype(a.dtype)
    ),
    "grid_0.5/segment.npy holds class 77 in row 3": lambda s: replace(s, f"{GRID}/segment", put(3, 77)),
    "grid_0.5/intensity.npy holds nan at point 3": lambda s: replace(s, f"{GRID}/intensity", put(3, np.nan)),
    "grid_0.5/coord.npy holds": lambda s: edit(s, lambda m: m["grids"]["0.5"].update(num_voxels=1)),
    "grid_0.5/inverse.npy holds -1 in row 17": lambda s: replace(s, f"{GRID}/inverse", put(17, -1)),
    "grid_0.5/inverse.npy holds 100000 in row 17": lambda s: replace(s, f"{GRID}/inverse", put(17, 100_000)),
    "grid_0.5/point.npy holds 300 in row 2": lambda s: replace(s, f"{GRID}/point", put(2, 300)),
    "grid_0.5/inverse.npy puts point 200 into voxel": lambda s: replace(
        s, f"{GRID}/inverse", lambda a: put(200, (a[200] + 1) % 50)(a)
    ),
    "grid_0.5/point.npy gives voxel 9 the representative": lambda s: replace(
        s, f"{GRID}/point", lambda a: put(9, a[10])(a)
    ),
    "grid_0.5/coord.npy has the voxels 6 and 7 twice or out of Morton order": swap_two_voxels,
    "twice or out of Morton order": list_a_voxel_twice,
    "grid_9 is not among the grids of meta.json": lambda s: (s / "grid_9").mkdir(),
    "meta.json is missing": lambda s: (s / "meta.json").unlink(),
    "meta.json is damaged": lambda s: (s / "meta.json").write_text("{"),
    "meta.json holds 7 for 'counts'": lambda s: edit(s, lambda m: m.update(counts=7)),
    "meta.json holds {'0.5': 7} for 'grids'": lambda s: edit(s, lambda m: m.update(grids={"0.5": 7})),
}


@pytest.mark.parametrize("chunk", [7, check.CHUNK])
def test_a_whole_root_has_no_problems(root, chunk, monkeypatch):
    monkeypatch.setattr(check, "CHUNK", chunk)
    seen = []
    report = check_root(root, watch=lambda folders: (seen.append(f) or f for f in folders))
    assert report.problems == ()
    assert report.no_hashes == ()
    assert (report.scenes, report.points, report.draws) == (3, 3 * POINTS, 1)
    assert seen == [root / "Area_1" / "a", root / "Area_1" / "b", root / "Area_2" / "a"]


@pytest.mark.parametrize("chunk", [7, check.CHUNK])
@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_named_in_its_scene_and_nowhere_else(root, message, chunk, monkeypatch):
    monkeypatch.setattr(check, "CHUNK", chunk)
    DAMAGES[message](root / "Area_1" / "a")
    report = check_root(root)
    assert any(message in problem for problem in report.problems), report.problems
    assert all(problem.startswith("Area_1/a: ") for problem in report.problems)
    assert all("\n" not in problem for problem in report.problems)
    assert report.scenes == 3


@pytest.mark.parametrize("damage", [swap_two_voxels, list_a_voxel_twice])
def test_a_wrong_order_is_the_only_problem_of_a_grid_that_is_right_otherwise(root, damage):
    damage(root / "Area_1" / "a")
    assert len(check_root(root).problems) == 1


def test_one_bad_scene_does_not_hide_another(root):
    (root / "Area_1" / "a" / "meta.json").write_text("{")
    flip_a_bit(root / "Area_1" / "b" / "coord.npy")
    (root / "Area_2" / "a" / "coord.npy").unlink()
    scenes = {problem.split(": ")[0] for problem in check_root(root).problems}
    assert scenes == {"Area_1/a", "Area_1/b", "Area_2/a", "draw 2pt_seed0"}


def test_a_file_that_cannot_be_read_is_a_problem_of_its_scene(root, monkeypatch):
    def failing(path):
        if path.parent.name == "b":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return hash_file(path)

    monkeypatch.setattr(check, "hash_file", failing)
    (problem,) = check_root(root).problems
    assert problem.startswith("Area_1/b: ")
    assert "coord.npy cannot be read (Input/output error)" in problem


def test_scenes_prepared_before_hashes_were_stored_pass_with_a_note(root):
    edit(root / "Area_1" / "a", lambda meta: meta.pop("sha256"))
    edit(root / "Area_2" / "a", lambda meta: meta.pop("sha256"))
    add_grids(open_scene(root / "Area_2" / "a"), [1.0])
    report = check_root(root)
    assert report.problems == ()
    assert report.no_hashes == ("Area_1/a", "Area_2/a")


def test_what_killed_runs_left_is_named(root):
    left = [
        root / ".classes.12.tmp.yaml",
        root / "Area_1" / ".c.x1.tmp",
        root / "Area_1" / "a" / ".grid_1.x2.tmp",
        root / "sparse_labels" / ".3pt_seed0.x3.tmp",
    ]
    for path in left:
        path.mkdir()
    problems = check_root(root).problems
    assert len(problems) == len(left)
    assert all(any(str(path) in problem for problem in problems) for path in left)


def test_labels_cannot_be_compared_without_a_class_file(root):
    (root / "classes.yaml").unlink()
    (problem,) = check_root(root).problems
    assert "there is no class file" in problem
    assert "labels were not compared" in problem


def change_a_label(path):
    np.save(path, put((0, 0), np.load(path)[0, 0])(np.load(path))[::-1].copy())


DRAW_DAMAGES = {
    "Area_2/a were changed after they were drawn": lambda d: change_a_label(d / "Area_2" / "a.npy"),
    "made on other data": lambda d: np.save(d / "Area_2" / "a.npy", np.zeros((1, 2), np.int64)),
    "a.npy is missing": lambda d: (d / "Area_2" / "a.npy").unlink(),
    "spec.json is missing or damaged": lambda d: (d / "spec.json").unlink(),
    "covers Area_2/a, which is no readable scene": lambda d: shutil.rmtree(d.parents[1] / "Area_2" / "a"),
}


@pytest.mark.parametrize("message", DRAW_DAMAGES)
def test_a_damaged_draw_is_named(root, message):
    DRAW_DAMAGES[message](root / "sparse_labels" / "2pt_seed0")
    (problem,) = check_root(root).problems
    assert problem.startswith("draw 2pt_seed0: ")
    assert message in problem


def test_memory_is_bounded_by_the_chunk_and_not_by_the_scene(tmp_path, monkeypatch):
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    scene = write(root, "x", "y", n=200_000, voxel_sizes=[0.02])
    size = sum(path.stat().st_size for path in scene.rglob("*.npy"))
    monkeypatch.setattr(check, "CHUNK", 4096)
    tracemalloc.start()
    try:
        assert check_root(root).problems == ()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 10


def test_the_order_of_rows_agrees_with_interleaved_bits():
    rng = np.random.default_rng(0)
    coord = rng.integers(0, 1 << rng.integers(1, 21, (2000, 1)), (2000, 3))
    coord[rng.integers(1, 2000, 100)] = coord[0]

    def key(row):
        return sum(((int(value) >> bit) & 1) << (3 * bit + axis) for axis, value in enumerate(row) for bit in range(21))

    keys = [key(row) for row in coord]
    expected = [after > before for before, after in pairwise(keys)]
    assert check._rises(coord).tolist() == expected


def test_refusals_and_what_counts_as_a_scene(root, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        check_root(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no prepared scenes"):
        check_root(tmp_path / "empty")
    (root / "Area_9" / "notes").mkdir(parents=True)
    (root / "Area_9" / ".hidden").mkdir()
    (root / "Area_9" / "half").mkdir()
    (root / "Area_9" / "half" / "coord.npy").write_bytes(b"")
    assert [f"{p.parent.name}/{p.name}" for p in scene_folders(root)] == [
        "Area_1/a",
        "Area_1/b",
        "Area_2/a",
        "Area_9/half",
    ]
