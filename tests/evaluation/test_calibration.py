"""Calibration from a histogram against the error on the rows themselves and against scikit-learn's curve."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from pointseg.evaluation import Calibration
from pointseg.evaluation.calibration import BINS
from pointseg.methods.calibration import expected_calibration_error


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 5000).astype(np.float32)
    confidence[:50] = 1
    return confidence, rng.random(5000) < confidence**2


def test_error_and_curve_agree_with_the_rows(points):
    confidence, hit = points
    calibration = Calibration.of(confidence, hit)
    expected = expected_calibration_error(torch.from_numpy(confidence), torch.from_numpy(hit), BINS)
    assert calibration.error == pytest.approx(float(expected), abs=1e-6)
    mean, accuracy = calibration.curve()
    sk_accuracy, sk_mean = calibration_curve(hit, confidence, n_bins=BINS)
    known = calibration.points > 0
    np.testing.assert_allclose(accuracy[known], sk_accuracy)
    np.testing.assert_allclose(mean[known], sk_mean, atol=1e-6)
    assert np.isnan(mean[~known]).all()
    assert (~known).any()


def test_parts_add_up_to_the_whole(points):
    confidence, hit = points
    whole = Calibration.of(confidence, hit)
    parts = Calibration.of(confidence[:1000], hit[:1000]) + Calibration.of(confidence[1000:], hit[1000:])
    np.testing.assert_array_equal(parts.points, whole.points)
    assert parts.error == pytest.approx(whole.error)


def test_no_point_has_no_error():
    assert np.isnan(Calibration.of(np.zeros(0, np.float32), np.zeros(0, bool)).error)
