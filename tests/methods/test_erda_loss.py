"""The ERDA loss against equations written out here, and the published-by-derivation test vector."""

import math

import numpy as np
import pytest
import torch

from pointseg.errors import InputError
from pointseg.methods import ErdaConfig, ErdaLoss, erda_loss


def softmax(values):
    exponentials = [math.exp(v - max(values)) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def slow_loss(s, z, lam):
    """lambda H(p) + KL(p || q), term by term."""
    p, q = softmax(s), softmax(z)
    entropy = -sum(pk * math.log(pk) for pk in p)
    divergence = sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))
    return lam * entropy + divergence


def test_test_vector():
    s = torch.tensor([[0.2, -0.1, 0.5]], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    loss = erda_loss(s, z).sum()
    loss.backward()
    assert loss.item() == pytest.approx(1.520804, abs=1e-6)
    np.testing.assert_allclose(s.grad[0], [-0.360179, -0.027133, 0.387312], atol=1e-6)
    np.testing.assert_allclose(z.grad[0], [0.341687, 0.005034, -0.346721], atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 2.0])
def test_value_and_gradients_follow_the_equations(lam):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(5, 2, 4))
    s = torch.tensor(values[:, 0], requires_grad=True)
    z = torch.tensor(values[:, 1], requires_grad=True)
    loss = erda_loss(s, z, lam)
    np.testing.assert_allclose(loss.detach(), [slow_loss(a, b, lam) for a, b in values], rtol=1e-12)
    loss.sum().backward()
    for row, (a, b) in enumerate(values):
        p, q = np.array(softmax(a)), np.array(softmax(b))
        entropy, cross = -(p * np.log(p)).sum(), -(p * np.log(q)).sum()
        expected = p * (-np.log(q) - cross + (1 - lam) * (np.log(p) + entropy))
        np.testing.assert_allclose(s.grad[row], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(z.grad[row], q - p, rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: erda_loss(a, b, lam), (s, z))


def test_at_lambda_one_a_uniform_prediction_leaves_the_pseudo_label_alone():
    s = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    erda_loss(s, torch.zeros(6, 5, dtype=torch.float64)).sum().backward()
    np.testing.assert_allclose(s.grad, 0, atol=1e-12)


def test_at_lambda_zero_a_uniform_prediction_flattens_the_pseudo_label():
    s = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    erda_loss(s, torch.zeros(1, 3, dtype=torch.float64), entropy_weight=0.0).sum().backward()
    assert s.grad[0, 0] > 0 > s.grad[0, 2]


def test_masked_classes_give_finite_values_and_gradients():
    s = torch.tensor([[0.3, -1e4, 0.1]], requires_grad=True)
    z = torch.tensor([[0.5, 0.2, -40.0]], requires_grad=True)
    for lam in (0.0, 1.0, 2.0):
        loss = erda_loss(s, z, lam).sum()
        gradients = torch.autograd.grad(loss, (s, z))
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert gradients[0][0, 1] == 0


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


@pytest.mark.parametrize("settings", [{"weight": -0.1}, {"momentum": 1.0}, {"momentum": -0.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings.values()))}"):
        ErdaConfig(**settings)
