"""Entropies, and thresholds against numpy's percentiles."""

import math

import numpy as np
import pytest
import torch

from pointseg.methods.entropy_partition import entropy, tail_thresholds

VALUES = torch.rand(301, generator=torch.Generator().manual_seed(2)) ** 6


def test_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [80.0, -80.0, 0.0, 0.0], [1.0, 0.5, -1.0, 0.0]])
    p = [math.exp(z) / sum(math.exp(z) for z in (1.0, 0.5, -1.0, 0.0)) for z in (1.0, 0.5, -1.0, 0.0)]
    expected = [math.log(4), 0.0, -sum(pk * math.log(pk) for pk in p)]
    np.testing.assert_allclose(entropy(logits), expected, rtol=1e-6, atol=1e-30)
    assert (entropy(torch.full((5, 1), 3.0)) >= 0).all()


@pytest.mark.parametrize("rows", [1, 2, 10, 301])
@pytest.mark.parametrize("share", [0.0, 0.037, 0.2, 0.5])
def test_they_choose_the_rows_that_percentiles_choose(rows, share):
    values = VALUES[:rows]
    low, high = tail_thresholds(values, share)
    exact = values.double().numpy()
    np.testing.assert_array_equal(values <= low, exact <= np.percentile(exact, 100 * share))
    np.testing.assert_array_equal(values >= high, exact >= np.percentile(exact, 100 * (1 - share)))
    assert low in values
    assert high in values


def test_ties_and_zeros():
    low, high = tail_thresholds(torch.tensor([0.0, -0.0, 0.0, 0.5, 0.5, 0.5]), 0.2)
    assert (float(low), float(high)) == (0.0, 0.5)


def test_no_row_gives_finite_thresholds():
    assert all(torch.isfinite(t) for t in tail_thresholds(torch.empty(0), 0.2))
