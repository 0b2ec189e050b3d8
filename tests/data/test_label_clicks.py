"""A person's clicks: matched to the nearest raw point, or reported; and scenes that have nothing but clicks."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointseg.data.classes import Classes
from pointseg.data.label_clicks import import_clicks, nearest_points
from pointseg.data.scene import open_scene, prepare_root, write_scene
from pointseg.errors import InputError

CLASSES = Classes("toy", ("ground", "tree", "house"), np.zeros((3, 3), np.uint8), (("g",), ("t",), ("h",)))

FAR = np.array([652_300.0, 6_861_200.0, 100.0])
"""National coordinates, where float32 is half a metre off."""


def add_scene(root, split, name, origin=FAR, segment=None):
    coord = np.zeros((10, 3))
    coord[:, 0] = np.arange(10) * 0.1 + 0.05
    write_scene(root, split, name, coord=coord + origin, segment=segment, dataset="toy", sources=[], voxel_sizes=[0.2])


@pytest.fixture
def root(tmp_path):
    root = prepare_root(tmp_path / "root", CLASSES)
    add_scene(root, "all", "a")
    return root


def write(tmp_path, *rows, header="x,y,z,class", name="clicks.csv"):
    file = tmp_path / name
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return file


def at(x, y=0.0, z=0.0):
    """A position of the source's coordinates as text, x metres along the line of points."""
    return [repr(float(value)) for value in np.add(FAR, (x, y, z))]


def test_clicks_are_matched_in_the_coordinates_of_the_source(root, tmp_path):
    file = write(tmp_path, [*at(0.36), "house"], [*at(0.049, z=0.03), 1], [*at(0.93, y=-0.02), "ground"])
    labels = import_clicks(root, file, splits=["all"])
    scene = open_scene(root / "all" / "a")
    assert scene.segment is None
    index, label = labels.for_scene(scene)
    assert (index.tolist(), label.tolist()) == ([0, 3, 9], [1, 2, 0])
    spec = json.loads((root / "sparse_labels" / "clicks" / "spec.json").read_text())
    assert spec["source"] == {
        "kind": "clicks",
        "file": "clicks.csv",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "max_distance": 0.05,
    }
    assert (spec["counts"], spec["class_points"], spec["class_voxels"]) == ([1, 1, 1], None, None)
    assert (spec["share_of_points"], spec["share_of_voxels"]) == (3 / 10, 3 / 5)
    assert (spec["unmatched"], spec["scenes_without"]) == ([], [])


def test_clicks_too_far_away_are_kept_apart_with_line_and_distance(root, tmp_path):
    file = write(tmp_path, [*at(0.05, z=2.0), 0], [*at(0.25), 0], [*at(0.45, z=0.1), 1], [*at(0.65, y=0.04), 1])
    labels = import_clicks(root, file, splits=["all"])
    assert labels.for_scene(open_scene(root / "all" / "a"))[0].tolist() == [2, 6]
    unmatched = labels.spec["unmatched"]
    assert [(one["line"], one["scene"]) for one in unmatched] == [(2, "all/a"), (4, "all/a")]
    np.testing.assert_allclose([one["distance"] for one in unmatched], [2.0, 0.1], atol=1e-6)
    again = import_clicks(root, file, splits=["all"])
    assert again.spec == labels.spec
    wider = import_clicks(root, file, splits=["all"], max_distance=0.11, name="wider")
    assert wider.for_scene(open_scene(root / "all" / "a"))[0].tolist() == [2, 4, 6]


def test_no_click_near_any_point_is_an_error(root, tmp_path):
    file = write(tmp_path, [0.05, 0, 0, 0], [*at(0.05, z=3.0), 0])
    with pytest.raises(
        InputError, match=r"none of the 2 clicks .* within 0\.05 m .* the nearest is 3 m from one \(line 3"
    ):
        import_clicks(root, file, splits=["all"])
    assert not (root / "sparse_labels").exists()


def test_two_classes_on_one_point_are_an_error_naming_both_lines(root, tmp_path):
    file = write(tmp_path, [*at(0.05), 0], [*at(0.15), 2], [*at(0.16), "tree"])
    with pytest.raises(InputError, match="scene all/a: lines 3 and 4 give one point two classes, house and tree"):
        import_clicks(root, file, splits=["all"])


def test_clicks_of_one_class_on_one_point_count_once(root, tmp_path):
    file = write(tmp_path, [*at(0.05), 0], [*at(0.06), 0], [*at(0.05), "ground"], [*at(0.95), 0])
    labels = import_clicks(root, file, splits=["all"])
    assert np.load(labels.path / "all" / "a.npy").tolist() == [[0, 0], [9, 0]]
    assert labels.spec["scenes"]["all/a"]["merged"] == 2
    assert labels.counts.tolist() == [2, 0, 0]


