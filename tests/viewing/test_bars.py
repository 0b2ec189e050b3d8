"""Bars are as long as their IoU; read back from their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from pointseg.data.classes import Classes, load_classes
from pointseg.errors import InputError
from pointseg.viewing.bars import iou_bars
from pointseg.viewing.palettes import SAFE

CLASSES = Classes(
    "toy",
    ("floor", "block", "lamp"),
    np.array([[20, 160, 60], [230, 120, 10], [60, 60, 220]], np.uint8),
    ((0,), (1,), (2,)),
)
FULL = 340  # pixels of 100 %


def runs_of(picture: np.ndarray, color) -> list[tuple[int, int]]:
    """(row, length) of every bar of a colour: the longest run in each block of rows; swatches are shorter than 20."""
    hit = (picture == np.asarray(color)).all(axis=2)
    lengths = hit.sum(axis=1)
    lengths[lengths < 20] = 0
    starts = np.flatnonzero((lengths > 0) & (np.roll(lengths, 1) == 0))
    ends = np.flatnonzero((lengths > 0) & (np.roll(lengths, -1) == 0))
    return [(int(a), int(lengths[a : b + 1].max())) for a, b in zip(starts, ends, strict=True)]


def test_bars_of_one_run_have_their_class_colour_and_their_length():
    iou = np.array([0.5, 1.0, np.nan])
    picture = np.asarray(iou_bars({"erda": iou}, CLASSES))
    for k, value in ((0, 0.5), (1, 1.0)):
        ((_, length),) = runs_of(picture, CLASSES.colors[k])
        assert abs(length - value * FULL) < 20  # a swatch of the same colour stands before it
    assert runs_of(picture, CLASSES.colors[2]) == []


def test_two_runs_have_two_colours_in_every_class_and_in_the_mean():
    first, second = np.array([0.2, 0.4, 0.6]), np.array([0.3, 0.4, 0.8])
    picture = np.asarray(iou_bars({"a": first, "b": second}, CLASSES))
    for iou, color in ((first, SAFE[4]), (second, SAFE[5])):
        bars = [length for _, length in runs_of(picture, color)]
        np.testing.assert_allclose(bars, FULL * np.array([iou.mean(), *iou]), atol=3)


def test_two_hundred_classes_go_on_beside_each_other():
    classes = load_classes("scannet200")
    picture = iou_bars({"a": np.linspace(0, 1, 200), "b": np.linspace(1, 0, 200)}, classes)
    assert picture.height < 2200
    assert picture.width < 4000


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "no run"),
        ({"a": np.zeros(2)}, r"must be \(3,\)"),
        ({"a": np.array([0, 50, 1.0])}, "not within 0..1"),
        ({"a": np.array([0, np.inf, 1.0])}, "not within 0..1"),
    ],
)
def test_refusals(runs, message):
    with pytest.raises(InputError, match=message):
        iou_bars(runs, CLASSES)


def test_a_run_without_any_number_has_a_picture():
    assert runs_of(np.asarray(iou_bars({"a": np.full(3, np.nan)}, CLASSES)), CLASSES.colors[0]) == []
