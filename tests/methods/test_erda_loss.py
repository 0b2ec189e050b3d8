"""The ERDA loss against equations written out here, and the published-by-derivation test vector."""

import math

import numpy as np
import pytest
import torch

from pointseg.errors import InputError
from pointseg.methods import ErdaConfig, ErdaLoss, erda_loss
from pointseg.methods.divergence import DIVERGENCES


def softmax(values):
    exponentials = [math.exp(v - max(values)) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def slow_kl(p, q):
    return sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))


def middle(p, q):
    return [(a + b) / 2 for a, b in zip(p, q, strict=True)]


SLOW = {
    "kl": slow_kl,
    "kl_reverse": lambda p, q: slow_kl(q, p),
    "js": lambda p, q: slow_kl(p, middle(p, q)) + slow_kl(q, middle(p, q)),
    "mse": lambda p, q: sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / 2,
    "none": lambda p, q: 0.0,
}


def slow_loss(s, z, lam, form="kl"):
    """lambda H(p) + D(p, q), term by term."""
    p, q = softmax(s), softmax(z)
    return -lam * sum(pk * math.log(pk) for pk in p) + SLOW[form](p, q)


def written_gradients(s, z, lam, form):
    """dL/ds and dL/dz of one row, from the derivatives on paper."""
    p, q = np.array(softmax(s)), np.array(softmax(z))
    m = (p + q) / 2
    ds, dz = {
        "kl": (p * (np.log(p / q) - slow_kl(p, q)), q - p),
        "kl_reverse": (p - q, q * (np.log(q / p) - slow_kl(q, p))),
        "js": (p * (np.log(p / m) - slow_kl(p, m)), q * (np.log(q / m) - slow_kl(q, m))),
        "mse": (p * (p - q - (p * (p - q)).sum()), q * (q - p - (q * (q - p)).sum())),
        "none": (np.zeros_like(p), np.zeros_like(q)),
    }[form]
    entropy = -(p * np.log(p)).sum()
    return ds - lam * p * (np.log(p) + entropy), dz


def test_test_vector():
    s = torch.tensor([[0.2, -0.1, 0.5]], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    loss = erda_loss(s, z).sum()
    loss.backward()
    assert loss.item() == pytest.approx(1.520804, abs=1e-6)
    np.testing.assert_allclose(s.grad[0], [-0.360179, -0.027133, 0.387312], atol=1e-6)
    np.testing.assert_allclose(z.grad[0], [0.341687, 0.005034, -0.346721], atol=1e-6)


@pytest.mark.parametrize("form", DIVERGENCES)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 2.0])
def test_value_and_gradients_follow_the_equations(form, lam):
    values = np.random.default_rng(3).normal(size=(5, 2, 4))
    s = torch.tensor(values[:, 0], requires_grad=True)
    z = torch.tensor(values[:, 1], requires_grad=True)
    loss = erda_loss(s, z, lam, form)
    np.testing.assert_allclose(loss.detach(), [slow_loss(a, b, lam, form) for a, b in values], rtol=1e-12)
    (loss.sum() + 0 * z.sum()).backward()
    for row, (a, b) in enumerate(values):
        ds, dz = written_gradients(a, b, lam, form)
        np.testing.assert_allclose(s.grad[row], ds, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(z.grad[row], dz, rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: erda_loss(a, b, lam, form) + 0 * b.sum(1), (s, z))


def test_at_lambda_one_the_loss_is_the_cross_entropy_with_soft_targets():
    s, z = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(z, s.softmax(1), reduction="none")
    torch.testing.assert_close(erda_loss(s, z), expected)


def test_at_lambda_one_a_one_hot_pseudo_label_does_not_move():
    s = torch.tensor([[60.0, 0.0, -5.0]], dtype=torch.float64, requires_grad=True)
    erda_loss(s, torch.tensor([[-1.0, 2.0, 0.0]], dtype=torch.float64)).sum().backward()
    np.testing.assert_allclose(s.grad, 0, atol=1e-12)


def test_at_lambda_one_a_uniform_prediction_leaves_the_pseudo_label_alone():
    s = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    erda_loss(s, torch.zeros(6, 5, dtype=torch.float64)).sum().backward()
    np.testing.assert_allclose(s.grad, 0, atol=1e-12)


def test_at_lambda_zero_a_uniform_prediction_flattens_the_pseudo_label():
    s = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    erda_loss(s, torch.zeros(1, 3, dtype=torch.float64), entropy_weight=0.0).sum().backward()
    assert s.grad[0, 0] > 0 > s.grad[0, 2]


@pytest.mark.parametrize("form", DIVERGENCES)
def test_excluded_classes_give_finite_values_and_gradients(form):
    s = torch.tensor([[0.3, -1e4, 0.1]], requires_grad=True)
    z = torch.tensor([[0.5, 0.2, -40.0]], requires_grad=True)
    for lam in (0.0, 1.0, 2.0):
        loss = (erda_loss(s, z, lam, form) + 0 * z.sum(1)).sum()
        gradients = torch.autograd.grad(loss, (s, z))
        assert abs(loss) < 100
        assert all(torch.isfinite(g).all() for g in gradients)
        assert gradients[0][0, 1] == 0


def test_reverse_kl_compares_only_the_classes_that_p_holds():
    s, z = torch.tensor([[0.3, -1e4, 0.1]]), torch.tensor([[0.5, 0.2, -1.0]])
    expected = SLOW["kl_reverse"](softmax([0.3, 0.1]), softmax([0.5, -1.0]))
    assert erda_loss(s, z, 0.0, "kl_reverse").item() == pytest.approx(expected, rel=1e-5)


def test_half_precision_input_is_computed_in_fp32():
    s, z = torch.randn(50, 13), torch.randn(50, 13) * 8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = erda_loss(s, z.bfloat16())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, erda_loss(s, z.bfloat16().float()))


