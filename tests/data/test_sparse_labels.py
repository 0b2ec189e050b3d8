"""Drawn sparse labels: how many, which, stored how."""

import hashlib
import json
import math
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from label_roots import four_scenes

from pointseg.data.classes import load_classes
from pointseg.data.scene import list_scenes, prepare_root, write_scene
from pointseg.data.sparse_labels import draw, open_labels

VOXEL = 0.2

SETTINGS = {"seed": 0, "voxel_size": VOXEL}


def add_scene(root, split, name, seed, n=3000):
    rng = np.random.default_rng(seed)
    segment = rng.choice([-1, 0, 1, 2, 12], n, p=[0.1, 0.5, 0.3, 0.09, 0.01])
    return write_scene(
        root,
        split,
        name,
        coord=rng.uniform(0, 2, (n, 3)),
        color=np.zeros((n, 3), np.uint8),
        segment=segment,
        dataset="toy",
        sources=[],
        repairs=[],
        voxel_sizes=[VOXEL],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return four_scenes(tmp_path_factory.mktemp("labels"), add_scene)


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "root")


def everything(labels, root, splits=None):
    return {
        f"{s.split}/{s.name}": [a.tolist() for a in labels.for_scene(s)]
        for s in list_scenes(root, splits or labels.spec["splits"])
    }


