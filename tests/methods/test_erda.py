"""Prototypical ERDA's term against loops over rows: which rows, which gradients, in one process and two."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from small_methods import TASK
from small_methods import build_erda as build
from torch import nn

from pointseg.methods import Batch, ErdaLoss, Supervised, SupervisedConfig, View


def gradients(method, net, batch):
    """Gradients of the network's body and head, and of the projection (None = none reaches it)."""
    wanted = [net.body.weight, net.head.weight, *method.erda.projection.parameters()]
    net.zero_grad()
    method.zero_grad()
    method.loss(net, batch).total.backward()
    return [None if w.grad is None else w.grad.clone() for w in wanted]


def slow_term(net, batch, start, *, chosen, m=0.999, tau=1.0, lam=1.0):
    """L_p of a step without a projection, row by row, prototypes from ``start`` at momentum m, over rows ``chosen``."""
    features, logits = (x.detach().double().numpy() for x in net(batch.weak.inputs))
    labels = batch.weak.labels.numpy()
    centroids = [m * start[k] + (1 - m) * features[labels == k].mean(0) for k in range(4)]
    losses = []
    for i in chosen:
        cosine = [features[i] @ c / np.linalg.norm(features[i]) / np.linalg.norm(c) for c in centroids]
        p = np.exp(np.array(cosine) / tau)
        p /= p.sum()
        q = np.exp(logits[i]) / np.exp(logits[i]).sum()
        losses.append(lam * -(p * np.log(p)).sum() + (p * np.log(p / q)).sum())
    return np.mean(losses)


@pytest.mark.parametrize("initial", ["random", "zeros"])
@pytest.mark.parametrize("settings", [{}, {"m": 0.9}, {"tau": 0.2}, {"lam": 0.3}])
def test_the_term_follows_the_equations(make_net, make_batch, settings, initial):
    net, batch = make_net(), make_batch()
    names = {"m": "momentum", "tau": "temperature", "lam": "entropy_weight"}
    erda = build(projection=False, initial=initial, **{names[key]: value for key, value in settings.items()})
    start = erda.erda.prototypes.value.double().numpy()
    assert start.any() == (initial == "random")
    unannotated = np.flatnonzero(batch.weak.labels.numpy() < 0)
    expected = slow_term(net, batch, start, chosen=unannotated, **settings)
    assert erda.loss(net, batch).log["loss_erda"].item() == pytest.approx(expected, rel=1e-5)


def test_the_total_is_supervised_plus_the_weighted_term(make_net, make_batch):
    net, batch, erda = make_net(), make_batch(), build(weight=0.3)
    supervised = Supervised(SupervisedConfig(), TASK).loss(net, batch).total
    terms = erda.loss(net, batch)
    torch.testing.assert_close(terms.total.detach(), (supervised + 0.3 * terms.log["loss_erda"]).detach())


def test_gradients_of_the_whole_chain(make_net, make_batch):
    """Projection, prototypes as constants, cosine, softmaxes: against finite differences in fp64."""
    batch = make_batch(rows=12, samples=1)
    erda = ErdaLoss(4, 8).double()
    features, logits = (x.detach().double().requires_grad_() for x in make_net()(batch.weak.inputs))
    erda(features, logits, batch.weak.labels)
    erda.eval()
    erda.projection.train()
    assert torch.autograd.gradcheck(lambda f, z: erda(f, z, batch.weak.labels)[0], (features, logits), atol=1e-6)


def test_which_gradients_each_detachment_leaves(make_net, make_batch):
    net, batch = make_net(), make_batch()
    ce = gradients(build(weight=0.0), net, batch)
    both, no_p, no_q, hard = (
        gradients(build(weight=1.0, **settings), net, batch)
        for settings in ({}, {"detach_p": True}, {"detach_q": True}, {"hard": True})
    )
    assert all(g.abs().sum() > 0 for g in both)
    torch.testing.assert_close(no_q[1], ce[1])
    assert (no_q[0] - ce[0]).abs().max() > 1e-6
    assert all(g is None for g in no_p[2:] + hard[2:])
    for found in (no_p, hard):
        assert (found[1] - ce[1]).abs().max() > 1e-4
    for i in range(2):
        torch.testing.assert_close(both[i] - ce[i], (no_p[i] - ce[i]) + (no_q[i] - ce[i]), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"detach_p": True}, {"hard": True}])
