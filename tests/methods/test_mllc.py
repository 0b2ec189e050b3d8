"""MLLC against dense loops written from its equations, in one process and two."""

import dataclasses

import pytest
import torch
from small_methods import SMALL_MLLC, C, K
from small_methods import build_mllc as make_method
from torch.nn import functional as F

from pointseg.methods import Batch, Task, View
from pointseg.methods.mllc import Mllc, MllcConfig
from pointseg.methods.mllc_losses import pair_contrast


def dense_rounds(correction, features, logits, batch_index, thresholds, neighbours, clamped=None):
    """P^k, F^k of every row by the equations, with n x n matrices and loops."""
    n = len(logits)
    same = batch_index[:, None] == batch_index[None]
    P, G = logits, correction.embedding(features)
    states = [(P, G)]
    for layers in correction.rounds:
        if clamped is not None:
            P = torch.stack([P[i] if clamped[i] < 0 else 10.0 * torch.eye(K).to(P)[clamped[i]] for i in range(n)])
        g = G.detach()
        cosine = torch.stack([torch.cosine_similarity(g[i : i + 1], g) for i in range(n)]).clamp(min=0) * same
        A = logits.new_zeros(n, n)
        for i in range(n):
            top = cosine[i].argsort(descending=True)[: neighbours + 1]
            A[i, top] = cosine[i, top]
        A = A + A.t()
        d = A.sum(1) ** -0.5
        moved = (d[:, None] * A * d[None]) @ P
        mixed = []
        for i in range(n):
            conf, hard = P[i].softmax(0).max(0)
            reliable = conf >= 0.95 or conf >= thresholds[hard]
            mixed.append(0.8 * P[i] + 0.2 * moved[i] if reliable else 0.2 * P[i] + 0.8 * moved[i])
        (w1, b1, w2, b2), (v1, c1, v2, c2) = layers.class_layers.parameters(), layers.feature_layers.parameters()
        new = (torch.stack(mixed) @ w1.t() + b1) @ w2.t() + b2
        p, hard = new.detach().softmax(1), P.argmax(1)
        B = torch.stack([torch.cosine_similarity(p[i : i + 1], p) for i in range(n)])
        B = B.clamp(min=0) * same * (hard[:, None] == hard[None])
        d = B.sum(1) ** -0.5
        G = ((d[:, None] * B * d[None]) @ G @ v1.t() + c1).relu() @ v2.t() + c2
        P = new
        states.append((P, G))
    return states


def dense_loss(net, method, batch, weighting):
    """The whole loss with every row a node; the embedding head in evaluation mode, a teacher equal to its student."""
    weak, strong = batch.weak, batch.strong
    features, logits = net(weak.inputs)
    count = logits.new_zeros(K)
    for q in logits.softmax(1):
        if q.max() >= 0.95:
            count[q.argmax()] += 1
    n_c = (0.99 * torch.ones(K).to(count) + 0.01 * count).clamp(min=1)
    eta = 0.95 * n_c / n_c.max()
    rounds = [method.correction, features, logits, weak.batch_index, eta, 3]
    states = dense_rounds(*rounds)
    total = sum(F.cross_entropy(P[weak.labels >= 0], weak.labels[weak.labels >= 0]) for P, _ in states)
    p = dense_rounds(*rounds, clamped=weak.labels)[-1][0].detach().softmax(1)
    s_features, s_logits = net(strong.inputs)
    s_states = dense_rounds(method.correction, s_features, s_logits, strong.batch_index, eta, 3)
    rows = [i for i in range(len(s_logits)) if batch.weak_row[i] >= 0 and strong.labels[i] < 0]
    confidence, classes = p[batch.weak_row[rows]].max(1)
    share = (confidence >= 0.968).double().mean()
    for P, _ in s_states:
        ce = F.cross_entropy(P[rows], classes, reduction="none")
        total = total + ((confidence**6 if weighting == "threshold" else share) * ce).mean()
    annotated = weak.labels >= 0
    for (_, G), (_, S) in zip(states, s_states, strict=True):
        sets = ((G[annotated], weak.labels[annotated]), (S[rows], classes))
        everything = torch.cat([F.normalize(e.detach(), dim=1) for e, _ in sets])
        label = torch.cat([y for _, y in sets])
        prototypes = torch.stack([everything[label == c].mean(0) for c in range(K)])
        seen = torch.tensor([bool((label == c).any()) for c in range(K)])
        for e, y in sets:
            cosine = F.normalize(e, dim=1) @ F.normalize(prototypes.nan_to_num(), dim=1).t()
            total = total + 0.1 * F.cross_entropy((10 * cosine).masked_fill(~seen, -1e5), y)
    return total


