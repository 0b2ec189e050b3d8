"""Labels taken over from published lists and from scenes of which only some points are labelled."""

import hashlib
import json

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.data.label_import import hash_source, import_lists, import_segment
from pointseg.data.scene import open_scene, prepare_root, write_scene
from pointseg.data.sparse_labels import draw, open_labels
from pointseg.errors import InputError

CLASSES = Classes("toy", ("ground", "tree", "house"), np.zeros((3, 3), np.uint8), (("g",), ("t",), ("h",)))

TRUTH = np.array([0, 0, 1, -1, 2, 1, 0, -1, 2, 2])
"""Of every scene here: ten points on a line, 0.1 m apart."""


def add_scene(root, split, name, segment=TRUTH, shift=0.0, voxel_sizes=(0.2, 0.5)):
    coord = np.zeros((10, 3))
    coord[:, 0] = np.arange(10) * 0.1 + 0.05 + shift
    write_scene(
        root, split, name, coord=coord, segment=segment, dataset="toy", sources=[], voxel_sizes=list(voxel_sizes)
    )


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", CLASSES)
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        add_scene(root, split, name)
    return root


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "points3.txt"
    file.write_text("the list itself")
    return file


LISTS = {"a": np.array([8, 0, 3, 5, 8]), "train/b": np.array([4], np.int32), "elsewhere": np.array([99])}


def test_a_list_becomes_the_labels_its_ground_truth_says(root, source):
    labels = import_lists(root, LISTS, source=source, splits=["train"])
    assert labels.path == root / "sparse_labels" / "points3"
    assert np.load(labels.path / "train" / "a.npy").tolist() == [[0, 0], [5, 1], [8, 2]]
    index, label = labels.for_scene(open_scene(root / "train" / "b"))
    assert (index.tolist(), label.tolist()) == ([4], [2])
    assert (index.dtype, label.dtype) == (np.int64, np.int16)
    spec = json.loads((labels.path / "spec.json").read_text())
    assert spec["source"] == {
        "kind": "list",
        "file": "points3.txt",
        "sha256": hashlib.sha256(b"the list itself").hexdigest(),
    }
    assert (spec["rule"], spec["seed"], spec["voxel_size"], spec["splits"]) == (None, None, 0.2, ["train"])
    assert (spec["counts"], spec["class_points"], spec["class_voxels"]) == ([1, 1, 2], [6, 4, 6], None)
    assert (spec["num_labels"], spec["num_points"], spec["num_voxels"], spec["other_scenes"]) == (4, 20, 10, 1)
    assert spec["share_of_points"] == 4 / 20
    entry = spec["scenes"]["train/a"]
    assert (entry["dropped"], entry["repeated"], entry["labels"]) == (1, 1, 3)
    assert open_labels(root, "points3").spec == spec


def test_the_share_of_voxels_counts_a_voxel_with_several_labels_once(root, source):
    lists = {"a": np.array([0, 1, 2, 4, 5]), "b": np.array([0])}
    fine = import_lists(root, lists, source=source, splits=["train"], name="fine", voxel_size=0.2)
    coarse = import_lists(root, lists, source=source, splits=["train"], name="coarse", voxel_size=0.5)
    # Voxels of two points: {0 1} {2 3} {4 5}, and {0 1}; of five: {0..4} {5..9}, and {0..4}.
    assert fine.spec["share_of_voxels"] == 4 / 10
    assert coarse.spec["share_of_voxels"] == 3 / 4


def test_the_same_import_again_is_checked_and_kept(root, source):
    first = import_lists(root, LISTS, source=source, splits=["train"])
    times = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    again = import_lists(root, LISTS, source=source, splits=["train"])
    assert again.spec == first.spec
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*")} == times
    rows = np.load(first.path / "train" / "a.npy")
    rows[0] = (1, 0)
    np.save(first.path / "train" / "a.npy", rows)
    with pytest.raises(InputError, match=r"other data than scene train/a holds now; delete .* and import again"):
        import_lists(root, LISTS, source=source, splits=["train"])


