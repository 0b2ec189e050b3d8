"""Query-based ERDA: its losses from the equations and where gradients go, in one process and two."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from small_methods import build_query_erda as build
from torch import nn

from pointseg.methods import Batch, View


class Recorder(nn.Module):
    """Passes on a network's outputs and keeps them: weak view first, strong view second."""

    def __init__(self, net):
        super().__init__()
        self.net, self.features, self.logits = net, [], []

    def forward(self, inputs):
        features, logits = self.net(inputs)
        self.features.append(features)
        self.logits.append(logits)
        return features, logits


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def without_labels(batch):
    return dataclasses.replace(
        batch, weak=dataclasses.replace(batch.weak, labels=torch.full_like(batch.weak.labels, -1))
    )


def slow_terms(net, method, batch, entropy_weight, two):
    """CE(q, y), CE(p, y) and mean L_p, row by row."""
    weak = batch.weak
    features, z_weak = (x.detach() for x in net(weak.inputs))
    s = copy.deepcopy(method.generator)(features, weak.batch_index, weak.labels, batch.step)[0].detach().numpy()
    annotated = [i for i, y in enumerate(weak.labels.tolist()) if y >= 0]
    known = method.label_counts.numpy() > 0
    on_q = [-np.log(softmax(z_weak[i].numpy())[weak.labels[i]]) for i in annotated]
    on_p = [-np.log(softmax(np.where(known, s[i], -np.inf))[weak.labels[i]]) for i in annotated]
    z_strong = net(batch.strong.inputs)[1].detach()
    if two:
        pairs = [(s[row], z_strong[i].numpy()) for i, row in enumerate(batch.weak_row.tolist()) if row >= 0]
    else:
        pairs = [(s[i], z_weak[i].numpy()) for i in range(len(s)) if i not in annotated]
    rows = []
    for a, b in pairs:
        p, q = softmax(a), softmax(b)
        rows.append(entropy_weight * -(p * np.log(p)).sum() + (p * np.log(p / q)).sum())
    return np.mean(on_q), np.mean(on_p), np.mean(rows)


@pytest.mark.parametrize("views", ["two", "one"])
@pytest.mark.parametrize("entropy_weight", [1.0, 0.3])
def test_the_loss_follows_the_equations(make_net, make_batch, views, entropy_weight):
    net = make_net()
    batch = make_batch(step=3)
    method = build(weight=0.7, query_weight=0.4, views=views, entropy_weight=entropy_weight, max_keys=6)
    expected = slow_terms(net, method, batch, entropy_weight, views == "two")
    terms = method.loss(net, batch)
    logged = [float(terms.log[name]) for name in ("loss_ce", "loss_query", "loss_erda")]
    np.testing.assert_allclose(logged, expected, rtol=1e-5)
    assert float(terms.total.detach()) == pytest.approx(expected[0] + 0.4 * expected[1] + 0.7 * expected[2], rel=1e-5)
    assert method.needs_strong_view == (views == "two")


def test_one_view_needs_no_strong_view(make_net, make_batch):
    batch = make_batch()
    alone = dataclasses.replace(batch, strong=None, weak_row=None)
    one, two = build(views="one"), build()
    assert torch.equal(one.loss(make_net(), batch).total, build(views="one").loss(make_net(), alone).total)
    with pytest.raises(ValueError, match="two views"):
        two.loss(make_net(), alone)


@pytest.mark.parametrize(
    ("settings", "reaches_weak"),
    [({}, True), ({"weak_gradient": False}, False), ({"teacher": "ema"}, False)],
)
def test_gradients_of_the_alignment(make_net, make_batch, settings, reaches_weak):
    """L_p alone, as no row is annotated: p's side and q's side, and nothing else."""
    net = Recorder(make_net())
    method = build(query_weight=0.0, **settings)
    method.prepare(net.net)
    total = method.loss(net, without_labels(make_batch())).total
    outputs = [net.features[0], net.logits[0], net.logits[1]]
    weak_features, weak_logits, strong_logits = torch.autograd.grad(
        total, outputs, allow_unused=True, retain_graph=True
    )
    assert weak_logits is None or not weak_logits.any()
    assert strong_logits.abs().sum() > 0
    assert bool(weak_features is not None and weak_features.any()) == reaches_weak
    total.backward()
    assert all(p.grad.abs().sum() > 0 for p in method.generator.parameters())
    assert not any(p.requires_grad for name, p in method.named_parameters() if name.startswith("teacher"))


@pytest.mark.parametrize(("settings", "reaches"), [({}, True), ({"weak_gradient": False}, False)])
def test_gradients_of_the_queries_own_cross_entropy(make_net, make_batch, settings, reaches):
    net, batch = Recorder(make_net()), make_batch()
    method = build(weight=0.0, query_weight=1.0, **settings)
    method.loss(net, batch).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in method.generator.parameters())
    without = Recorder(make_net())
    build(weight=0.0, query_weight=0.0).loss(without, batch).total.backward()
    same = torch.allclose(net.net.body.weight.grad, without.net.body.weight.grad)
    assert same != reaches


