"""Divergences and the pairing of rows against loops, and four methods in two processes against one."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pointseg.methods import Batch, Task, View
from pointseg.methods.consistency import Consistency, ConsistencyConfig
from pointseg.methods.entropy_minimization import EntropyMinimization, EntropyMinimizationConfig
from pointseg.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from pointseg.methods.pseudo_label import PseudoLabel, PseudoLabelConfig
from pointseg.methods.two_views import DISTANCES, paired_divergence, paired_statistics, ramp_up, to_strong_rows

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


def softmax(row):
    exponentials = [math.exp(v - max(row)) for v in row]
    return [e / sum(exponentials) for e in exponentials]


def slow_divergence(name, a, b):
    p, q = softmax(a), softmax(b)
    if name == "mse":
        return sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) / len(p)
    if name == "kl":
        return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return sum(x * math.log(x / z) + y * math.log(y / z) for x, y, z in zip(p, q, m, strict=True))


@pytest.mark.parametrize("name", DISTANCES)
def test_divergences_follow_their_equations_and_gradients_reach_both_sides(name):
    torch.manual_seed(0)
    target = (3 * torch.randn(7, 5, dtype=torch.float64)).requires_grad_()
    logits = (3 * torch.randn(7, 5, dtype=torch.float64)).requires_grad_()
    expected = [slow_divergence(name, a, b) for a, b in zip(target.tolist(), logits.tolist(), strict=True)]
    np.testing.assert_allclose(DISTANCES[name](target, logits).detach(), expected, rtol=1e-10)
    assert torch.autograd.gradcheck(DISTANCES[name], (target, logits))
    np.testing.assert_allclose(DISTANCES[name](target, target).detach(), 0, atol=1e-14)


@pytest.mark.parametrize("name", DISTANCES)
def test_certain_predictions_give_finite_values_and_gradients(name):
    target = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
    logits = torch.tensor([[-200.0, 0.0, 200.0]], requires_grad=True)
    loss = DISTANCES[name](target, logits).sum()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (target, logits)))


def test_js_is_twice_log_two_at_most():
    apart = DISTANCES["js"](torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]]))
    assert apart.item() == pytest.approx(2 * math.log(2))


def test_rows_without_a_counterpart_take_no_part():
    torch.manual_seed(0)
    target = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weak_row = torch.tensor([4, -1, 0, 4, -1])
    loss = paired_divergence(DISTANCES["kl"], target, logits, weak_row)
    pairs = [(4, 0), (0, 2), (4, 3)]
    expected = sum(slow_divergence("kl", target[w].tolist(), logits[s].tolist()) for w, s in pairs) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    loss.backward()
    assert logits.grad[[1, 4]].abs().max() == 0
    assert target.grad[[1, 2, 3, 5]].abs().max() == 0
    assert target.grad[[0, 4]].abs().min() > 0


def test_no_counterpart_at_all_gives_zero_with_a_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = paired_divergence(DISTANCES["js"], torch.randn(6, 3), logits, torch.full((4,), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_half_precision_logits_are_compared_in_fp32():
    torch.manual_seed(0)
    target, logits, weak_row = torch.randn(30, 13).bfloat16(), torch.randn(30, 13).bfloat16(), torch.arange(30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = paired_divergence(DISTANCES["js"], target, logits, weak_row)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, paired_divergence(DISTANCES["js"], target.float(), logits.float(), weak_row))


@pytest.mark.threads
def test_gradient_of_rows_taken_many_times_repeats_to_the_bit():
    """The final weights of an interrupted training must not depend on the order in which threads add."""
    torch.manual_seed(0)
    weak, weak_row = torch.randn(5000, 20, requires_grad=True), torch.randint(-1, 5000, (60_000,))
    upstream = torch.randn(60_000, 20)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        grads = [torch.autograd.grad(to_strong_rows(weak, weak_row), weak, upstream)[0] for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(grads[0], g) for g in grads)
    expected = torch.zeros(5000, 20).index_add(0, weak_row.clamp(min=0), upstream)
    torch.testing.assert_close(grads[0], expected, rtol=1e-4, atol=1e-5)


def test_the_ramp_rises_from_near_nothing_to_one():
    assert ramp_up(0.0, 0.0) == 1
    assert ramp_up(0.0, 0.5) == pytest.approx(math.exp(-5))
    assert ramp_up(0.1, 0.2) == pytest.approx(math.exp(-1.25))
    assert ramp_up(0.2, 0.2) == 1
    assert ramp_up(0.9, 0.2) == 1


def test_statistics_are_those_of_the_paired_rows(make_batch):
    batch = make_batch()
    torch.manual_seed(0)
    target, logits = torch.randn(40, 4), torch.randn(34, 4)
    used, weak, weak_logits = torch.rand(34) < 0.5, batch.weak, torch.randn(40, 4)
    statistics = paired_statistics(
        target,
        batch.strong,
        batch.weak_row,
        logits,
        weak=weak,
        weak_logits=weak_logits,
        used=used,
        label_counts=torch.tensor([3, 1, 0, 2]),
    )
    learned = [i for i in range(40) if weak.labels[i] >= 0]
    for letter, scores in (("p", target), ("q", weak_logits)):
        right = [int(scores[i].argmax()) == int(weak.labels[i]) for i in learned]
        assert float(statistics[f"accuracy_{letter}_annotated"]) == pytest.approx(np.mean(right))
    rows = [i for i in range(34) if batch.weak_row[i] >= 0 and batch.strong.labels[i] < 0]
    taken = [i for i in rows if used[i]]
    hits = [int(target[batch.weak_row[i]].argmax()) == int(batch.strong.truth[i]) for i in taken]
    kl = [slow_divergence("kl", target[batch.weak_row[i]].tolist(), logits[i].tolist()) for i in rows]
    assert float(statistics["share_paired"]) == pytest.approx(32 / 34)
    assert float(statistics["pseudo_label_coverage"]) == pytest.approx(len(taken) / len(rows))
    assert float(statistics["pseudo_label_accuracy"]) == pytest.approx(np.mean(hits))
    mean_p = target[batch.weak_row[rows]].softmax(1).mean(0)
    prior = torch.tensor([4, 2, 1, 3]) / 10
    assert float(statistics["prior_kl"]) == pytest.approx(float((mean_p * (mean_p / prior).log()).sum()), rel=1e-4)
    assert float(statistics["kl_p_q"]) == pytest.approx(np.mean(kl), rel=1e-4)


def build_methods():
    return {
        "threshold": PseudoLabel(PseudoLabelConfig(threshold=0.3), TASK),
        "top_n": PseudoLabel(PseudoLabelConfig(top_n=3, hard=False, teacher="ema"), TASK),
        "mean_teacher": MeanTeacher(MeanTeacherConfig(), TASK),
        "entropy": EntropyMinimization(EntropyMinimizationConfig(weight=1.0), TASK),
        "consistency": Consistency(ConsistencyConfig(), TASK),
    }


class PlainNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.body(inputs).relu()
        return features, self.head(features)


def samples_of_unlike_size(ranks):
    """Two samples of 20 and 9 weak rows, 14 and 5 strong ones; ``ranks`` says which of them are in the batch."""
    weak, strong, weak_row, first = [], [], [], 0
    for sample in ranks:
        generator = torch.Generator().manual_seed(sample)
        rows, part = ((20, 14), (9, 5))[sample]
        labels = torch.full((rows,), -1)
        labels[: 2 + 3 * sample] = torch.arange(2 + 3 * sample) % 4
        order = torch.randperm(rows, generator=generator)[:part]
        weak.append((torch.randn(rows, 5, generator=generator), labels))
        strong.append((torch.randn(part, 5, generator=generator), labels[order]))
        weak_row.append((order + first).masked_fill(torch.arange(part) == 1, -1))
        first += rows
    return Batch(weak=as_view(weak), strong=as_view(strong), weak_row=torch.cat(weak_row), step=5, steps=10)


def as_view(parts):
    inputs, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    index = torch.cat([torch.full((len(y),), i) for i, (_, y) in enumerate(parts)])
    return View(inputs, labels, index, torch.zeros(len(labels), 3), torch.arange(len(labels)), labels.clamp(min=0))


def losses_and_gradients(ranks):
    torch.manual_seed(0)
    net = PlainNet()
    results = {}
    for name, method in build_methods().items():
        method.prepare(net)
        terms = method.loss(net, samples_of_unlike_size(ranks))
        gradients = torch.autograd.grad(terms.total, list(net.parameters()))
        results[name] = [terms.total.detach(), *gradients]
    return results


def one_sample_each(rank):
    return losses_and_gradients([rank])


def test_two_processes_give_the_loss_and_gradients_of_one(in_processes):
    shares = in_processes(one_sample_each)
    for name, whole in losses_and_gradients([0, 1]).items():
        for one, first, second in zip(whole, shares[0][name], shares[1][name], strict=True):
            torch.testing.assert_close((first + second) / 2, one, msg=f"{name}: {one}")
