"""U2PL and U2PL+ against loops over rows, in one process and two."""

import dataclasses
from math import lcm

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch import nn

from pointseg.methods import Batch, Task, View, u2pl
from pointseg.methods.contrast import step_generator
from pointseg.methods.entropy_partition import tail_thresholds
from pointseg.methods.memory_bank import MemoryBank
from pointseg.methods.u2pl import U2pl, U2plConfig

PLUS = {"prototype_momentum": 0.9, "symmetric_weight": 0.5, "denoise": True}
REST = ("batch_index", "coord", "row_id", "truth")
EXACT = {"warmup": 0.0, "rep_dim": 6, "anchors": 16, "negatives": 5, "bank_size": 1, "keys_per_class": 4, "low_rank": 2}


def all_members(classes, counts, draws, generator):
    """Instead of a random draw: every member of each class, equally often."""
    present = counts.nonzero().squeeze(1)
    length = lcm(*counts[present].tolist())
    members = [(classes == k).nonzero().squeeze(1) for k in present]
    return present, torch.stack([own.repeat(length // len(own)) for own in members])


def remember_by_content(bank, keys, negative, limit, generator):
    """Instead of random priorities: those that the keys themselves give."""
    rows, classes = negative.nonzero(as_tuple=True)
    bank.push(keys[rows], classes, keys[rows, 0].float(), limit)


@pytest.fixture
def no_randomness(monkeypatch):
    monkeypatch.setattr(u2pl, "draw_members", all_members)
    monkeypatch.setattr(u2pl, "remember", remember_by_content)


def parameters(net, method):
    return [p for p in (*net.parameters(), *method.parameters()) if p.requires_grad]


def slow_info_nce(anchor, positive, negatives, tau):
    def similarity(other):
        return torch.exp(anchor @ other / anchor.norm() / other.norm() / tau)

    return -torch.log(similarity(positive) / (similarity(positive) + sum(similarity(n) for n in negatives)))


def in_double(batch):
    weak, strong = (dataclasses.replace(v, inputs=v.inputs.double()) for v in (batch.weak, batch.strong))
    return dataclasses.replace(batch, weak=weak, strong=strong)


def slow_loss(net, method, batch, prototypes):
    """L_ce, L_u and L_c row by row, and the embeddings that may be a negative key of each class.

    ``prototypes`` are those of before the step; the bank, one key a class, is that of after it.
    """
    c, weak, strong = method.config, batch.weak, batch.strong
    weak_logits, (features, strong_logits) = net(weak.inputs)[1], net(strong.inputs)
    embedding = method.representation(features)
    with torch.no_grad():
        taught, logits = method.teacher.model(weak.inputs)
    p = logits.softmax(1)
    entropies = [-float(sum(pk * pk.log() for pk in row)) for row in p]
    pseudo = []
    for row, e in zip(p, taught, strict=True):
        weights = torch.ones(4, dtype=p.dtype)
        if c.denoise:
            weights = torch.stack([e @ z / e.norm() / z.norm() if z.any() else 0 * e.sum() for z in prototypes])
        pseudo.append(int((row * (weights / c.temperature).softmax(0)).argmax()))
    free = [h for h, y in zip(entropies, weak.labels, strict=True) if y < 0]
    alpha = 100 * c.unreliable_share * (1 - batch.step / batch.steps)
    low, high = np.percentile(free, alpha), np.percentile(free, 100 - alpha)

    ce = [-weak_logits[i].log_softmax(0)[y] for i, y in enumerate(weak.labels.tolist()) if y >= 0]
    total, kept = 0, []
    for i, j in enumerate(batch.weak_row.tolist()):
        if j < 0 or strong.labels[i] >= 0 or weak.labels[j] >= 0:
            continue
        total += 1
        if entropies[j] < high:
            q, target = strong_logits[i].softmax(0), torch.zeros(4, dtype=torch.float64)
            target[pseudo[j]] = 1
            reverse = -sum(qk * torch.log(tk.clamp(1e-4, 1)) for qk, tk in zip(q, target, strict=True))
            kept.append(-q[pseudo[j]].log() + c.symmetric_weight * reverse)
    loss_u = sum(kept) / len(kept) * (total / len(kept) if c.rescale else 1)

    sure = []
    for y, k, h in zip(weak.labels.tolist(), pseudo, entropies, strict=True):
        reliable = h < high if c.anchor_rows == "reliable" else h <= low
        sure.append(y if y >= 0 else k if reliable else -1)
    loss_c, negative = torch.zeros((), dtype=p.dtype), {}
    for k in range(4):
        ranks = [sorted(range(4), key=lambda j: -row[j]).index(k) for row in p]
        negative[k] = [
            e
            for e, y, h, rank in zip(taught, weak.labels.tolist(), entropies, ranks, strict=True)
            if (y not in (-1, k) and rank < c.low_rank) or (y < 0 and h >= high and rank >= c.low_rank)
        ]
        anchors = []
        for i, j in enumerate(batch.weak_row.tolist()):
            own = int(strong.labels[i]) if strong.labels[i] >= 0 else sure[j]
            if j >= 0 and own == k and p[j, k] > c.min_probability:
                anchors.append(embedding[i])
        if anchors and method.bank.fill[k]:
            centroid = torch.stack([e for e, y in zip(taught, sure, strict=True) if y == k]).mean(0)
            positive = c.prototype_momentum * prototypes[k] + (1 - c.prototype_momentum) * centroid
            keys = [method.bank.keys[k]] * c.negatives
            loss_c = loss_c + sum(slow_info_nce(a, positive, keys, c.temperature) for a in anchors) / len(anchors)
    return (sum(ce) / len(ce), loss_u, loss_c / len(set(sure) - {-1})), negative


@pytest.mark.parametrize(
    "settings", [{}, {"anchor_rows": "reliable", "rescale": False, "low_rank": 1, "unreliable_share": 0.4}, PLUS]
)
def test_losses_and_gradients_follow_the_equations(
    settings, make_net, make_batch, no_randomness, make_u2pl, relabelled
):
    net = make_net().double()
    method = make_u2pl(net, **EXACT | settings).double()
    for seed in range(2):
        batch = in_double(make_batch(rows=60, seed=seed, step=3 + seed, steps=10))
        # Row 0 must not be annotated: a lost counterpart (-1) taken for row 0 would go unnoticed.
        batch = relabelled(batch, lambda v: torch.where(v.row_id == 0, -1, v.labels))
        prototypes = method.prototypes.value.clone()
        terms = method.loss(net, batch)
        reference, negative = slow_loss(net, method, batch, prototypes)
        for name, value in zip(("loss_ce", "loss_unsupervised", "loss_contrast"), reference, strict=True):
            assert terms.log[name].item() == pytest.approx(value.item(), rel=1e-6), name
        assert reference[2] > 0
        gradients = torch.autograd.grad(terms.total, parameters(net, method))
        expected = torch.autograd.grad(reference[0] + reference[1] + 0.1 * reference[2], parameters(net, method))
        for a, b in zip(gradients, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
        for k, rows in negative.items():
            assert bool(method.bank.fill[k]) == (bool(rows) or seed > 0)
            if rows:
                assert max(float(e @ method.bank.keys[k] / e.norm()) for e in rows) == pytest.approx(1)


def test_a_class_without_a_negative_counts_as_zero(make_net, make_batch, no_randomness, make_u2pl):
    """Annotations that the teacher agrees with and one unreliable row: its own class is the one without a key."""
    net = make_net().double()
    method = make_u2pl(net, **EXACT | {"low_rank": 1, "unreliable_share": 0.001, "min_probability": 0.0}).double()
    batch = in_double(make_batch(rows=60))
    agreed = torch.where(torch.arange(60) % 4 == 1, method.teacher(batch.weak.inputs)[1].argmax(1), -1)
    strong = dataclasses.replace(batch.strong, labels=torch.full_like(batch.strong.labels, -1))
    batch = dataclasses.replace(batch, weak=dataclasses.replace(batch.weak, labels=agreed), strong=strong)
    value = method.loss(net, batch).log["loss_contrast"]
    (_, _, expected), _ = slow_loss(net, method, batch, method.prototypes.value.clone())
    assert sorted(method.bank.fill.tolist()) == [0, 1, 1, 1]
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.body(inputs).relu()
        return features, 4 * self.head(features)


def half_batch(seed, step):
    """A sample of 30 rows, its strong view in another order and two rows short of counterparts."""
    draw = torch.Generator().manual_seed(seed)
    x, order = torch.randn(30, 5, generator=draw), torch.randperm(30, generator=draw)[: 24 + seed % 3]
    labels = torch.full((30,), -1)
    labels[: 4 + seed % 2] = torch.arange(4 + seed % 2) % (2 + 2 * (seed % 2))
    weak = View(x, labels, torch.zeros(30, dtype=torch.int64), torch.zeros(30, 3), torch.arange(30), labels)
    strong = View(x[order] + 0.1, labels[order], *(getattr(weak, n)[order] for n in REST))
    return Batch(weak, strong, torch.where(torch.arange(len(order)) < 2, -1, order), step=step, steps=4)


def joined(one, two):
    """Two batches as one."""
    rows = len(one.weak.labels)
    views = [
        View(**{f.name: torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in dataclasses.fields(View)})
        for a, b in ((one.weak, two.weak), (one.strong, two.strong))
    ]
    weak_row = torch.cat([one.weak_row, torch.where(two.weak_row < 0, -1, two.weak_row + rows)])
    return dataclasses.replace(one, weak=views[0], strong=views[1], weak_row=weak_row)


def train_exactly(batches, average=lambda x: x):
    """Three steps of U2PL+ with a head without batch norm, whose statistics are each process's own."""
    torch.manual_seed(5)
    net = Net()
    task = Task(num_classes=4, feature_dim=8, label_counts=torch.full((4,), 2))
    method = U2pl(U2plConfig(**EXACT | PLUS | {"bank_dtype": "fp32"}), task)
    method.representation = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6))
    method.prepare(net)
    optimizer = torch.optim.SGD(parameters(net, method), lr=0.2)
    losses = []
    for batch in batches:
        terms = method.loss(net, batch)
        optimizer.zero_grad()
        terms.total.backward()
        for p in parameters(net, method):
            average(p.grad)
        optimizer.step()
        method.after_step(net)
        losses.append(average(torch.stack([terms.total.detach(), terms.log["loss_contrast"]])))
    shared = {name: terms.log[name] for name in ("threshold_low", "threshold_high", "kept_share", "bank_fill")}
    return {"losses": torch.stack(losses), **method.state_dict(), **shared}


def bank_and_thresholds(part):
    """A bank filled from a part of some keys, and thresholds of values of which all but the first process have none."""
    bank, draw = MemoryBank(4, 3, 6, dtype=torch.float32), torch.Generator().manual_seed(1)
    keys, priority, values = (torch.rand(24, *width, generator=draw) for width in ((3,), (), ()))
    for limit in (4, 3):
        bank.push(keys[part], (torch.arange(24) % 3)[part], priority[part], limit)
        bank.push(keys[:0], torch.arange(0), priority[:0], limit)
    low, high = tail_thresholds(values if part.start == 0 else values[:0], 0.13)
    return bank.state_dict() | {"low": low, "high": high}


def one_of_two(rank):
    def average(x):
        dist.all_reduce(x)
        return x.div_(2)

    shared = bank_and_thresholds((slice(0, 17), slice(17, 24))[rank])
    drawn = torch.rand(3, generator=step_generator(7, torch.device("cpu")))
    u2pl.draw_members, u2pl.remember = all_members, remember_by_content
    return shared | train_exactly([half_batch(2 * i + rank, i) for i in range(3)], average) | {"drawn": drawn}


def test_two_processes_learn_what_one_learns_from_both_batches(in_processes, no_randomness):
    whole = [joined(half_batch(2 * i, i), half_batch(2 * i + 1, i)) for i in range(3)]
    expected = bank_and_thresholds(slice(0, 24)) | train_exactly(whole)
    assert (expected["losses"][:, 1] > 0).all()
    one, two = in_processes(one_of_two)
    assert not torch.equal(one.pop("drawn"), two.pop("drawn"))
    assert one.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(one[name], value, rtol=1e-4, atol=1e-5, msg=name)
        assert torch.equal(one[name], two[name]), name
