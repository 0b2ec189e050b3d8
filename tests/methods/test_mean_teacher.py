"""Mean Teacher against a training written out by hand."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from small_methods import train
from torch import nn
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods import Task
from pointseg.methods.mean_teacher import MeanTeacher, MeanTeacherConfig

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


def prepared(net, **settings):
    method = MeanTeacher(MeanTeacherConfig(**settings), TASK)
    method.prepare(net)
    return method


def apart(method, seed=1):
    """Move the teacher away from the student, so that their predictions differ."""
    generator = torch.Generator().manual_seed(seed)
    for p in method.teacher.parameters():
        p += 0.3 * torch.randn(p.shape, generator=generator)
    return method


def slow_loss(net, teacher, batch, weight):
    weak, strong, target = net(batch.weak.inputs)[1], net(batch.strong.inputs)[1], teacher(batch.weak.inputs)[1]
    known = batch.weak.labels >= 0
    ce = F.cross_entropy(weak[known], batch.weak.labels[known])
    terms = []
    for i, row in enumerate(batch.weak_row.tolist()):
        if row >= 0:
            distance = strong[i].softmax(0) - target[row].detach().softmax(0)
            terms.append((distance**2).sum() / len(distance))
    return ce + weight * sum(terms) / len(terms)


def test_loss_and_gradients_are_those_of_the_equations(make_net, make_batch):
    net = make_net().double()
    batch = make_batch(step=2, steps=10)
    weak, strong = (dataclasses.replace(v, inputs=v.inputs.double()) for v in (batch.weak, batch.strong))
    batch = dataclasses.replace(batch, weak=weak, strong=strong)
    method = apart(prepared(net, weight=50.0, ramp_up=0.4))
    total = method.loss(net, batch).total
    expected = slow_loss(net, method.teacher.model, batch, 50.0 * math.exp(-5 * 0.25))
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    mine, theirs = (torch.autograd.grad(loss, list(net.parameters())) for loss in (total, expected))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


def test_several_steps_follow_a_training_written_by_hand(make_net, make_batch):
    net = make_net()
    slow, average = copy.deepcopy(net), copy.deepcopy(net)
    batches = [make_batch(seed=n, step=n, steps=4) for n in range(4)]
    method = prepared(net, weight=20.0, ramp_up=0.0, momentum=0.6)
    losses = train(net, method, torch.optim.SGD(net.parameters(), lr=0.1), batches)
    optimizer = torch.optim.SGD(slow.parameters(), lr=0.1)
    for n, batch in enumerate(batches, start=1):
        loss = slow_loss(slow, average, batch, 20.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(1 - 1 / (n + 1), 0.6)
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), slow.parameters(), strict=True):
                mine.copy_(decay * mine + (1 - decay) * theirs)
        assert losses[n - 1] == pytest.approx(loss.item(), rel=1e-5)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(method.teacher.model.state_dict()[name], value, msg=name)


def test_the_state_continues_from_the_middle(make_net, make_batch):
    batches = [make_batch(seed=n, step=n, steps=6) for n in range(6)]
    net = make_net()
    method = prepared(net, ramp_up=0.5)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train(net, method, optimizer, batches[:3])
    kept = copy.deepcopy((net.state_dict(), method.state_dict()))
    expected = train(net, method, optimizer, batches[3:])
    other = make_net()
    resumed = prepared(other, ramp_up=0.5)
    other.load_state_dict(kept[0])
    resumed.load_state_dict(kept[1])
    assert train(other, resumed, torch.optim.SGD(other.parameters(), lr=0.1), batches[3:]) == expected


def test_the_teacher_is_not_trained_and_the_student_is(make_net, make_batch):
    net = make_net()
    method = apart(prepared(net))
    method.loss(net, make_batch(step=1)).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert all(p.grad is not None for p in net.parameters())
    assert any(name.startswith("teacher.model.") for name in method.state_dict())


class NormNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.norm(self.body(inputs)).relu()
        return features, self.head(features)


def test_views_are_normalised_apart_and_the_teacher_by_the_weak_view(make_batch):
    """The strong view's statistics must not leak into the weak view's, nor into the teacher's."""
    torch.manual_seed(0)
    net, batch = NormNet(), make_batch(step=1)
    far = dataclasses.replace(batch, strong=dataclasses.replace(batch.strong, inputs=batch.strong.inputs + 50))
    a, b = (prepared(net).loss(copy.deepcopy(net), x).log["loss_ce"] for x in (batch, far))
    assert torch.equal(a, b)
    method = prepared(net)
    method.loss(net, far)
    hidden = method.teacher.model.body(batch.weak.inputs).detach()
    torch.testing.assert_close(method.teacher.model.norm.running_mean, 0.1 * hidden.mean(0))


def test_what_is_scored_is_a_setting(make_net):
    net = make_net()
    teacher = prepared(net)
    assert teacher.evaluated(net) is teacher.teacher.model
    assert prepared(net, evaluate="student").evaluated(net) is net
    assert teacher.needs_strong_view


@pytest.mark.parametrize(("label", "row"), [(-1, 0), (-1, -1), (0, -1)])
def test_empty_sets_give_zero_not_nan(label, row, make_net, make_batch):
    net, batch = make_net(), make_batch(step=1)
    weak = dataclasses.replace(batch.weak, labels=torch.full_like(batch.weak.labels, label))
    batch = dataclasses.replace(batch, weak=weak, weak_row=torch.full_like(batch.weak_row, row))
    terms = apart(prepared(net)).loss(net, batch)
    assert (float(terms.log["loss_ce"]) == 0) == (label < 0)
    assert (float(terms.log["loss_consistency"]) == 0) == (row < 0)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(terms.total, list(net.parameters())))


def test_under_autocast_the_loss_is_fp32_and_finite(make_net, make_batch):
    net = make_net()
    method = apart(prepared(net))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.loss(net, make_batch())
    assert terms.total.dtype == torch.float32
    exact = method.loss(net, make_batch())
    torch.testing.assert_close(terms.total, exact.total, rtol=0.05, atol=0.05)


def test_each_divergence_is_another_loss(make_net, make_batch):
    net = make_net()
    values = {
        name: float(apart(prepared(net, divergence=name)).loss(net, make_batch()).log["loss_consistency"])
        for name in ("mse", "kl", "js")
    }
    assert len({round(v, 6) for v in values.values()}) == 3


def test_what_is_watched_is_left_out_when_not_asked_for(make_net, make_batch):
    net = make_net()
    method = apart(prepared(net))
    watched, plain = method.loss(net, make_batch()), method.loss(net, make_batch(monitor=False))
    assert {"pseudo_label_accuracy", "kl_p_q"} <= set(watched.log)
    assert set(plain.log) == {"loss_ce", "loss_consistency"}
    assert torch.equal(watched.total, plain.total)


@pytest.mark.parametrize(
    "settings", [{"weight": -1.0}, {"divergence": "l1"}, {"momentum": 1.0}, {"ramp_up": 2.0}, {"evaluate": "both"}]
)
def test_settings_out_of_range_are_refused(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"{name} is '?{value}"):
        MeanTeacherConfig(**settings)