@pytest.mark.parametrize("weighting", ["threshold", "uniform"])
@pytest.mark.parametrize("teacher", ["ema", "student"])
def test_the_loss_is_that_of_the_equations(make_net, make_batch, weighting, teacher):
    # In fp64: after a round features of a class are so alike that rounding in fp32 would choose the neighbours.
    net, batch = make_net(width=C).double(), make_batch()
    weak, strong = (dataclasses.replace(v, inputs=v.inputs.double()) for v in (batch.weak, batch.strong))
    batch = dataclasses.replace(batch, weak=weak, strong=strong)
    with torch.no_grad():
        net.head.weight *= 12  # some rows confident, some not
    for nodes in ({"nodes": "sample"}, {"nodes": "cells", "cell": 1e-4}):
        method = make_method(net, weighting=weighting, teacher=teacher, **nodes).double()
        method.correction.embedding.eval()
        net.zero_grad()
        expected = dense_loss(net, method, batch, weighting)
        expected.backward()
        gradient = [p.grad.clone() for p in (*net.parameters(), *method.correction.parameters())]
        net.zero_grad()
        method.zero_grad()
        terms = method.loss(net, batch)
        terms.total.backward()
        torch.testing.assert_close(terms.total, expected, rtol=1e-6, atol=1e-6)
        for mine, p in zip(gradient, (*net.parameters(), *method.correction.parameters()), strict=True):
            torch.testing.assert_close(p.grad, mine, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_student_alone(make_net, make_batch):
    net = make_net(width=C)
    method = make_method(net)
    terms = method.loss(net, make_batch(step=1, steps=10))
    terms.total.backward()
    assert all(p.grad is not None for p in net.parameters())
    assert all(p.grad is not None for p in method.correction.parameters())
    assert all(p.grad is None for p in (*method.teacher.parameters(), *method.correction_teacher.parameters()))


def split_loss(rank):
    """Losses, gradients and state where the samples of one batch are dealt out to processes (-1 = one has all)."""
    generator = torch.Generator().manual_seed(0)
    net = torch.nn.Linear(5, K, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(5 * torch.randn(K, 5, generator=generator))
    model = lambda x: (torch.cat([x, x.sin()], 1)[:, :C], net(x))  # noqa: E731
    torch.manual_seed(1)
    method = Mllc(MllcConfig(teacher="student", nodes="cells", cell=0.3, **SMALL_MLLC), Task(K, C, torch.full((K,), 5)))
    method.double().correction.embedding.eval()
    sample = torch.tensor([0] * 14 + [1] * 26)
    view = View(
        inputs=torch.randn(40, 5, generator=generator, dtype=torch.float64),
        labels=torch.where(torch.arange(40) % 5 == 0, torch.arange(40) // 5 % K, -1),
        batch_index=sample,
        coord=torch.rand(40, 3, generator=generator),
        row_id=torch.arange(40),
        truth=torch.zeros(40, dtype=torch.int64),
    )
    # Both processes measure cells from the same corner.
    view.coord[0], view.coord[14] = 0.0, 0.0
    rows = sample == rank if rank >= 0 else sample >= 0
    mine = View(**{f.name: getattr(view, f.name)[rows] for f in dataclasses.fields(view)})
    mine = dataclasses.replace(mine, batch_index=mine.batch_index - mine.batch_index.min())
    strong = dataclasses.replace(mine, inputs=mine.inputs * 1.1)
    terms = method.loss(model, Batch(mine, strong, torch.arange(len(mine.labels)), monitor=False))
    terms.total.backward()
    return {
        "loss": terms.total.detach(),
        "gradients": [p.grad for p in (*net.parameters(), *method.correction.parameters())],
        "state": [method.confident_count, *(p.value for p in method.prototypes)],
    }


def test_two_processes_are_one(in_processes):
    first, second = in_processes(split_loss)
    whole = split_loss(-1)
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, whole["loss"])
    for a, b, both in zip(first["gradients"], second["gradients"], whole["gradients"], strict=True):
        torch.testing.assert_close((a + b) / 2, both, rtol=1e-4, atol=1e-6)
    for a, b, both in zip(first["state"], second["state"], whole["state"], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, both)
    assert whole["state"][0].max() > 1


def test_pairs_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(9, 3, generator=generator, dtype=torch.float64).requires_grad_()
    classes, sample = torch.tensor([0, 1, -1, 0, 1, 1, 0, -1, 2]), torch.tensor([0] * 5 + [1] * 4)
    terms = []
    for i in range(9):
        for j in range(9):
            if sample[i] == sample[j] and classes[i] >= 0 and classes[j] >= 0:
                cosine = torch.cosine_similarity(embedding[i], embedding[j], dim=0).clamp(1e-4, 1 - 1e-4)
                terms.append(-cosine.log() if classes[i] == classes[j] else -(1 - cosine).log())
    torch.testing.assert_close(pair_contrast(embedding, classes, sample), torch.stack(terms).mean())
