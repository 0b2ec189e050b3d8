"""Drift and likeness of prototypes, by hand."""

import math

import pytest
import torch

from pointseg.methods.prototype_watch import PrototypeWatch, pairwise_cosine

VALUE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0]])
SEEN = torch.tensor([True, True, True, False])


def test_pairs_of_seen_classes():
    half = math.sqrt(0.5)
    torch.testing.assert_close(pairwise_cosine(VALUE, SEEN), torch.tensor([0.0, half, half]))
    assert len(pairwise_cosine(VALUE, torch.tensor([True, False, False, False]))) == 0


def test_drift_is_measured_from_look_to_look():
    watch = PrototypeWatch(4, 2)
    first = watch.look(VALUE, SEEN)
    assert set(first) == {"prototype_cosine_mean", "prototype_cosine_rms", "prototype_cosine_max"}
    assert first["prototype_cosine_rms"].item() == pytest.approx(math.sqrt(1 / 3))
    turned = torch.tensor([[0.0, 5.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    second = watch.look(turned, torch.ones(4, dtype=torch.bool))
    assert second["prototype_drift_class"].tolist() == pytest.approx([1, 0, 0, math.nan], abs=1e-6, nan_ok=True)
    assert second["prototype_drift"].item() == pytest.approx(1 / 3, abs=1e-6)
    assert watch.look(turned, torch.ones(4, dtype=torch.bool))["prototype_drift"].item() == pytest.approx(0, abs=1e-6)


def test_nothing_seen_is_nothing_to_report():
    assert PrototypeWatch(4, 2).look(VALUE, torch.zeros(4, dtype=torch.bool)) == {}


def test_the_last_look_survives_a_checkpoint():
    watch, other = PrototypeWatch(4, 2), PrototypeWatch(4, 2)
    watch.look(VALUE, SEEN)
    other.load_state_dict(watch.state_dict())
    continued, reference = other.look(VALUE.flip(1), SEEN), watch.look(VALUE.flip(1), SEEN)
    assert "prototype_drift" in reference
    for name, value in reference.items():
        torch.testing.assert_close(continued[name], value, equal_nan=True)