def test_another_source_under_the_same_name_is_refused(root, source):
    import_lists(root, LISTS, source=source, splits=["train"], name="mine")
    draw(root, "1pt", seed=0, voxel_size=0.2, splits=["train"], name="drawn")
    old = hash_source(source)
    source.write_text("another list")
    with pytest.raises(InputError, match=rf"other settings \(sha256 {old} there, {hash_source(source)} now\)"):
        import_lists(root, LISTS, source=source, splits=["train"], name="mine")
    with pytest.raises(
        InputError, match=r"rule 1pt there, None now; seed 0 there, None now; kind None there, list now"
    ):
        import_lists(root, LISTS, source=source, splits=["train"], name="drawn")
    with pytest.raises(InputError, match=r"rule None there, 1pt now"):
        draw(root, "1pt", seed=0, voxel_size=0.2, splits=["train"], name="mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"a": np.array([10])},
            r"for scene train/a points 10 to 10, but it has points 0 to 9; the list belongs to other",
        ),
        ({"a": np.array([-1, 2])}, "points -1 to 2"),
        ({"a": np.array([], int)}, r"int64 \(0,\)"),
        ({"a": np.array([1.0])}, "float64"),
        ({"a": np.array([[1]])}, r"\(1, 1\)"),
        ({"a": np.array([3, 7])}, "all 2 points .* for scene train/a are ignored ones"),
    ],
)
def test_lists_that_do_not_fit_the_scene_are_refused(root, source, change, message):
    with pytest.raises(InputError, match=message):
        import_lists(root, LISTS | change, source=source, splits=["train"])
    assert list((root / "sparse_labels").iterdir()) == []


def test_every_scene_needs_an_entry_of_its_own(root, source):
    with pytest.raises(InputError, match=r"points3\.txt lists no points for 1 of 3 scenes \(val/c\); name only splits"):
        import_lists(root, LISTS, source=source, splits=["train", "val"])
    add_scene(root, "val", "a")
    with pytest.raises(InputError, match=r"points of 'a', which is a scene of several splits"):
        import_lists(root, LISTS | {"c": np.array([0])}, source=source, splits=["train", "val"])


def test_scenes_without_ground_truth_have_no_classes_for_a_list(root, source):
    add_scene(root, "test", "d", segment=None)
    with pytest.raises(InputError, match="test/d has no ground truth to take classes from"):
        import_lists(root, {"d": np.array([0])}, source=source, splits=["test"])


def test_a_folder_of_lists_is_hashed_with_its_names(tmp_path):
    hashes = []
    for name, content in (("a.txt", "1"), ("b.txt", "1"), ("b.txt", "2")):
        folder = tmp_path / f"lists{len(hashes)}"
        folder.mkdir()
        (folder / name).write_text(content)
        hashes.append(hash_source(folder))
    assert len(set(hashes)) == 3
    with pytest.raises(InputError, match="there is no file"):
        hash_source(tmp_path / "nowhere")


def test_every_labelled_point_of_a_scene_becomes_a_label(root):
    add_scene(root, "all", "few", segment=np.array([-1, -1, 2, -1, -1, -1, -1, 0, 0, -1]))
    labels = import_segment(root, splits=["all"])
    assert labels.name == "segment"
    assert np.load(labels.path / "all" / "few.npy").tolist() == [[2, 2], [7, 0], [8, 0]]
    assert labels.spec["source"] == {"kind": "segment"}
    assert labels.counts.tolist() == [2, 0, 1]
    assert (labels.spec["share_of_points"], labels.spec["share_of_voxels"]) == (0.3, 3 / 5)
    assert labels.spec["class_points"] is None
    assert import_segment(root, splits=["all"]).spec == labels.spec


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (np.full(10, -1), "none of the points of scene all/x is labelled; leave its split out"),
        (None, "all/x has no ground truth to take labels from"),
        (np.full(10, 3), "holds class 3, but classes.yaml names 3"),
    ],
)
def test_scenes_without_a_labelled_point_are_refused(root, segment, message):
    add_scene(root, "all", "x", segment=segment)
    with pytest.raises(InputError, match=message):
        import_segment(root, splits=["all"])


def test_labels_of_a_scene_prepared_anew_from_other_data_are_refused(root, source):
    listed = import_lists(root, LISTS, source=source, splits=["train"])
    taken = import_segment(root, splits=["train"])
    add_scene(root, "train", "a", shift=0.01)
    for labels in (listed, taken):
        with pytest.raises(InputError, match="other data than scene train/a holds now"):
            labels.for_scene(open_scene(root / "train" / "a"))
    add_scene(root, "train", "a")
    assert listed.for_scene(open_scene(root / "train" / "a"))[0].tolist() == [0, 5, 8]
    add_scene(root, "train", "a", segment=np.roll(TRUTH, 1))
    for labels in (listed, taken):
        with pytest.raises(InputError, match="other data than scene train/a holds now"):
            labels.for_scene(open_scene(root / "train" / "a"))


def test_grids_that_not_all_scenes_have_are_no_default(root, source):
    add_scene(root, "train", "b", voxel_sizes=(0.5,))
    assert import_segment(root, splits=["train"]).spec["voxel_size"] == 0.5
    with pytest.raises(InputError, match=r"train/b has no voxel grid of 0\.2 m"):
        import_segment(root, splits=["train"], voxel_size=0.2, name="fine")
    add_scene(root, "train", "b", voxel_sizes=())
    with pytest.raises(InputError, match="no voxel grid in common"):
        import_segment(root, splits=["train"], name="none")
    with pytest.raises(InputError, match="no splits"):
        import_segment(root, splits=[])
