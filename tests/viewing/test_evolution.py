"""The strip of pseudo-labels over training shows what each snapshot holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import CONFIDENCE_RAMP, WRONG_COLOR
from pointseg.viewing.evolution import pseudo_label_evolution, pseudo_label_scores

CLASSES = Classes("toy", ("floor", "block"), np.array([[20, 160, 60], [230, 120, 10]], np.uint8), ((0,), (1,)))
RIGHT = (86, 180, 233)


def snapshot(wrong: float, without: float, entropy: float = 0.3) -> Cloud:
    """A plane 10 m wide: wrong pseudo-labels on its left, none on its right; a tenth has no true class."""
    rng = np.random.default_rng(0)
    coord = rng.random((8000, 3)) * [10, 6, 0]
    x = coord[:, 0] / 10
    gt = np.where(coord[:, 1] > 5.4, -1, 0)
    pseudo = np.where(x < wrong, 1, np.where(x > 1 - without, -1, 0))
    return Cloud(coord, gt=gt, pseudo=pseudo, entropy=np.full(8000, entropy, np.float32), name="plane")


def share(picture: np.ndarray, color) -> float:
    return float((picture == np.asarray(color)).all(axis=2).mean())


def test_scores_count_only_points_with_a_true_class():
    cloud = snapshot(0.25, 0.5)
    accuracy, coverage = pseudo_label_scores(cloud)
    assert accuracy == pytest.approx(0.5, abs=0.03)
    assert coverage == pytest.approx(0.5, abs=0.03)
    none = replace(cloud, pseudo=np.full(8000, -1))
    assert np.isnan(pseudo_label_scores(none)[0])
    assert pseudo_label_scores(none)[1] == 0
    assert np.isnan(pseudo_label_scores(replace(cloud, gt=np.full(8000, -1)))[1])


def test_each_column_shows_its_own_snapshot():
    picture = np.asarray(pseudo_label_evolution([(0, snapshot(0.6, 0.2)), (100, snapshot(0.1, 0.0))], CLASSES))
    first, second = picture[:, 28:236], picture[:, 250:458]
    assert share(first, WRONG_COLOR) > 4 * share(second, WRONG_COLOR) > 0
    assert share(second, RIGHT) > 3 * share(first, RIGHT) > 0


def test_the_colours_of_entropy_run_between_the_ends_that_occur():
    """0.60 and 0.69 of at most 0.69 nats are as far apart as can be, and stay what they are in every snapshot."""
    unsure, less = snapshot(0, 0, 0.69), snapshot(0, 0, 0.60)
    picture = np.asarray(pseudo_label_evolution([(0, unsure), (100, less)], CLASSES))
    first, second = picture[:, 28:236], picture[:, 250:458]
    dark, bright = CONFIDENCE_RAMP[0][1], CONFIDENCE_RAMP[-1][1]
    assert share(first, dark) > 0.05
    assert share(second, bright) > 0.05
    assert share(first, bright) < 0.01
    assert share(second, dark) < 0.01


def test_entropy_is_dark_where_the_network_does_not_know():
    unsure = np.asarray(pseudo_label_evolution([(0, snapshot(0, 0, float(np.log(2))))], CLASSES))
    sure = np.asarray(pseudo_label_evolution([(0, snapshot(0, 0, 0.0))], CLASSES))
    dark, bright = CONFIDENCE_RAMP[0][1], CONFIDENCE_RAMP[-1][1]
    assert share(unsure, dark) > 0.03
    assert share(sure, bright) > 0.03
    assert share(unsure, bright) < 0.01
    assert share(sure, dark) < 0.01


def test_the_curve_runs_through_all_snapshots_though_seven_are_shown():
    snapshots = [(10 * k, snapshot(0.5 - 0.05 * k, 0.0)) for k in range(9)]
    nine = np.asarray(pseudo_label_evolution(snapshots, CLASSES))
    seven = np.asarray(pseudo_label_evolution(snapshots[:7], CLASSES))
    six = np.asarray(pseudo_label_evolution(snapshots[:6], CLASSES))
    assert nine.shape[1] == seven.shape[1] > six.shape[1]
    dots = (nine[-300:] == (0, 114, 178)).all(axis=2)
    rows = np.nonzero(dots[:, 60:-170])[0]
    assert rows.max() - rows.min() > 60  # accuracy rises by 40 % of 200 pixels


@pytest.mark.parametrize(
    ("snapshots", "message"),
    [
        ([], "no snapshot"),
        ([(5, snapshot(0, 0)), (5, snapshot(0, 0))], "must rise"),
        ([(5, replace(snapshot(0, 0), entropy=None))], "has no entropy"),
        ([(5, replace(snapshot(0, 0), pseudo=np.full(8000, 7)))], "class id 7"),
        ([(5, snapshot(0, 0).take(np.arange(0)))], "no points"),
    ],
)
def test_refusals(snapshots, message):
    with pytest.raises(InputError, match=message):
        pseudo_label_evolution(snapshots, CLASSES)