def test_a_projection_nothing_trains_is_not_given_to_the_optimiser(settings):
    assert not any(p.requires_grad for p in build(**settings).parameters())
    assert any(p.requires_grad for p in build().parameters())


def test_entropy_alone_does_not_touch_the_head(make_net, make_batch):
    net, batch = make_net(), make_batch()
    ce, er = gradients(build(weight=0.0), net, batch), gradients(build(weight=1.0, form="none"), net, batch)
    torch.testing.assert_close(ce[1], er[1])
    assert (ce[0] - er[0]).abs().max() > 1e-6


def test_hard_pseudo_labels_are_the_most_likely_classes(make_net, make_batch):
    net, batch, erda = make_net(), make_batch(), build(hard=True)
    features, logits = net(batch.weak.inputs)
    loss, s = erda.erda(features, logits, batch.weak.labels)
    rows = [i for i in range(40) if batch.weak.labels[i] < 0]
    expected = np.mean([-float(logits[i].log_softmax(0)[int(s[i].argmax())].detach()) for i in rows])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("top_n", [1, 5, 1000])
def test_the_most_confident_rows_of_each_sample_are_used(make_net, make_batch, hard, top_n):
    net, batch = make_net(), make_batch(samples=2)
    erda = build(top_n=top_n, hard=hard).erda
    view = batch.weak
    _, s = erda(*net(view.inputs), view.labels, view.batch_index)
    confidence = s.detach().softmax(1).amax(1)
    expected = torch.zeros(40, dtype=torch.bool)
    for sample in (0, 1):
        rows = [i for i in range(40) if view.batch_index[i] == sample and view.labels[i] < 0]
        expected[sorted(rows, key=lambda i: -float(confidence[i]))[:top_n]] = True
    assert torch.equal(erda.used_rows(s, view.labels, view.batch_index), expected)
    shuffled = torch.randperm(40)
    used = erda.used_rows(s[shuffled], view.labels[shuffled], view.batch_index[shuffled])
    assert torch.equal(used, expected[shuffled])


def test_selected_rows_alone_make_the_loss(make_net, make_batch):
    net, batch = make_net(), make_batch()
    erda = build(projection=False, top_n=3)
    _, s = erda.erda(*net(batch.weak.inputs), batch.weak.labels, batch.weak.batch_index)
    used = erda.erda.used_rows(s, batch.weak.labels, batch.weak.batch_index)
    terms = build(projection=False, top_n=3).loss(net, batch)
    assert used.sum() == 6
    start = build(projection=False).erda.prototypes.value.double().numpy()
    expected = slow_term(net, batch, start, chosen=used.nonzero().flatten().tolist())
    assert terms.log["loss_erda"].item() == pytest.approx(expected, rel=1e-5)
    assert terms.log["pseudo_label_coverage"].item() == pytest.approx(6 / (batch.weak.labels < 0).sum().item())


def test_a_threshold_keeps_confident_rows_and_zero_loss_where_none_is(make_net, make_batch):
    net, batch = make_net(), make_batch()
    erda = build(confidence_threshold=0.3)
    _, s = erda.erda(*net(batch.weak.inputs), batch.weak.labels)
    expected = (s.softmax(1).amax(1) >= 0.3) & (batch.weak.labels < 0)
    assert 0 < expected.sum() < (batch.weak.labels < 0).sum()
    assert torch.equal(erda.erda.used_rows(s, batch.weak.labels), expected)
    terms = build(confidence_threshold=0.99).loss(net, batch)
    terms.total.backward()
    assert terms.log["loss_erda"] == 0
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("settings", [{}, {"top_n": 3}, {"hard": True}, {"prototypes_per_class": 3}, {"form": "js"}])
def test_nothing_annotated_or_nothing_unannotated_gives_zero_with_a_gradient_path(make_net, make_batch, settings):
    net, batch = make_net(), make_batch()
    for labels in (torch.full((40,), -1), torch.arange(40) % 4):
        view = dataclasses.replace(batch.weak, labels=labels)
        terms = build(**settings).loss(net, dataclasses.replace(batch, weak=view))
        terms.total.backward()
        assert terms.log["loss_erda"] == 0
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_before_any_annotation_nothing_is_pulled_anywhere(make_net, make_batch):
    net, batch = make_net(), make_batch()
    view = dataclasses.replace(batch.weak, labels=torch.full((40,), -1))
    found = gradients(build(weight=1.0), net, dataclasses.replace(batch, weak=view))
    assert all(g.abs().max() == 0 for g in found)


