"""A stored draw is never silently another one, and what cannot be drawn is refused."""

import shutil

import numpy as np
import pytest
from label_roots import four_scenes

from pointseg.data import label_writer
from pointseg.data.scene import list_scenes, open_scene, write_scene
from pointseg.data.sparse_labels import draw, open_labels
from pointseg.errors import InputError

VOXEL = 0.2

SETTINGS = {"seed": 0, "voxel_size": VOXEL}


def add_scene(root, split, name, seed=0, n=300):
    rng = np.random.default_rng(seed)
    write(root, split, name, rng.uniform(0, 2, (n, 3)), rng.integers(-1, 3, n))


def write(root, split, name, coord, segment):
    write_scene(root, split, name, coord=coord, segment=segment, dataset="toy", sources=[], voxel_sizes=[VOXEL])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return four_scenes(tmp_path_factory.mktemp("labels"), add_scene)


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "root")


def everything(labels, root):
    return [[a.tolist() for a in labels.for_scene(s)] for s in list_scenes(root, labels.spec["splits"])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "2%"}, "rule 1% there, 2% now"),
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"splits": ["Area_1", "Area_2"]}, r"splits \['Area_1'\] there"),
        ({"voxel_size": 0.1}, r"voxel_size 0\.2 there, 0\.1 now"),
    ],
)
def test_other_settings_under_the_same_name_are_refused(root, change, message):
    settings = {"rule": "1%", "splits": ["Area_1"], "name": "mine"} | SETTINGS
    first = draw(root, **settings)
    before = everything(first, root)
    with pytest.raises(InputError, match=message):
        draw(root, **(settings | change))
    assert everything(open_labels(root, "mine"), root) == before


def test_another_set_of_scenes_under_the_same_name_is_refused(root):
    draw(root, "1%", splits=["Area_1"], **SETTINGS)
    add_scene(root, "Area_1", "c", 9)
    with pytest.raises(InputError, match=r"held other scenes \(differing: Area_1/c\)"):
        draw(root, "1%", splits=["Area_1"], **SETTINGS)


def test_a_changed_file_is_noticed(root):
    labels = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    file = labels.path / "Area_1" / "a.npy"
    rows = np.load(file)
    rows[0, 0] = next(
        i
        for i, k in enumerate(open_scene(root / "Area_1" / "a").segment.tolist())
        if k == rows[0, 1] and i not in rows[:, 0]
    )
    np.save(file, rows)
    with pytest.raises(InputError, match="was changed after it was drawn"):
        draw(root, "1%", splits=["Area_1"], **SETTINGS)


@pytest.mark.parametrize("row", [[0, 5], [-1, 0], [300, 0]])
def test_labels_that_disagree_with_the_scene_are_refused(root, row):
    labels = draw(root, "1pt", splits=["Area_1"], **SETTINGS)
    file = labels.path / "Area_1" / "a.npy"
    rows = np.load(file)
    rows[0] = row
    np.save(file, rows)
    with pytest.raises(InputError, match=r"made on other data than scene Area_1/a holds now; delete .* and draw again"):
        labels.for_scene(open_scene(root / "Area_1" / "a"))


def test_a_scene_prepared_anew_from_other_data_is_refused(root):
    labels = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    add_scene(root, "Area_1", "a", seed=77)
    with pytest.raises(InputError, match="made on other data"):
        labels.for_scene(open_scene(root / "Area_1" / "a"))
    add_scene(root, "Area_1", "a", seed=0, n=299)
    with pytest.raises(InputError, match="made on other data"):
        draw(root, "1%", splits=["Area_1"], **SETTINGS)


def test_a_scene_that_is_not_covered_is_refused(root):
    labels = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    with pytest.raises(InputError, match=r"'1pct_seed0' does not cover scene Area_5/a; it covers the splits Area_1 "):
        labels.for_scene(open_scene(root / "Area_5" / "a"))


def test_damaged_draws_are_refused(root):
    labels = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    scene = open_scene(root / "Area_1" / "a")
    file = labels.path / "Area_1" / "a.npy"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"a\.npy is damaged or truncated"):
        labels.for_scene(scene)
    file.unlink()
    with pytest.raises(InputError, match=r"a\.npy is missing"):
        labels.for_scene(scene)
    spec = labels.path / "spec.json"
    for text, message in [("{", "damaged"), ("[]", "not of version 1"), ('{"spec_version": 1}', "lacks rule, seed")]:
        spec.write_text(text)
        with pytest.raises(InputError, match=message):
            open_labels(root, labels.name)
    spec.unlink()
    with pytest.raises(InputError, match=r"spec\.json is missing or damaged"):
        open_labels(root, labels.name)


def test_a_draw_that_breaks_off_leaves_nothing(root, monkeypatch):
    def failing(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(label_writer, "save_array", failing)
    with pytest.raises(KeyboardInterrupt):
        draw(root, "1%", splits=["Area_1"], **SETTINGS)
    assert list((root / "sparse_labels").iterdir()) == []


def test_draws_that_cannot_be_made_are_refused(root):
    for change, message in [
        ({"seed": -1}, "seed is -1"),
        ({"splits": []}, "no splits"),
        ({"splits": ["Area_7"]}, r"no split 'Area_7'; it has Area_1, Area_2, Area_5"),
        ({"voxel_size": 0.3}, r"no voxel grid of 0\.3 m \(stored: 0\.2\)"),
        ({"name": "../mine"}, "cannot name a draw"),
        ({"name": ".mine"}, "cannot name a draw"),
    ]:
        with pytest.raises(InputError, match=message):
            draw(root, **({"rule": "1%", "splits": ["Area_1"]} | SETTINGS | change))
    with pytest.raises(InputError, match=r"no sparse labels named 'x'; it has none; draw some with 'pointseg label'"):
        open_labels(root, "x")


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (None, "no ground truth"),
        (np.full(4, -1), "only ignored points"),
        (np.full(4, 13), "holds class 13, but .* names 13"),
    ],
)
def test_scenes_without_usable_ground_truth_are_refused(root, segment, message):
    write(root, "Area_3", "x", np.zeros((4, 3)), segment)
    with pytest.raises(InputError, match=message):
        draw(root, "1%", splits=["Area_3"], **SETTINGS)
    assert list((root / "sparse_labels").iterdir()) == []


@pytest.mark.parametrize(
    "rule",
    [
        "5",
        "0%",
        "0.0%",
        "200%",
        "100.1%",
        "-1%",
        "-1pt",
        "0pt",
        "1.5pt",
        "pt",
        "%",
        "",
        "1 %",
        "1%%",
        "1e1%",
        "٣%",
        "/scene",
        "1%/class",
        "0pt/scene",
    ],
)
def test_a_bad_rule_is_refused_saying_what_is_allowed(root, rule):
    with pytest.raises(
        InputError, match=r"such as '0\.1%', or points per class from 1, such as '20pt', and add '/scene'"
    ):
        draw(root, rule, splits=["Area_1"], **SETTINGS)
    assert not (root / "sparse_labels").exists()