def test_pixels_are_rows_like_any_others():
    """A 2D feature map, flattened: gradients reach the map through both p and q."""
    torch.manual_seed(0)
    erda = ErdaLoss(num_classes=4, feature_dim=8)
    image = torch.randn(2, 8, 5, 6, requires_grad=True)
    head = torch.nn.Conv2d(8, 4, 1)
    labels = torch.full((2, 5, 6), -1)
    labels[:, 0, :4] = torch.arange(4)
    rows = image.permute(0, 2, 3, 1).reshape(-1, 8)
    logits = head(image).permute(0, 2, 3, 1).reshape(-1, 4)
    loss, pseudo = erda(rows, logits, labels.flatten())
    assert pseudo.shape == (60, 4)
    through_p = torch.autograd.grad(erda(rows, logits.detach(), labels.flatten())[0], image)[0]
    through_both = torch.autograd.grad(loss, image)[0]
    assert through_p.abs().sum() > 0
    assert not torch.allclose(through_p, through_both)


def test_annotated_rows_take_part_only_when_asked():
    torch.manual_seed(1)
    features, logits = torch.randn(12, 6), torch.randn(12, 3)
    labels = torch.tensor([0, 1, 2] + [-1] * 9)
    for all_points in (False, True):
        erda = ErdaLoss(3, 6, ErdaConfig(all_points=all_points))
        loss, s = erda(features, logits, labels)
        per_row = [slow_loss(a, b, 1.0) for a, b in zip(s.tolist(), logits.tolist(), strict=True)]
        assert loss.item() == pytest.approx(np.mean(per_row if all_points else per_row[3:]), rel=1e-5)


def test_nothing_to_learn_from_gives_zero_not_nan():
    erda = ErdaLoss(3, 6)
    features, logits = torch.randn(7, 6, requires_grad=True), torch.randn(7, 3)
    loss, _ = erda(features, logits, torch.full((7,), -1))
    loss.backward()
    assert loss.item() == 0
    loss, _ = erda(features, logits, torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    assert loss.item() == 0


def test_a_label_of_no_class_is_refused():
    """255 for unlabelled pixels, say: such rows would take part in nothing without a word."""
    erda = ErdaLoss(3, 6)
    with pytest.raises(InputError, match="label is 255"):
        erda(torch.randn(7, 6), torch.randn(7, 3), torch.tensor([0, 1, 2, 255, 255, 255, 255]))


@pytest.mark.parametrize(
    "settings",
    [
        {"weight": -0.1},
        {"momentum": 1.0},
        {"momentum": -0.5},
        {"temperature": 0.0},
        {"form": "js2"},
        {"unseen": "keep"},
        {"initial": "ones"},
        {"confidence_threshold": 1.0},
        {"top_n": -1},
        {"prototypes_per_class": 0},
        {"hard": True, "form": "js"},
        {"detach_p": True, "detach_q": True},
        {"hard": True, "detach_q": True},
        {"detach_p": True, "form": "none"},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=name) as caught:
        ErdaConfig(**settings)
    assert str(value) in str(caught.value) or len(settings) > 1