def test_hidden_truth_is_watched_but_never_learnt_from(make_net, make_batch):
    net, batch = make_net(), make_batch()
    hidden = dataclasses.replace(batch.weak, truth=torch.full_like(batch.weak.truth, -1))
    seen = gradients(build(weight=1.0), net, batch)
    unseen = gradients(build(weight=1.0), net, dataclasses.replace(batch, weak=hidden))
    assert all(torch.equal(a, b) for a, b in zip(seen, unseen, strict=True))


class Linear(nn.Module):
    def forward(self, inputs):
        return inputs @ self.weight, inputs @ self.weight @ self.head

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(5, 8, generator=generator))
        self.head = nn.Parameter(torch.randn(8, 4, generator=generator))


def three_steps(parts, settings):
    """Losses, gradients and prototypes of three steps on a part of the rows of each: no update of the network.

    The last 20 rows hold one annotation, of class 0, and none in the second step.
    """
    generator = torch.Generator().manual_seed(9)
    net, erda, results = Linear(), build(weight=1.0, **settings), []
    for step in range(3):
        inputs, labels = torch.randn(60, 5, generator=generator), torch.full((60,), -1)
        labels[:9] = torch.randint(0, 3 + step // 2, (9,), generator=generator)
        labels[40] = 0 if step != 1 else -1
        rows = torch.arange(60)[parts]
        sample = torch.arange(60) // 40
        view = View(inputs[rows], labels[rows], sample[rows], torch.zeros(len(rows), 3), rows, labels[rows])
        net.zero_grad()
        terms = erda.loss(net, Batch(weak=view, monitor=False))
        terms.total.backward()
        prototypes = copy.deepcopy(erda.erda.prototypes.state_dict())
        results.append({"loss": terms.total.detach(), "grad": net.weight.grad.clone(), "prototypes": prototypes})
    return results


SETTINGS = {
    "plain": {"projection": False, "momentum": 0.5},
    "top_n": {"projection": False, "top_n": 5},
    "hard": {"projection": False, "hard": True, "confidence_threshold": 0.3},
    "several": {"projection": False, "prototypes_per_class": 3, "momentum": 0.5},
}


def in_two(rank):
    parts = (slice(0, 40), slice(40, 60))[rank]
    results = {name: three_steps(parts, settings) for name, settings in SETTINGS.items()}
    return results | {"projected": three_steps(parts, {})}


def test_two_processes_are_one_with_the_whole_batch(in_processes):
    """Exactly so but for the batch norm of the projection, whose statistics are each process's own."""
    first, second = in_processes(in_two)
    for name, settings in SETTINGS.items():
        for one, a, b in zip(three_steps(slice(None), settings), first[name], second[name], strict=True):
            torch.testing.assert_close(a["prototypes"], b["prototypes"], atol=0, rtol=0)
            torch.testing.assert_close(a["prototypes"], one["prototypes"])
            torch.testing.assert_close((a["loss"] + b["loss"]) / 2, one["loss"])
            torch.testing.assert_close((a["grad"] + b["grad"]) / 2, one["grad"], atol=1e-5, rtol=1e-4)
    for a, b in zip(first["projected"], second["projected"], strict=True):
        torch.testing.assert_close(a["prototypes"], b["prototypes"], atol=0, rtol=0)
