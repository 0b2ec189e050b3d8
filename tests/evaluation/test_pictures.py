"""Pictures say what the numbers say: read back from their pixels."""

import numpy as np
from PIL import Image

from pointseg.data.classes import load_classes
from pointseg.evaluation import Calibration
from pointseg.evaluation.pictures import calibration_picture, confusion_picture, save_picture
from pointseg.viewing.drawing import LIGHT


def cells(picture, k):
    """Brightness of each cell of the matrix, from a corner pixel; the frame is found by its colour."""
    pixels = np.asarray(picture).astype(int)
    frame = (pixels == LIGHT.faint).all(2)
    rows, columns = np.flatnonzero(frame.sum(1) > 300), np.flatnonzero(frame.sum(0) > 300)
    top, left, size = rows[0] + 1, columns[0] + 1, (rows[-1] - rows[0]) // k
    corner = np.arange(k) * size + 2
    return pixels[top + corner][:, left + corner]


def test_rows_are_the_truth_each_divided_by_its_sum():
    names = load_classes("s3dis").names
    matrix = np.zeros((13, 13), int)
    matrix[np.arange(13), np.arange(13)] = 10 ** (np.arange(13) % 5 + 1)
    matrix[2, 5] = matrix[2, 2]
    matrix[4] = 0
    shown = cells(confusion_picture(matrix, names), 13)
    present = [k for k in range(13) if k not in (2, 4)]
    assert len({tuple(shown[k, k]) for k in present}) == 1, "classes of any size are equally dark where all is right"
    assert (shown[2, 5] == shown[2, 2]).all()
    assert shown[0, 0].sum() < shown[2, 5].sum() < shown[5, 2].sum()
    assert (shown[4] == shown[4, 0]).all()
    assert shown[4, 0].sum() not in (shown[5, 2].sum(), shown[0, 0].sum())


def test_two_and_two_hundred_classes_fit(tmp_path):
    rng = np.random.default_rng(0)
    for k, names in ((2, ("a", "b")), (200, load_classes("scannet200").names)):
        path = tmp_path / f"{k}.png"
        save_picture(path, confusion_picture(rng.integers(0, 9, (k, k)), names))
        assert max(Image.open(path).size) < 2600


def test_the_curve_stands_where_the_accuracy_is():
    """All points in one bin, 0.8 to 0.8667: one dot at its mean confidence and accuracy."""
    confidence, hit = np.full(1000, 0.85), np.arange(1000) < 400
    pixels = np.asarray(calibration_picture(Calibration.of(confidence, hit)))
    plot = (pixels[72 : 72 + 520, 86 : 86 + 520] == (8, 64, 129)).all(2)
    rows, columns = np.nonzero(plot)
    assert abs(columns.mean() - 0.85 * 520) < 2
    assert abs(rows.mean() - (1 - 0.4) * 520) < 2


def test_an_evaluation_without_a_point_has_pictures():
    nothing = Calibration.of(np.zeros(0), np.zeros(0, bool))
    assert calibration_picture(nothing).size[0] > 500
    assert confusion_picture(np.zeros((3, 3), int), ("a", "b", "c")).size[0] > 100
