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


def test_sorted_by_the_last_run_with_unknown_classes_at_the_end():
    iou = np.array([0.2, np.nan, 0.9])
    picture = np.asarray(iou_bars({"erda": iou}, CLASSES, by_score=True))
    rows = [runs_of(picture, CLASSES.colors[k])[0][0] for k in (2, 0)]
    swatch = np.flatnonzero((picture == CLASSES.colors[1]).all(axis=2).any(axis=1))[0]
    assert rows[0] < rows[1] < swatch


def test_an_interval_is_drawn_from_end_to_end():
    iou = np.array([0.5, 0.5, 0.5])
    ends = np.array([[0.3, 0.8], [np.nan, np.nan], [0.5, 0.5]])
    plain = np.asarray(iou_bars({"a": iou}, CLASSES))
    drawn = np.asarray(iou_bars({"a": iou}, CLASSES, intervals={"a": ends}))
    shift = drawn.shape[0] - plain.shape[0]  # of the note above the bars
    changed = (drawn[shift + 80 :] != plain[80:]).any(axis=2)
    row = np.flatnonzero(changed.any(axis=1))[0]
    columns = np.flatnonzero(changed[row : row + 10].any(axis=0))
    assert abs(columns.max() - columns.min() - 0.5 * FULL) < 4


def test_two_hundred_classes_go_on_beside_each_other():
    classes = load_classes("scannet200")
    picture = iou_bars({"a": np.linspace(0, 1, 200), "b": np.linspace(1, 0, 200)}, classes)
    assert picture.height < 2200
    assert picture.width < 4000


@pytest.mark.parametrize(
    ("runs", "intervals", "message"),
    [
        ({}, None, "no run"),
        ({"a": np.zeros(2)}, None, r"must be \(3,\)"),
        ({"a": np.array([0, 50, 1.0])}, None, "not within 0..1"),
        ({"a": np.array([0, np.inf, 1.0])}, None, "not within 0..1"),
        ({"a": np.zeros(3)}, {"a": np.zeros(3)}, r"must be \(3, 2\)"),
        ({"a": np.zeros(3)}, {"b": np.zeros((3, 2))}, "one of a"),
    ],
)
def test_refusals(runs, intervals, message):
    with pytest.raises(InputError, match=message):
        iou_bars(runs, CLASSES, intervals=intervals)


def test_a_run_without_any_number_has_a_picture():
    assert runs_of(np.asarray(iou_bars({"a": np.full(3, np.nan)}, CLASSES)), CLASSES.colors[0]) == []
