"""What holds for every method, as the training loop uses it, on a plain network over rows."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from pointseg.methods import METHODS, Task, labelled_cross_entropy

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([3, 3, 2, 2]))


def build(name, net, task=TASK, **settings):
    torch.manual_seed(1)
    method = METHODS[name](METHODS[name].Config(**settings), task)
    method.prepare(net)
    return method


def trained(*modules):
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def test_cross_entropy_is_the_mean_over_annotated_rows():
    logits = torch.randn(6, 3)
    labels = torch.tensor([2, -1, 0, -1, -1, 1])
    expected = F.cross_entropy(logits[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(labelled_cross_entropy(logits, labels), expected)
    nothing = labelled_cross_entropy(logits.requires_grad_(), torch.full((6,), -1))
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("monitor", [False, True])
def test_hidden_truth_is_never_learnt_from(name, monitor, make_net, make_batch):
    batch = make_batch(step=9, steps=10, monitor=monitor)
    hidden = dataclasses.replace(
        batch,
        weak=dataclasses.replace(batch.weak, truth=torch.full_like(batch.weak.truth, -1)),
        strong=dataclasses.replace(batch.strong, truth=torch.full_like(batch.strong.truth, -1)),
    )
    gradients = []
    for given in (batch, hidden):
        net = make_net()
        method = build(name, net)
        total = method.loss(net, given).total
        gradients.append(torch.autograd.grad(total, trained(net, method), allow_unused=True))
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@pytest.mark.parametrize("name", METHODS)
def test_watching_changes_nothing(name, make_net, make_batch):
    totals = []
    for monitor in (False, True):
        net = make_net()
        terms = build(name, net).loss(net, make_batch(step=9, steps=10, monitor=monitor))
        assert ("accuracy_q" in terms.log) == monitor
        totals.append(terms.total)
    assert torch.equal(*totals)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("supervised", "mllc")])
def test_a_method_without_weight_is_supervised_only(name, make_net, make_batch):
    """MLLC is left out: its rounds learn the annotated rows at any weight."""
    net, batch = make_net(), make_batch(step=9, steps=10)
    off = {"u2pl": {"contrast_weight": 0.0}, "query_erda": {"query_weight": 0.0}}.get(name, {})
    reference = torch.autograd.grad(build("supervised", net).loss(net, batch).total, trained(net))
    gradients = torch.autograd.grad(build(name, net, weight=0.0, **off).loss(net, batch).total, trained(net))
    for a, b in zip(reference, gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_the_annotated_rows(name, make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = build(name, net)
    optimizer = torch.optim.AdamW(trained(net, method), lr=0.05)
    annotated = batch.weak.labels >= 0
    for step in range(60):
        terms = method.loss(net, dataclasses.replace(batch, step=step, steps=60))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        method.after_step(net)
    predicted = net(batch.weak.inputs)[1].argmax(1)[annotated]
    assert (predicted == batch.weak.labels[annotated]).all()


@pytest.mark.parametrize("name", METHODS)
def test_class_weights_scale_the_annotated_rows(name, make_net, make_batch):
    net, batch = make_net(), make_batch(monitor=False)
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    expected = F.cross_entropy(net(batch.weak.inputs)[1], batch.weak.labels, weight=weights, ignore_index=-1)
    method = build(name, net, dataclasses.replace(TASK, class_weights=weights))
    torch.testing.assert_close(method.loss(net, batch).log["loss_ce"], expected.detach())


@pytest.mark.parametrize("name", METHODS)
def test_the_teacher_is_scored_where_the_paper_does(name, make_net):
    net = make_net()
    scored = build(name, net).evaluated(net)
    assert (scored is net) == (name not in ("mean_teacher", "u2pl"))
