"""Class weights, against numbers worked out by hand and scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from pointseg.data.label_weights import KINDS, class_weights
from pointseg.errors import InputError

COUNTS = np.array([80, 15, 0, 5])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("inverse", [100 / 80, 100 / 15, 0, 100 / 5]),
        ("sqrt", [1.118033988749895, 2.581988897471611, 0, 4.47213595499958]),
        ("randla", [1 / 0.82, 1 / 0.17, 0, 1 / 0.07]),
    ],
)
def test_formulas(kind, expected):
    weights = class_weights(COUNTS, kind)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


def test_inverse_is_scikit_learns_balanced_times_the_classes():
    labels = np.repeat([0, 1, 2], [7, 1, 30])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(np.bincount(labels), "inverse"), 3 * balanced)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_counts_does_not_matter(kind):
    np.testing.assert_allclose(class_weights(COUNTS, kind), class_weights(1000 * COUNTS, kind))


def test_inverse_gives_every_class_the_same_say_in_a_cross_entropy():
    labels = torch.arange(4).repeat_interleave(torch.tensor(COUNTS))
    logits = torch.randn(100, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weighted = torch.nn.functional.cross_entropy(logits, labels, torch.from_numpy(class_weights(COUNTS, "inverse")))
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    by_class = [each[labels == k].mean() for k in (0, 1, 3)]
    torch.testing.assert_close(weighted, torch.stack(by_class).mean())


@pytest.mark.parametrize(
    ("counts", "kind", "message"),
    [
        (COUNTS, "log", "kind 'log'; use one of inverse, sqrt, randla"),
        ([0, 0], "sqrt", r"counts \[0.0, 0.0\] do not exist"),
        ([3, -1], "sqrt", "do not exist"),
        ([3, np.nan], "sqrt", "do not exist"),
        ([[3, 1]], "sqrt", "do not exist"),
        ([], "sqrt", "do not exist"),
    ],
)
def test_weights_that_do_not_exist_are_refused(counts, kind, message):
    with pytest.raises(InputError, match=message):
        class_weights(np.array(counts), kind)
