"""Clouds are checked on construction; colourings have the values computed here by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import (
    CONFIDENCE_RAMP,
    HEIGHT_RAMP,
    IGNORED_COLOR,
    MODES,
    RIGHT_COLOR,
    WRONG_COLOR,
    available_modes,
    colorize,
    numbered_classes,
)
from pointseg.viewing.scores import class_iou

CLASSES = Classes("toy", ("floor", "wall"), np.array([[10, 20, 30], [200, 100, 0]], np.uint8), ((0,), (1,)))


def toy_cloud() -> Cloud:
    return Cloud(
        coord=np.array([[0, 0, 0], [1, 0, 1], [0, 1, 2], [1, 1, 4]], np.float32),
        color=np.array([[1, 2, 3], [100, 100, 100], [7, 8, 9], [0, 0, 255]], np.uint8),
        gt=np.array([0, 1, -1, 1]),
        pred=np.array([0, 0, 1, -1]),
        confidence=np.array([0.0, 0.35, 0.7, 1.0]),
        entropy=np.log(2) * np.array([1.0, 0.65, 0.3, 0.0]),
        pseudo=np.array([1, -1, 0, 0]),
        annotated=np.array([-1, 1, -1, 0]),
        normal=np.array([[0, 0, 1], [-1, 0, 0], [0, 0.28, -0.96], [0, 0, 0]]),
        name="toy",
    )


def test_error_is_wrong_right_and_unknown():
    assert toy_cloud().error.tolist() == [0, 1, -1, 1]
    assert toy_cloud().error.dtype == np.int8
    assert Cloud(np.zeros((2, 3)), gt=np.zeros(2, int)).error is None


def test_the_share_of_wrong_points_is_that_of_the_scene():
    assert toy_cloud().wrong_share == 2 / 3
    whole = np.array([[0, 0, 70], [0, 1, 10], [1, -1, 20], [-1, 0, 900]])
    assert replace(toy_cloud(), whole=whole).wrong_share == 0.3
    assert replace(toy_cloud(), gt=np.full(4, -1)).wrong_share == 0
    assert replace(toy_cloud(), pred=None, whole=whole).wrong_share is None


def test_types_are_those_of_the_interface():
    cloud = toy_cloud()
    assert [cloud.coord.dtype, cloud.gt.dtype, cloud.pred.dtype] == [np.float32, np.int16, np.int16]
    assert [cloud.confidence.dtype, cloud.annotated.dtype, cloud.color.dtype] == [np.float32, np.int16, np.uint8]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("rgb", [[1, 2, 3], [100, 100, 100], [7, 8, 9], [0, 0, 255]]),
        ("gt", [[10, 20, 30], [200, 100, 0], IGNORED_COLOR, [200, 100, 0]]),
        ("pred", [[10, 20, 30], [10, 20, 30], [200, 100, 0], IGNORED_COLOR]),
        ("error", [RIGHT_COLOR, WRONG_COLOR, IGNORED_COLOR, WRONG_COLOR]),
        ("confidence", [color for _, color in CONFIDENCE_RAMP]),
        # two classes, so even chances have log 2: there as dark as a confidence of 0
        ("entropy", [color for _, color in CONFIDENCE_RAMP]),
        ("pseudo", [[200, 100, 0], IGNORED_COLOR, [10, 20, 30], [10, 20, 30]]),
        ("normal", [[128, 128, 255], [0, 128, 128], [128, 163, 5], [128, 128, 128]]),
        # luminance: 0.299 r + 0.587 g + 0.114 b = 1.815 and 7.815; pale = 150 + 0.35 luminance
        ("annotated", [[150] * 3, [200, 100, 0], [152] * 3, [10, 20, 30]]),
        # heights 0, 1, 2, 4 of 4; a quarter lies at 0.25/0.3 of the first stretch, a half at 0.2/0.3 of the second
        ("height", [HEIGHT_RAMP[0][1], [43, 117, 152], [101, 170, 133], HEIGHT_RAMP[3][1]]),
    ],
)
def test_colourings(mode: str, expected: list):
    colors = colorize(toy_cloud(), mode, CLASSES)
    assert colors.dtype == np.uint8
    assert colors.tolist() == [list(color) for color in expected]


def test_a_cloud_shows_only_what_it_has():
    bare = Cloud(np.zeros((3, 3)), pred=np.zeros(3, int), name="bare")
    assert available_modes(bare) == ["pred", "height"]
    assert available_modes(toy_cloud()) == list(MODES)
    with pytest.raises(InputError, match=r"'bare' cannot be shown as 'error'.*'pred', 'height'"):
        colorize(bare, "error", CLASSES)
    with pytest.raises(InputError, match="shown as 'depth'"):
        colorize(bare, "depth", CLASSES)


def test_ids_beyond_the_classes_are_refused():
    cloud = Cloud(np.zeros((1, 3)), pred=np.array([2]))
    with pytest.raises(InputError, match="class id 2 but 'toy' names only 2"):
        colorize(cloud, "pred", CLASSES)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"coord": np.zeros((4, 2))}, "shape"),
        ({"coord": np.array([[0, 0, np.nan]] * 4)}, "4 points that are not finite"),
        ({"coord": np.full((4, 3), 5e6)}, "subtract the scene's offset"),
        ({"color": np.zeros((3, 3), np.uint8)}, "color must be uint8"),
        ({"color": np.zeros((4, 3), np.float32)}, "color must be uint8"),
        ({"gt": np.zeros(5, int)}, r"gt must be integers of shape \(4,\)"),
        ({"pred": np.zeros(4)}, "pred must be integers"),
        ({"pred": np.full(4, 40_000)}, "40000"),
        ({"annotated": np.full(4, -2)}, "annotated holds class ids from -2"),
        ({"confidence": np.full(4, 1.5)}, r"confidence is 1.5 at point 0 \(the first is 0\); it must be in \[0, 1\]"),
        ({"confidence": np.array([0, 1, -0.25, 2])}, "confidence is -0.25 at point 2 "),
        ({"confidence": np.array([0, np.nan, 1, np.nan])}, r"confidence is nan at point 1 \(.*\); it .* in \[0, 1\]"),
        ({"even": np.zeros(4, int)}, "even must be bool"),
        ({"entropy": np.full(4, -0.1)}, "entropy is -0.1 at point 0"),
        ({"entropy": np.full(4, np.inf)}, r"entropy is inf at point 0 \(.*\); it must be finite"),
        ({"pseudo": np.full(4, -2)}, "pseudo holds class ids from -2"),
        ({"normal": np.zeros((4, 2))}, r"normal must be floats of shape \(4, 3\)"),
        ({"normal": np.diag([1.0, 1, 2, 1])[:, :3]}, "normal is 2 at point 2"),
        ({"offset": (1.0, 2.0)}, "three finite numbers"),
    ],
)
def test_bad_parts_are_refused(parts: dict, message: str):
    with pytest.raises(InputError, match=message):
        Cloud(**({"coord": np.zeros((4, 3))} | parts))


def test_take_keeps_the_parts_together():
    part = toy_cloud().take(np.array([3, 1]))
    assert part.gt.tolist() == [1, 1]
    assert part.color.tolist() == [[0, 0, 255], [100, 100, 100]]
    assert part.coord[:, 2].tolist() == [4, 1]
    assert part.name == "toy"


def test_numbered_classes_differ():
    classes = numbered_classes(40)
    assert classes.names[3] == "class 3"
    assert len({tuple(color) for color in classes.colors.tolist()}) == 40


def test_iou_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(-1, 4, 500), rng.integers(0, 6, 500)
    iou = class_iou(gt, pred, 6)
    known = gt >= 0
    expected = metrics.jaccard_score(gt[known], pred[known], labels=range(4), average=None)
    np.testing.assert_allclose(iou[:4], expected)
    assert np.isnan(iou[4:]).all()