def representatives(scene) -> dict[tuple[int, ...], int]:
    """Slow twin: voxel -> its lowest point."""
    first: dict[tuple[int, ...], int] = {}
    for i, position in enumerate(scene.coord.tolist()):
        first.setdefault(tuple(math.floor(x / VOXEL) for x in position), i)
    return first


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("1%", lambda n: max(n * 1 // 100, 1)),
        ("0.1%", lambda n: max(n * 1 // 1000, 1)),
        ("29%", lambda n: max(n * 29 // 100, 1)),
        ("100%", lambda n: n),
        ("1pt", lambda n: 1),
        ("20pt", lambda n: min(20, n)),
    ],
)
def test_counts_per_scene_and_class(root, rule, number):
    labels = draw(root, rule, splits=["Area_1", "Area_2"], **SETTINGS)
    total = Counter()
    for scene in list_scenes(root, ["Area_1", "Area_2"]):
        candidates = representatives(scene)
        available = Counter(int(scene.segment[i]) for i in candidates.values())
        index, label = labels.for_scene(scene)
        assert index.dtype == np.int64
        assert label.dtype == np.int16
        assert (np.diff(index) > 0).all()
        assert set(index.tolist()) <= set(candidates.values())
        np.testing.assert_array_equal(label, scene.segment[index])
        expected = {k: number(n) for k, n in available.items() if k >= 0}
        assert Counter(label.tolist()) == expected
        total.update(expected)
    assert labels.counts.tolist() == [total[k] for k in range(13)]


def test_stored_files_and_spec(root):
    labels = draw(root, "1%", splits=["Area_2", "Area_1"], **SETTINGS)
    assert labels.path == root / "sparse_labels" / "1pct_seed0"
    files = sorted(str(p.relative_to(labels.path)) for p in labels.path.rglob("*") if p.is_file())
    assert files == ["Area_1/a.npy", "Area_1/b.npy", "Area_2/a.npy", "spec.json"]
    rows = np.load(labels.path / "Area_1" / "a.npy")
    assert rows.dtype == np.int64
    assert rows.shape[1] == 2
    spec = json.loads((labels.path / "spec.json").read_text())
    assert spec == labels.spec
    assert {key: spec[key] for key in ("rule", "seed", "voxel_size", "splits")} == {
        "rule": "1%",
        "seed": 0,
        "voxel_size": VOXEL,
        "splits": ["Area_1", "Area_2"],
    }
    scenes = list_scenes(root, ["Area_1", "Area_2"])
    points, voxels = 9000, sum(len(s.grid(VOXEL).coord) for s in scenes)
    number = sum(len(labels.for_scene(s)[0]) for s in scenes)
    assert (spec["num_labels"], spec["num_points"], spec["num_voxels"]) == (number, points, voxels)
    assert spec["share_of_points"] == pytest.approx(number / points)
    assert spec["share_of_voxels"] == pytest.approx(number / voxels)
    assert sum(spec["counts"]) == number
    assert spec["class_points"][12] == sum(int((s.segment == 12).sum()) for s in scenes)
    assert spec["class_voxels"][0] == sum(int((s.segment[s.grid(VOXEL).point] == 0).sum()) for s in scenes)
    assert spec["created_by"].startswith("pointseg ")
    assert open_labels(root, "1pct_seed0").spec == spec


def test_a_draw_does_not_depend_on_what_else_is_drawn(root):
    both = everything(draw(root, "1%", splits=["Area_1", "Area_2"], **SETTINGS), root)
    alone = everything(draw(root, "1%", splits=["Area_2"], name="alone", **SETTINGS), root)
    reverse = everything(draw(root, "1%", splits=["Area_2", "Area_1"], name="reverse", **SETTINGS), root)
    assert alone == {"Area_2/a": both["Area_2/a"]}
    assert reverse == both


def test_the_same_settings_again_change_nothing(root):
    first = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    times = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    again = draw(root, "1.0%", splits=["Area_1", "Area_1"], **SETTINGS)
    assert again.spec == first.spec
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*")} == times


@pytest.mark.parametrize(("rule", "number"), [("1%/scene", lambda n: max(n // 100, 1)), ("25pt/scene", lambda n: 25)])
def test_counts_per_scene(root, rule, number):
    labels = draw(root, rule, splits=["Area_1"], **SETTINGS)
    assert labels.spec["rule"] == rule
    for scene in list_scenes(root, ["Area_1"]):
        candidates = set(representatives(scene).values())
        index, label = labels.for_scene(scene)
        assert len(index) == number(sum(scene.segment[i] >= 0 for i in candidates))
        assert set(index.tolist()) <= candidates
        np.testing.assert_array_equal(label, scene.segment[index])


@pytest.mark.parametrize(
    ("rule", "spec_hash", "file_hashes"),
    [
        (
            "5%",
            "819669b3fa4d2b3112c195319a8ebe818056edd7634b9f802861e51f2de38dbb",
            ["eca274e4c542fd19", "e965d6842542be0b"],
        ),
        (
            "3pt",
            "0f1d402d7766f0f43dbcc45a70400ddaa122cf9dba9ed39227a59944231c1c3c",
            ["04cf4ebc57d2e386", "96d28e313a701937"],
        ),
    ],
)
def test_the_stored_bytes_stay_what_they_were(tmp_path, rule, spec_hash, file_hashes):
    """Written down before there were rules over the scene and imports; only the program's version may differ."""
    root = prepare_root(tmp_path / "root", load_classes("s3dis"))
    for split, name, seed in (("Area_1", "a", 1), ("Area_2", "b", 2)):
        raw = np.random.PCG64(seed).random_raw(4 * 800).reshape(4, 800)
        write_scene(
            root,
            split,
            name,
            coord=(raw[:3] >> np.uint64(40)).T.astype(np.float64) / 2**23,
            color=np.zeros((800, 3), np.uint8),
            segment=(raw[3] % np.uint64(5)).astype(int) - 1,
            dataset="toy",
            sources=[],
            voxel_sizes=[0.25],
        )
    labels = draw(root, rule, seed=4, voxel_size=0.25, splits=["Area_1", "Area_2"])
    spec = re.sub(r'"created_by": "[^"]*"', '"created_by": ""', (labels.path / "spec.json").read_text())
    assert hashlib.sha256(spec.encode()).hexdigest() == spec_hash
    files = sorted(labels.path.rglob("*.npy"))
    assert [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files] == file_hashes


def test_class_weights_are_those_of_the_labelled_points(root):
    labels = draw(root, "2pt", splits=["Area_1"], **SETTINGS)
    assert labels.counts.tolist()[:3] == [4, 4, 4]
    weights = labels.class_weights("inverse")
    np.testing.assert_allclose(weights[:3], labels.counts.sum() / 4)
    assert weights[3] == 0
