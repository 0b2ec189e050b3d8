"""Scores against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from pointseg.errors import InputError
from pointseg.evaluation import confusion_matrix, scores_from_confusion


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 5, size=3000).astype(np.int16)
    pred = np.where(rng.random(3000) < 0.6, truth.clip(0), rng.integers(0, 5, size=3000)).astype(np.int16)
    return truth, pred


def test_confusion_matrix_and_scores_agree_with_scikit_learn(labels):
    truth, pred = labels
    counted = truth >= 0
    matrix = confusion_matrix(truth, pred, 5)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(truth[counted], pred[counted], labels=range(5)))
    scores = scores_from_confusion(matrix)
    np.testing.assert_allclose(scores.iou, metrics.jaccard_score(truth[counted], pred[counted], average=None))
    assert scores.miou == pytest.approx(metrics.jaccard_score(truth[counted], pred[counted], average="macro"))
    assert scores.macc == pytest.approx(metrics.balanced_accuracy_score(truth[counted], pred[counted]))
    assert scores.oacc == pytest.approx(metrics.accuracy_score(truth[counted], pred[counted]))


def test_a_class_without_ground_truth_is_in_no_mean_but_costs_the_others():
    scores = scores_from_confusion(confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 3))
    assert np.isnan(scores.iou[2])
    assert scores.miou == pytest.approx((0.5 + 1.0) / 2)


def test_everything_ignored_has_no_score():
    scores = scores_from_confusion(confusion_matrix(np.full(4, -1), np.zeros(4, int), 3))
    assert np.isnan(scores.miou)


@pytest.mark.parametrize(("truth", "pred", "named"), [([3], [0], "truth"), ([0], [3], "prediction"), ([0], [-1], "-1")])
def test_ids_outside_the_class_file_are_refused(truth, pred, named):
    with pytest.raises(InputError, match=named):
        confusion_matrix(np.array(truth), np.array(pred), 3)
