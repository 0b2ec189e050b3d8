"""What is held of scenes too large for memory, and that counts and scores stay those of all points."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.cloud_file import read_view
from pointseg.viewing.colors import numbered_classes
from pointseg.viewing.exports import check_precise
from pointseg.viewing.holding import Holding, within_memory
from pointseg.viewing.payload import pack_scene
from pointseg.viewing.ply import write_ply
from pointseg.viewing.scores import cloud_iou

N = 20_000
CLASSES: Classes = numbered_classes(4)


def scene(wrong: float = 0.02, annotated: int = 30) -> Cloud:
    rng = np.random.default_rng(0)
    gt = rng.integers(-1, 4, N)
    pred = np.where(rng.random(N) < wrong, (gt + 1) % 4, np.maximum(gt, 0))
    marks = np.full(N, -1)
    marks[rng.choice(N, annotated, replace=False)] = 1
    return Cloud(rng.random((N, 3)) * 10, gt=gt, pred=pred, annotated=marks, name="big")


def in_chunks(cloud: Cloud, max_points: int, size: int = 700) -> Cloud:
    kept = Holding(N, max_points)
    for start in range(0, N, size):
        rows = slice(start, start + size)
        kept.add({part: getattr(cloud, part)[rows] for part in ("coord", "gt", "pred", "annotated")})
    return Cloud(**kept.parts(), name=cloud.name + kept.note, whole=kept.whole)


def rows_of(part: Cloud, whole: Cloud) -> np.ndarray:
    place = {point.tobytes(): row for row, point in enumerate(whole.coord)}
    return np.array([place[point.tobytes()] for point in part.coord])


@pytest.mark.parametrize("hold", [lambda c: in_chunks(c, 2000), lambda c: within_memory(c, 2000)])
def test_every_annotated_and_wrong_point_is_held(hold):
    cloud = scene()
    part = hold(cloud)
    rows = rows_of(part, cloud)
    assert (np.diff(rows) > 0).all()
    must = np.flatnonzero((cloud.error == 1) | (cloud.annotated >= 0))
    assert np.isin(must, rows).all()
    assert 2000 <= len(rows) <= 2000 + len(must)
    np.testing.assert_array_equal(part.gt, cloud.gt[rows])
    np.testing.assert_array_equal(part.annotated, cloud.annotated[rows])
    # Of the rest an even share, and of all points those marked as one: exactly a tenth of every stretch.
    rest = np.setdiff1d(rows, must)
    assert np.bincount(rest // 2000).std() < 25
    assert np.bincount(rows[part.even] // 2000).tolist() == [200] * 10
    assert (part.even | (part.error == 1) | (part.annotated >= 0)).all()
    assert part.name == "big (2,000 of 20,000 points read)"


@pytest.mark.parametrize("hold", [lambda c: in_chunks(c, 2000), lambda c: within_memory(c, 2000)])
def test_counts_and_scores_are_those_of_all_points(hold):
    cloud = scene()
    part = hold(cloud)
    np.testing.assert_allclose(cloud_iou(part, 4), cloud_iou(cloud, 4))
    expected, got = (pack_scene(c, CLASSES, 500)[0] for c in (cloud, part))
    for key in ("total", "classes", "ignored", "annotated", "miou", "wrong"):
        assert got[key] == expected[key], key
    assert got["note"].startswith("showing 500 of 20,000 points: all 30 annotated and all")


def test_more_that_matters_than_fits_is_thinned_evenly_and_said():
    cloud = scene(wrong=0.9)
    part = in_chunks(cloud, 2000)
    assert part.num_points <= 4000
    rows = rows_of(part, cloud)
    assert np.isin(np.flatnonzero(cloud.annotated >= 0), rows).all()
    wrong = rows[cloud.error[rows] == 1]
    shares = np.bincount(wrong // 2000, minlength=10)
    assert shares.min() > 0.7 * shares.max()
    assert part.name == "big (2,000 of 20,000 points read, wrong ones thinned too)"
    np.testing.assert_allclose(cloud_iou(part, 4), cloud_iou(cloud, 4))
    everything = scene(wrong=0.9, annotated=N)
    part = in_chunks(everything, 2000)
    assert part.num_points <= 4000
    assert "annotated ones thinned" in part.name


def test_a_file_is_held_so_too(tmp_path):
    cloud = scene()
    path = write_ply(tmp_path / "big.ply", cloud, CLASSES)
    part = read_view(path, max_points=2000)
    assert (part.even.sum(), part.total_points) == (2000, N)
    wrong = int((cloud.error == 1).sum())
    assert (int((part.error == 1).sum()), int((part.annotated >= 0).sum())) == (wrong, 30)
    np.testing.assert_allclose(cloud_iou(part, 4), cloud_iou(cloud, 4))


def test_entropy_of_pseudo_labels_needs_no_prediction(tmp_path):
    cloud = Cloud(scene().coord, pseudo=scene().gt, entropy=np.full(N, 0.5, np.float32))
    path = write_ply(tmp_path / "steps.ply", cloud)
    np.testing.assert_array_equal(read_view(path).entropy, cloud.entropy)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("confidence", np.nan, "has scalar_confidence = nan; allowed is 0 to 1"),
        ("confidence", 1.5, "has scalar_confidence = 1.5; allowed is 0 to 1"),
        ("entropy", np.inf, "has scalar_entropy = inf; allowed is 0 or more"),
    ],
)
def test_a_confidence_that_is_none_is_refused_with_file_and_point(tmp_path, field, value, sentence):
    sound = Cloud(scene().coord, pred=np.zeros(N, int), **{field: np.zeros(N, "f4")})
    data = PlyData.read(write_ply(tmp_path / "sound.ply", sound))
    data["vertex"][f"scalar_{field}"][12_345] = value
    data.write(str(tmp_path / "odd.ply"))
    with pytest.raises(InputError, match=rf"odd\.ply: point 12345 \(the first is 0\) {sentence}"):
        read_view(tmp_path / "odd.ply")


def test_coordinates_that_float32_rounds_are_shown_and_it_is_said(tmp_path, caplog):
    """The first points near the origin, the last five thousand kilometres away: not moved by half a metre unsaid."""
    (tmp_path / "wide.xyz").write_text("0 0 0\n1 1 1\n5000000.3 1 1\n")
    cloud = read_view(tmp_path / "wide.xyz")
    assert (cloud.coord[:, 0].tolist(), cloud.offset) == ([0, 1, 5_000_000.5], (0, 0, 0))
    assert "wide.xyz reaches 5,000,000 m from its offset, so positions are held to 0.5 m" in caplog.text
    with pytest.raises(InputError, match=r"in an export would be rounded to 0\.5 m; cut the scan"):
        check_precise(cloud)
