"""Consistency of two views of one network."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods import Batch, Task
from pointseg.methods.consistency import Consistency, ConsistencyConfig

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


def gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()))


def slow_loss(net, batch, weight, stop):
    """L_ce + weight * (KL(p||m) + KL(q||m)), row by row in fp64."""
    weak, strong = net(batch.weak.inputs)[1], net(batch.strong.inputs)[1]
    rows = [i for i in range(len(batch.weak.labels)) if batch.weak.labels[i] >= 0]
    ce = sum(-weak[i].log_softmax(0)[batch.weak.labels[i]] for i in rows) / len(rows)
    terms = []
    for i, row in enumerate(batch.weak_row.tolist()):
        if row >= 0:
            p, q = (weak[row].detach() if stop else weak[row]).softmax(0), strong[i].softmax(0)
            m = (p + q) / 2
            terms.append((p * (p / m).log()).sum() + (q * (q / m).log()).sum())
    return ce + weight * sum(terms) / len(terms)


def in_double(batch):
    views = (dataclasses.replace(view, inputs=view.inputs.double()) for view in (batch.weak, batch.strong))
    weak, strong = views
    return dataclasses.replace(batch, weak=weak, strong=strong)


@pytest.mark.parametrize("stop", [False, True])
def test_loss_and_gradients_are_those_of_the_equations(stop, make_net, make_batch):
    net, batch = make_net().double(), in_double(make_batch(step=9, steps=10))
    method = Consistency(ConsistencyConfig(weight=2.0, stop_gradient=stop), TASK)
    total, expected = method.loss(net, batch).total, slow_loss(net, batch, 2.0, stop)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    for mine, theirs in zip(gradients(total, net), gradients(expected, net), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_stopping_the_gradient_changes_it_but_not_the_loss(make_net, make_batch):
    net, batch = make_net(), make_batch(step=5, steps=10)
    through = Consistency(ConsistencyConfig(), TASK).loss(net, batch).total
    stopped = Consistency(ConsistencyConfig(stop_gradient=True), TASK).loss(net, batch).total
    torch.testing.assert_close(through, stopped)
    assert not torch.allclose(gradients(through, net)[0], gradients(stopped, net)[0], rtol=1e-3)


@pytest.mark.parametrize("step", [0, 15, 30, 90])
def test_the_weight_follows_the_ramp(step, make_net, make_batch):
    net, batch = make_net(), make_batch(step=step, steps=100)
    terms = Consistency(ConsistencyConfig(weight=3.0, ramp_up=0.3), TASK).loss(net, batch)
    ramp = math.exp(-5 * (1 - min(step / 30, 1)) ** 2)
    expected = terms.log["loss_ce"] + 3.0 * ramp * terms.log["loss_consistency"]
    torch.testing.assert_close(terms.total.detach(), expected)


def test_each_divergence_is_another_loss(make_net, make_batch):
    net, batch = make_net(), make_batch()
    values = [
        float(Consistency(ConsistencyConfig(divergence=name), TASK).loss(net, batch).log["loss_consistency"])
        for name in ("js", "mse", "kl")
    ]
    assert len({round(v, 6) for v in values}) == 3


def test_without_a_counterpart_the_loss_is_the_labelled_one(make_net, make_batch):
    net, batch = make_net(), make_batch()
    batch = dataclasses.replace(batch, weak_row=torch.full_like(batch.weak_row, -1))
    terms = Consistency(ConsistencyConfig(), TASK).loss(net, batch)
    known = batch.weak.labels >= 0
    expected = F.cross_entropy(net(batch.weak.inputs)[1][known], batch.weak.labels[known])
    torch.testing.assert_close(terms.total, expected)
    assert all(torch.isfinite(g).all() for g in gradients(terms.total, net))


def test_no_annotation_leaves_the_consistency_alone(make_net, make_batch):
    net, batch = make_net(), make_batch(step=5, steps=10)
    weak = dataclasses.replace(batch.weak, labels=torch.full_like(batch.weak.labels, -1))
    terms = Consistency(ConsistencyConfig(), TASK).loss(net, dataclasses.replace(batch, weak=weak))
    assert terms.log["loss_ce"] == 0
    assert terms.total.item() == pytest.approx(float(terms.log["loss_consistency"]))
    assert terms.total > 0


def test_under_autocast_the_loss_is_fp32_and_finite(make_net, make_batch):
    net, batch = make_net(), make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = Consistency(ConsistencyConfig(), TASK).loss(net, batch).total
    assert total.dtype == torch.float32
    assert all(torch.isfinite(g).all() for g in gradients(total, net))


def test_what_is_watched_is_left_out_when_not_asked_for(make_net, make_batch):
    method = Consistency(ConsistencyConfig(), TASK)
    watched = method.loss(make_net(), make_batch())
    plain = method.loss(make_net(), make_batch(monitor=False))
    assert {"pseudo_label_accuracy", "share_paired"} <= set(watched.log)
    assert set(plain.log) == {"loss_ce", "loss_consistency"}
    assert not any(value.requires_grad for value in watched.log.values())
    assert torch.equal(watched.total, plain.total)


def test_one_view_is_refused(make_net, make_batch):
    with pytest.raises(ValueError, match="two views"):
        Consistency(ConsistencyConfig(), TASK).loss(make_net(), Batch(weak=make_batch().weak))
    assert Consistency(ConsistencyConfig(), TASK).needs_strong_view


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"divergence": "cosine"}, {"ramp_up": 1.5}])
def test_settings_out_of_range_are_refused(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"{name} is '?{value}"):
        ConsistencyConfig(**settings)
