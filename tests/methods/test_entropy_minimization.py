"""Entropy minimisation against its equation and its gradient."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods import Task
from pointseg.methods.entropy_minimization import EntropyMinimization, EntropyMinimizationConfig, mean_entropy

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


def slow_entropy(row):
    total = sum(math.exp(v) for v in row)
    return -sum(math.exp(v) / total * math.log(math.exp(v) / total) for v in row)


def test_mean_entropy_and_its_gradient_follow_the_equations():
    """dH/dz_i = -q_i (log q_i + H), averaged over the rows that take part."""
    torch.manual_seed(0)
    logits = (2 * torch.randn(9, 5, dtype=torch.float64)).requires_grad_()
    rows = torch.arange(9) % 3 > 0
    loss = mean_entropy(logits, rows)
    expected = np.mean([slow_entropy(z) for z, take in zip(logits.tolist(), rows.tolist(), strict=True) if take])
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    q = logits.detach().softmax(1).numpy()
    entropy = -(q * np.log(q)).sum(1, keepdims=True)
    gradient = -q * (np.log(q) + entropy) / 6 * rows.numpy()[:, None]
    np.testing.assert_allclose(logits.grad, gradient, rtol=1e-9, atol=1e-14)
    assert torch.autograd.gradcheck(lambda z: mean_entropy(z, rows), (logits,))


def test_certain_and_uniform_predictions_have_no_gradient():
    logits = torch.tensor([[300.0, 0.0, -300.0], [1.0, 1.0, 1.0]], requires_grad=True)
    loss = mean_entropy(logits, torch.tensor([True, True]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3) / 2)
    np.testing.assert_allclose(logits.grad, 0, atol=1e-7)


def test_the_loss_is_the_labelled_one_plus_the_ramped_entropy_of_the_rest(make_net, make_batch):
    net, batch = make_net(), make_batch(step=20, steps=100)
    terms = EntropyMinimization(EntropyMinimizationConfig(weight=0.7, ramp_up=0.5), TASK).loss(net, batch)
    logits, labels = net(batch.weak.inputs)[1], batch.weak.labels
    entropy = np.mean([slow_entropy(z) for z, y in zip(logits.tolist(), labels.tolist(), strict=True) if y < 0])
    ce = F.cross_entropy(logits[labels >= 0], labels[labels >= 0]).item()
    assert terms.total.item() == pytest.approx(ce + 0.7 * math.exp(-5 * 0.6**2) * entropy, rel=1e-5)


def test_steps_make_the_unannotated_rows_certain(make_net, make_batch):
    net, batch = make_net(), make_batch(step=1)
    method = EntropyMinimization(EntropyMinimizationConfig(weight=1.0), TASK)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    entropies = []
    for _ in range(40):
        terms = method.loss(net, batch)
        entropies.append(float(terms.log["loss_entropy"]))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    assert entropies[-1] < 0.5 * entropies[0]


@pytest.mark.parametrize("label", [-1, 0])
def test_nothing_annotated_and_nothing_unannotated_give_zero_not_nan(label, make_net, make_batch):
    net, batch = make_net(), make_batch(step=1)
    weak = dataclasses.replace(batch.weak, labels=torch.full_like(batch.weak.labels, label))
    terms = EntropyMinimization(EntropyMinimizationConfig(), TASK).loss(net, dataclasses.replace(batch, weak=weak))
    assert float(terms.log["loss_ce" if label < 0 else "loss_entropy"]) == 0
    assert float(terms.log["loss_entropy" if label < 0 else "loss_ce"]) > 0
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(terms.total, list(net.parameters())))


def test_under_autocast_the_entropy_is_fp32():
    torch.manual_seed(0)
    logits, rows = (5 * torch.randn(40, 13)).bfloat16(), torch.ones(40, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mean_entropy(logits, rows)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, mean_entropy(logits.float(), rows))


def test_one_view_is_enough_and_the_watched_is_optional(make_net, make_batch):
    method = EntropyMinimization(EntropyMinimizationConfig(), TASK)
    assert not method.needs_strong_view
    watched = method.loss(make_net(), dataclasses.replace(make_batch(), strong=None, weak_row=None))
    plain = method.loss(make_net(), make_batch(monitor=False))
    assert set(plain.log) == {"loss_ce", "loss_entropy"}
    torch.testing.assert_close(watched.log["entropy_q"], watched.log["loss_entropy"])
    assert torch.equal(watched.total, plain.total)


@pytest.mark.parametrize("settings", [{"weight": -0.1}, {"ramp_up": -0.5}])
def test_settings_out_of_range_are_refused(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        EntropyMinimizationConfig(**settings)
