"""Drift and likeness of prototypes, by hand."""

import itertools
import math

import pytest
import torch

from pointseg.methods.prototype_watch import PrototypeWatch, effective_rank, pairwise_cosine

VALUE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0]])
SEEN = torch.tensor([True, True, True, False])


def test_pairs_of_seen_classes():
    half = math.sqrt(0.5)
    torch.testing.assert_close(pairwise_cosine(VALUE, SEEN), torch.tensor([0.0, half, half]))
    assert len(pairwise_cosine(VALUE, torch.tensor([True, False, False, False]))) == 0


def test_cosines_are_in_full_precision_under_autocast():
    value = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)) + 3
    seen = torch.ones(6, dtype=torch.bool)
    by_hand = torch.tensor([torch.dot(a, b) / (a.norm() * b.norm()) for a, b in itertools.combinations(value, 2)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, watched = pairwise_cosine(value, seen), PrototypeWatch(6, 8).look(value, seen)
        rank = effective_rank(value, seen)["prototype_rank"]
    torch.testing.assert_close(found, by_hand)
    torch.testing.assert_close(watched["prototype_cosine_mean"], by_hand.mean())
    torch.testing.assert_close(rank, effective_rank(value, seen)["prototype_rank"])


def turned(value, seed=0):
    """The same shape, with other lengths, elsewhere in more dimensions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(20, 20, generator=generator)).Q[: value.shape[1]]
    return torch.rand(len(value), 1, generator=generator).add(0.5) * value @ basis


ANGLE = torch.arange(13) * 2 * math.pi / 13
CIRCLE = torch.stack((ANGLE.cos(), ANGLE.sin()), 1)
SHAPES = {
    "a plane": (CIRCLE, 2.0),
    "a plane away from the origin": (torch.cat((CIRCLE, torch.full((13, 1), 3.0)), 1), 2.0),
    "a line": (torch.tensor([1.0, -1.0]).repeat(7)[:13, None], 1.0),
    "as far apart as can be": (torch.eye(13), 12.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_rank_is_the_number_of_dimensions(name):
    shape, rank = SHAPES[name]
    found = effective_rank(turned(shape), torch.ones(13, dtype=torch.bool))
    assert found["prototype_rank"].item() == pytest.approx(rank, rel=1e-4)
    assert found["prototype_classes"] == 13


def test_the_rank_is_of_the_classes_seen():
    value = torch.cat((turned(CIRCLE[:6]), torch.randn(5, 20)))
    seen = torch.arange(11) < 6
    alone = effective_rank(value[:6], seen[:6])
    found = effective_rank(value, seen)
    assert found["prototype_classes"] == 6
    torch.testing.assert_close(found["prototype_rank"], alone["prototype_rank"])


@pytest.mark.parametrize("seen", [0, 1, 3])
def test_directions_that_are_all_one_have_no_rank(seen):
    assert effective_rank(torch.ones(3, 4), torch.arange(3) < seen) == {}


def test_drift_is_measured_from_look_to_look():
    watch = PrototypeWatch(4, 2)
    first = watch.look(VALUE, SEEN)
    assert set(first) == {"prototype_cosine_mean", "prototype_cosine_rms", "prototype_cosine_max"}
    assert first["prototype_cosine_rms"].item() == pytest.approx(math.sqrt(1 / 3))
    later = torch.tensor([[0.0, 5.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    second = watch.look(later, torch.ones(4, dtype=torch.bool))
    assert second["prototype_drift_class"].tolist() == pytest.approx([1, 0, 0, math.nan], abs=1e-6, nan_ok=True)
    assert second["prototype_drift"].item() == pytest.approx(1 / 3, abs=1e-6)
    assert watch.look(later, torch.ones(4, dtype=torch.bool))["prototype_drift"].item() == pytest.approx(0, abs=1e-6)


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
