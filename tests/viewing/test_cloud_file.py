"""What a cloud file shows: predictions, labels and classes, of a huge file a share, and what cannot be asked of it."""

from __future__ import annotations

import os
from pathlib import Path

import laspy
import numpy as np
import pytest
from predicted_files import CONFIDENCE, COORD, ENTROPY, PRED, N, load, write

from pointseg.data.classes import Classes, save_classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.cloud_file import read_view
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.ply import write_ply
from pointseg.viewing.sources import Wishes, open_target

CLASSES = Classes("toy", ("ground", "crate"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((2,), (6, 1)), (0,))
FAR = np.array([4.5e5, 5.2e6, 0])
CLASSIFICATION = np.array([0, 1, 2, 6])[np.arange(N) % 4]


@pytest.fixture
def las(tmp_path) -> Path:
    file = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    file.header.scales, file.header.offsets = [0.001] * 3, FAR
    file.x, file.y, file.z = (COORD + FAR).T
    file.classification = CLASSIFICATION
    file.write(str(tmp_path / "tile.laz"))
    return tmp_path / "tile.laz"


@pytest.mark.parametrize("ending", [".ply", ".las", ".laz", ".pcd", ".e57", ".csv", ".npz"])
def test_what_predict_wrote_into_a_file_comes_back(tmp_path, ending):
    cloud, classes = load(write(tmp_path / f"labelled{ending}"))
    assert cloud.name == "labelled"
    np.testing.assert_array_equal(cloud.pred, PRED)
    np.testing.assert_allclose(cloud.confidence, CONFIDENCE, atol=1e-6)
    np.testing.assert_allclose(cloud.entropy, ENTROPY, atol=1e-6)
    np.testing.assert_allclose(cloud.coord + np.array(cloud.offset), COORD, atol=6e-4)
    assert (cloud.gt, cloud.color) == (None, None)
    assert classes.names == ("class 0", "class 1")


def test_a_classification_is_the_truth_only_if_it_is_asked_for(las, tmp_path):
    cloud, _ = load(las)
    assert cloud.gt is None
    np.testing.assert_allclose(cloud.coord + np.array(cloud.offset), COORD + FAR, atol=6e-4)
    assert np.abs(cloud.coord).max() < 10
    cloud, classes = load(las, label_field="classification")
    np.testing.assert_array_equal(cloud.gt, CLASSIFICATION)
    assert classes.names[6] == "class 6"


def test_a_class_file_translates_the_labels_of_a_file(las, tmp_path):
    save_classes(CLASSES, tmp_path / "toy.yaml")
    cloud, classes = load(las, label_field="classification", classes=str(tmp_path / "toy.yaml"))
    np.testing.assert_array_equal(cloud.gt, np.array([-1, 1, 0, 0, 0, 0, 1])[CLASSIFICATION])
    assert classes.names == CLASSES.names
    poorer = Classes("toy", CLASSES.names, CLASSES.colors, ((2,), (1,)), (0,))
    save_classes(poorer, tmp_path / "poorer.yaml")
    with pytest.raises(InputError, match=r"classification holds 6, which is no source id of the 2 classes of 'toy'"):
        load(las, label_field="classification", classes=str(tmp_path / "poorer.yaml"))


def test_labels_outside_the_class_file_are_one_sentence(tmp_path):
    """Not shown as something else: a wrong class file would go unnoticed."""
    cloud = Cloud(COORD, pred=np.where(PRED == 1, 37, 0), name="x")
    path = write_ply(tmp_path / "x.ply", cloud)
    save_classes(CLASSES, tmp_path / "toy.yaml")
    shown, classes = load(path, classes=str(tmp_path / "toy.yaml"))
    with pytest.raises(InputError, match=r"class id 37 but 'toy' names only 2 classes; name the class file"):
        pack_scene(shown, classes)
    shown, classes = load(path)
    assert classes.names[37] == "class 37"
    pack_scene(shown, classes)


def test_of_a_huge_file_an_even_share_is_read_in_chunks(tmp_path):
    path = write(tmp_path / "big.las")
    whole, part = read_view(path), read_view(path, max_points=100)
    assert part.num_points == 100
    assert part.name == "big (100 of 300 points read)"
    # Whatever is kept belongs together.
    rows = [int(np.flatnonzero((whole.coord == point).all(axis=1))[0]) for point in part.coord]
    assert sorted(rows) == rows
    np.testing.assert_array_equal(part.pred, whole.pred[rows])
    np.testing.assert_array_equal(part.confidence, whole.confidence[rows])
    assert max(np.diff([-1, *rows, N])) <= 6


@pytest.mark.parametrize("n", [1, 2])
def test_a_point_or_two(tmp_path, n):
    (tmp_path / "few.xyz").write_text("1 2 3\n" * n)
    cloud, classes = load(tmp_path / "few.xyz")
    header, _ = pack_scene(cloud, classes)
    assert (header["shown"], [mode["id"] for mode in header["modes"]]) == (n, ["height"])


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"labels": "1pct_seed0"}, "--labels says nothing about a file"),
        ({"splits": ("a",)}, "--splits says nothing about a file"),
        ({"label_field": "kind"}, "no label field 'kind'"),
        ({"classes": "nonesuch"}, "no class file named 'nonesuch'"),
    ],
)
def test_wishes_that_do_not_fit(las, wishes, sentence):
    with pytest.raises(InputError, match=sentence):
        open_target(las, Wishes(**wishes))


def test_a_real_tile_with_extra_dimensions():
    root = os.environ.get("POINTSEG_TEST_DATA")
    if not root:
        pytest.skip("POINTSEG_TEST_DATA is not set")
    path = Path(root) / "urban" / "test_data_77055_627755_LA93_IGN69_extra_dims.laz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    cloud, _ = load(path, label_field="classification")
    truth = laspy.read(path)
    np.testing.assert_array_equal(cloud.gt, truth.classification)
    np.testing.assert_allclose(cloud.coord[:, 0] + cloud.offset[0], truth.x, atol=1e-3)