def test_the_alignment_has_the_derived_gradient_on_both_sides(make_net, make_batch):
    """At lambda 1: dL/dz = q - p on strong rows with a counterpart, over their number, and 0 on the others."""
    net, batch = Recorder(make_net()), make_batch()
    method = build(weight=1.0, query_weight=0.0)
    features, _ = make_net()(batch.weak.inputs)
    s, _ = copy.deepcopy(method.generator)(features, batch.weak.batch_index, batch.weak.labels)
    total = method.loss(net, without_labels(batch)).total
    gradient = torch.autograd.grad(total, net.logits[1])[0]
    p = s.softmax(1)[batch.weak_row.clamp(min=0)]
    expected = (net.logits[1].softmax(1) - p) / (batch.weak_row >= 0).sum()
    expected[batch.weak_row < 0] = 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_a_class_without_any_annotation_is_left_out_of_the_queries_cross_entropy_only(make_net, make_batch):
    net, batch = make_net(), make_batch()
    labels = batch.weak.labels
    batch = dataclasses.replace(
        batch, weak=dataclasses.replace(batch.weak, labels=torch.where(labels == 2, -1, labels))
    )
    method = build(label_counts=torch.tensor([5, 4, 0, 2]))
    expected = slow_terms(net, method, batch, 1.0, True)
    log = method.loss(net, batch).log
    assert float(log["loss_query"]) == pytest.approx(expected[1], rel=1e-5)
    assert float(log["loss_erda"]) == pytest.approx(expected[2], rel=1e-5)
    assert float(build().loss(net, batch).log["loss_query"]) > float(log["loss_query"])


def test_class_weights_apply_to_both_cross_entropies(make_net, make_batch):
    weights = torch.tensor([1.0, 5.0, 0.5, 2.0])
    plain, weighted = (build(class_weights=w).loss(make_net(), make_batch()).log for w in (None, weights))
    assert plain["loss_ce"] != weighted["loss_ce"]
    assert plain["loss_query"] != weighted["loss_query"]
    assert plain["loss_erda"] == weighted["loss_erda"]


def test_empty_sets_give_zero_with_a_gradient(make_net, make_batch):
    batch = make_batch()
    unannotated = without_labels(batch)
    unmatched = dataclasses.replace(batch, weak_row=torch.full_like(batch.weak_row, -1))
    annotated = dataclasses.replace(batch, weak=dataclasses.replace(batch.weak, labels=batch.weak.truth))
    cases = [
        (unannotated, {}, "loss_query"),
        (unannotated, {"query_init": "centroids"}, "loss_query"),
        (unannotated, {"label_counts": torch.zeros(4, dtype=torch.int64)}, "loss_query"),
        (unmatched, {}, "loss_erda"),
        (annotated, {"views": "one"}, "loss_erda"),
    ]
    for each, settings, name in cases:
        net, method = make_net(), build(**settings)
        terms = method.loss(net, each)
        assert terms.log[name] == 0
        terms.total.backward()
        gradients = [p.grad for p in (*net.parameters(), *method.parameters())]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients)


def one_sample_each():
    """A batch of two samples of different sizes, and each of them alone."""
    generator = torch.Generator().manual_seed(7)
    sizes, batches = (9, 14), []
    for size in sizes:
        weak = torch.randn(size, 5, generator=generator)
        labels = torch.full((size,), -1)
        labels[: size // 3] = torch.arange(size // 3) % 4
        weak_row = torch.randperm(size, generator=generator)[: size - 2]
        weak_row[0] = -1
        strong = weak[weak_row] + 0.1
        batches.append((weak, labels, strong, weak_row))
    shift = torch.where(batches[1][3] >= 0, batches[1][3] + sizes[0], -1)
    both = [torch.cat(pair) for pair in zip(batches[0][:3], batches[1][:3], strict=True)]
    both.append(torch.cat([batches[0][3], shift]))
    whole = torch.arange(2).repeat_interleave(torch.tensor(sizes))
    whole_strong = torch.arange(2).repeat_interleave(torch.tensor(sizes) - 2)
    alone = [_batch(*part, torch.zeros(len(part[0]), dtype=torch.int64), torch.zeros(len(part[2]))) for part in batches]
    return _batch(*both, whole, whole_strong), alone


def _batch(weak, labels, strong, weak_row, sample, strong_sample):
    def view(inputs, labels, sample):
        rows = torch.arange(len(inputs))
        return View(inputs, labels, sample.long(), torch.zeros(len(inputs), 3), rows, labels)

    strong_labels = torch.where(weak_row >= 0, labels[weak_row.clamp(min=0)], -1)
    return Batch(view(weak, labels, sample), view(strong, strong_labels, strong_sample), weak_row, step=2)


def _gradients(batch):
    torch.manual_seed(3)
    net = nn.Linear(5, 8)
    head = nn.Linear(8, 4)
    method = build(query_init="centroids", max_keys=6, weight=0.5)
    # Batch norm takes the statistics of its own process; with fixed ones the rest can be compared exactly.
    method.generator.projection.eval()
    terms = method.loss(lambda inputs: (net(inputs).relu(), head(net(inputs).relu())), batch)
    terms.total.backward()
    parameters = [*net.parameters(), *head.parameters(), *method.parameters()]
    return {
        "loss": terms.total.detach(),
        "gradients": [p.grad for p in parameters],
        "queries": method.generator.queries.detach().clone(),
        "placed": method.generator.placed,
    }


def in_one_process(rank):
    return _gradients(one_sample_each()[1][rank])


def test_two_processes_do_what_one_does(in_processes):
    expected = _gradients(one_sample_each()[0])
    results = in_processes(in_one_process)
    torch.testing.assert_close(sum(r["loss"] for r in results) / 2, expected["loss"])
    for result in results:
        torch.testing.assert_close(result["queries"], expected["queries"])
        assert torch.equal(result["placed"], expected["placed"])
    assert torch.equal(results[0]["queries"], results[1]["queries"])
    for first, second, whole in zip(*(r["gradients"] for r in results), expected["gradients"], strict=True):
        torch.testing.assert_close((first + second) / 2, whole, rtol=1e-4, atol=1e-6)
