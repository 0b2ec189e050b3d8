"""The draw of sparse labels: how many, which, stored how, and that a stored draw is never silently another one."""

import json
import math
import shutil
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointseg.data.classes import load_classes
from pointseg.data.label_rule import draw_points, parse_rule
from pointseg.data.scene import list_scenes, open_scene, prepare_root, write_scene
from pointseg.data.sparse_labels import default_name, draw, open_labels
from pointseg.errors import InputError

VOXEL = 0.2
PINNED = [30, 36, 42, 58, 82, 92, 118, 122, 146]
"""A draw written down once, so that a change of the generator or of NumPy shows."""

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
    root = prepare_root(tmp_path_factory.mktemp("labels") / "root", load_classes("s3dis"))
    for seed, (split, name) in enumerate([("Area_1", "a"), ("Area_1", "b"), ("Area_2", "a"), ("Area_5", "a")]):
        add_scene(root, split, name, seed)
    return root


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


def test_rate_is_exact_where_floats_are_not():
    assert int(0.29 * 100) == 28
    assert parse_rule("29%").number(100) == 29
    assert parse_rule("0.1%").number(3000) == 3


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_number_is_the_published_formula(per_mille_of_percent, candidates):
    rate = Fraction(per_mille_of_percent, 10**6)
    text = f"{per_mille_of_percent / 10**4:.4f}%"
    rule = parse_rule(text)
    assert rule.rate == rate
    assert rule.number(candidates) == max(candidates * per_mille_of_percent // 10**6, 1)


@pytest.mark.parametrize(
    ("given_text", "text", "label"),
    [
        ("1%", "1%", "1pct"),
        ("1.0%", "1%", "1pct"),
        ("00.10%", "0.1%", "0.1pct"),
        ("0.02%", "0.02%", "0.02pct"),
        ("100%", "100%", "100pct"),
        ("10%", "10%", "10pct"),
        ("12.5%", "12.5%", "12.5pct"),
        ("1pt", "1pt", "1pt"),
        ("020pt", "20pt", "20pt"),
    ],
)
def test_a_rule_has_one_spelling(given_text, text, label):
    assert parse_rule(given_text).text == text
    assert parse_rule(text) == parse_rule(given_text)
    assert default_name(given_text, 3) == f"{label}_seed3"


@pytest.mark.parametrize(
    "rule",
    ["5", "0%", "0.0%", "200%", "100.1%", "-1%", "-1pt", "0pt", "1.5pt", "pt", "%", "", "1 %", "1%%", "1e1%", "٣%"],
)
def test_a_bad_rule_is_refused_saying_what_is_allowed(root, rule):
    with pytest.raises(InputError, match=r"such as '0\.1%', or points per class from 1, such as '20pt'"):
        draw(root, rule, splits=["Area_1"], **SETTINGS)
    assert not (root / "sparse_labels").exists()


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


def test_scenes_of_one_name_in_two_splits_get_draws_of_their_own():
    candidates, label = np.arange(1000), np.zeros(1000, int)
    rule = parse_rule("10pt")
    draws = [draw_points(candidates, label, rule, seed=0, scene=s)[0].tolist() for s in ("Area_1/a", "Area_2/a")]
    assert draws[0] != draws[1]


def test_the_draw_is_the_same_on_every_machine():
    index, label = draw_points(
        np.arange(0, 200, 2), np.arange(100) % 3, parse_rule("3pt"), seed=0, scene="Area_1/office_1"
    )
    assert index.tolist() == PINNED
    np.testing.assert_array_equal(label, (index // 2) % 3)


def test_seeds_differ_and_every_candidate_can_win():
    candidates, label = np.arange(10, 20), np.zeros(10, int)
    wins = Counter(
        int(draw_points(candidates, label, parse_rule("1pt"), seed=seed, scene="a/b")[0][0]) for seed in range(1000)
    )
    assert set(wins) == set(range(10, 20))
    # Chi-square with 9 degrees of freedom: 27.9 is exceeded with probability 0.001.
    assert sum((n - 100) ** 2 / 100 for n in wins.values()) < 27.9


def test_smaller_rates_are_subsets_of_larger_ones():
    candidates, label = np.arange(5000), np.arange(5000) % 4
    drawn = [
        set(draw_points(candidates, label, parse_rule(rule), seed=0, scene="a/b")[0].tolist())
        for rule in ("1pt", "0.1%", "1%", "10%", "100%")
    ]
    assert all(small <= large for small, large in pairwise(drawn))
    assert drawn[-1] == set(range(5000))


def test_order_of_candidates_does_not_matter():
    rng = np.random.default_rng(0)
    candidates, label = rng.permutation(1000), rng.integers(-1, 3, 1000)
    shuffle = rng.permutation(1000)
    one = draw_points(candidates, label, parse_rule("5%"), seed=2, scene="a/b")
    other = draw_points(candidates[shuffle], label[shuffle], parse_rule("5%"), seed=2, scene="a/b")
    np.testing.assert_array_equal(one, other)


def test_the_same_settings_again_change_nothing(root):
    first = draw(root, "1%", splits=["Area_1"], **SETTINGS)
    times = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    again = draw(root, "1.0%", splits=["Area_1", "Area_1"], **SETTINGS)
    assert again.spec == first.spec
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*")} == times


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


@pytest.mark.parametrize("row", [[0, 5], [-1, 0], [3000, 0]])
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
    add_scene(root, "Area_1", "a", seed=0, n=2999)
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

    monkeypatch.setattr(np, "save", failing)
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
    coord, color = np.zeros((4, 3)), np.zeros((4, 3), np.uint8)
    write_scene(
        root,
        "Area_3",
        "x",
        coord=coord,
        color=color,
        segment=segment,
        dataset="toy",
        sources=[],
        repairs=[],
        voxel_sizes=[VOXEL],
    )
    with pytest.raises(InputError, match=message):
        draw(root, "1%", splits=["Area_3"], **SETTINGS)
    assert list((root / "sparse_labels").iterdir()) == []