def test_several_scenes_are_told_apart_by_their_column(root, tmp_path):
    add_scene(root, "all", "b", origin=np.zeros(3))
    add_scene(root, "all", "c")
    add_scene(root, "other", "c")
    rows = [[*at(0.05), 0, "all/a"], [0.95, 0, 0, 1, "b"]]
    file = write(tmp_path, *rows, header="x,y,z,class,scene")
    labels = import_clicks(root, file, splits=["all"])
    assert np.load(labels.path / "all" / "a.npy").tolist() == [[0, 0]]
    assert np.load(labels.path / "all" / "b.npy").tolist() == [[9, 1]]
    assert labels.spec["scenes_without"] == ["all/c"]
    assert (labels.spec["num_points"], labels.spec["num_labels"]) == (20, 2)
    with pytest.raises(InputError, match="have no click on scene all/c; add some"):
        labels.for_scene(open_scene(root / "all" / "c"))
    with pytest.raises(InputError, match="does not cover scene other/c"):
        labels.for_scene(open_scene(root / "other" / "c"))
    assert import_clicks(root, file, splits=["all"]).spec == labels.spec
    for row, message in [
        ([*at(0.05), 0, "c"], r"line 4: the scene 'c' is in several splits; .* \(there are: all/c, other/c\)"),
        (
            [*at(0.05), 0, "d"],
            r"line 4: the scene 'd' is not in the splits .* \(there are: all/a, all/b, all/c, other/c",
        ),
    ]:
        file = write(tmp_path, *rows, row, header="x,y,z,class,scene")
        with pytest.raises(InputError, match=message):
            import_clicks(root, file, splits=["all", "other"], name="mine")
    with pytest.raises(InputError, match=r"does not say which of 3 scenes .* add a column 'scene'"):
        import_clicks(root, write(tmp_path, [*at(0.05), 0]), splits=["all"], name="mine")


def test_ground_truth_has_no_say_in_clicks(root, tmp_path):
    add_scene(root, "all", "a", segment=np.zeros(10, int))
    labels = import_clicks(root, write(tmp_path, [*at(0.05), "house"]), splits=["all"])
    assert labels.for_scene(open_scene(root / "all" / "a"))[1].tolist() == [2]


def test_clicks_of_other_coordinates_or_changed_ones_are_refused(root, tmp_path):
    labels = import_clicks(root, write(tmp_path, [*at(0.05), "house"]), splits=["all"])
    add_scene(root, "all", "a", origin=np.add(FAR, (0, 0, 0.25)))
    with pytest.raises(InputError, match=r"other data than scene all/a holds now; delete .* and import again"):
        labels.for_scene(open_scene(root / "all" / "a"))
    add_scene(root, "all", "a")
    np.save(labels.path / "all" / "a.npy", np.array([[1, 2]]))
    with pytest.raises(InputError, match="other data than scene all/a"):
        labels.for_scene(open_scene(root / "all" / "a"))


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan"), float("inf")])
def test_a_distance_that_is_none_is_refused(root, tmp_path, distance):
    with pytest.raises(InputError, match="largest distance is"):
        import_clicks(root, write(tmp_path, [*at(0.05), 0]), splits=["all"], max_distance=distance)


def test_a_file_name_that_cannot_name_labels_needs_another(root, tmp_path):
    file = write(tmp_path, [*at(0.05), 0], name="my clicks.csv")
    with pytest.raises(InputError, match="'my clicks' cannot name a draw"):
        import_clicks(root, file, splits=["all"])
    assert import_clicks(root, file, splits=["all"], name="mine").name == "mine"


# Coordinates on a coarse lattice, so that equal points and equal distances are common.
POSITIONS = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=60)


@given(POSITIONS, POSITIONS)
def test_nearest_points_are_those_of_the_slow_twin(points, clicks):
    coord, position = np.array(points, np.float32) / 4, np.array(clicks) / 8
    index, distance = nearest_points(coord, position)
    squared = ((coord.astype(float)[None] - position[:, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(index, squared.argmin(1))
    np.testing.assert_allclose(distance, np.sqrt(squared.min(1)))


def test_many_equal_points_give_the_first():
    coord = np.zeros((100_000, 3), np.float32)
    index, distance = nearest_points(coord, np.array([[0.0, 0, 0], [0, 3, 4]]))
    assert index.tolist() == [0, 0]
    np.testing.assert_allclose(distance, [0, 5])
