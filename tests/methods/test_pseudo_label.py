"""Confidence-chosen pseudo-labels against loops over rows."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from small_methods import train

from pointseg.errors import InputError
from pointseg.methods import Task
from pointseg.methods.pseudo_label import PseudoLabel, PseudoLabelConfig, log_odds
from pointseg.methods.selection import most_confident

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


def build(net, **settings):
    method = PseudoLabel(PseudoLabelConfig(**settings), TASK)
    method.prepare(net)
    return method


def in_double(batch):
    weak, strong = (dataclasses.replace(v, inputs=v.inputs.double()) for v in (batch.weak, batch.strong))
    return dataclasses.replace(batch, weak=weak, strong=strong)


def slow_top(scores, samples, n):
    """Positions of the n best scores of every sample, by sorting each sample's list."""
    taken = []
    for sample in sorted(set(samples.values())):
        ranked = sorted((i for i in scores if samples[i] == sample), key=lambda i: (-scores[i], i))
        taken += ranked[:n]
    return taken


def slow_loss(net, batch, config):
    """The loss row by row, with the student as its own teacher."""
    two = config.views == "two"
    weak = net(batch.weak.inputs)[1]
    view = batch.strong if two else batch.weak
    logits = net(view.inputs)[1] if two else weak
    sources = batch.weak_row.tolist() if two else range(len(weak))
    candidates = {i: row for i, row in enumerate(sources) if row >= 0 and view.labels[i] < 0}
    p = {i: weak[row].detach().softmax(0) for i, row in candidates.items()}
    confidence = {i: float(p[i].max()) for i in candidates}
    if config.top_n:
        used = slow_top(confidence, {i: int(view.batch_index[i]) for i in candidates}, config.top_n)
    else:
        used = [i for i in candidates if confidence[i] >= config.threshold]
    term = torch.zeros((), dtype=weak.dtype)
    for i in used:
        log_q = logits[i].log_softmax(0)
        term = term - (log_q[p[i].argmax()] if config.hard else sum(a * b for a, b in zip(p[i], log_q, strict=True)))
    known = [i for i, y in enumerate(batch.weak.labels.tolist()) if y >= 0]
    ce = sum(-weak[i].log_softmax(0)[batch.weak.labels[i]] for i in known) / len(known)
    return ce + config.weight * term / (len(used) if config.top_n else len(candidates)), used


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.4},
        {"threshold": 0.4, "hard": False, "weight": 0.5},
        {"threshold": 0.0},
        {"threshold": 0.4, "views": "one"},
        {"top_n": 3},
        {"top_n": 5, "hard": False},
        {"top_n": 3, "views": "one"},
        {"top_n": 1000},
    ],
)
def test_loss_and_gradients_are_those_of_the_equations(settings, make_net, make_batch):
    net, batch = make_net().double(), in_double(make_batch())
    method = build(net, **settings)
    terms = method.loss(net, batch)
    expected, used = slow_loss(net, batch, method.config)
    assert used
    assert terms.total.item() == pytest.approx(expected.item(), rel=1e-12)
    mine, theirs = (torch.autograd.grad(loss, list(net.parameters())) for loss in (terms.total, expected))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("n", [1, 4, 100])
def test_the_most_confident_of_every_sample_are_those_of_a_sort(n):
    generator = torch.Generator().manual_seed(n)
    confidence = (torch.rand(200, generator=generator) * 20).round() / 20
    samples = torch.randint(0, 5, (200,), generator=generator)
    samples[samples == 3] = 4
    candidates = torch.rand(200, generator=generator) < 0.6
    candidates[samples == 1] = False
    scores = {i: float(confidence[i]) for i in range(200) if candidates[i]}
    expected = slow_top(scores, dict(enumerate(samples.tolist())), n)
    assert most_confident(confidence, samples, candidates, n).nonzero().flatten().tolist() == sorted(expected)


def test_confidence_that_rounds_to_one_is_still_ranked():
    torch.manual_seed(0)
    logits = torch.randn(50, 6)
    p = logits.double().softmax(1).amax(1)
    torch.testing.assert_close(log_odds(logits).double(), (p / (1 - p)).log(), rtol=1e-4, atol=1e-5)
    certain = torch.tensor([[30.0, 0.0, 0.0], [50.0, 0.0, 0.0], [40.0, 0.0, 0.0]])
    assert (certain.softmax(1).amax(1) == 1).all()
    one_sample, all_of_them = torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.bool)
    assert most_confident(log_odds(certain), one_sample, all_of_them, 2).tolist() == [False, True, True]


def test_labels_are_made_on_the_weak_view_and_learned_on_the_strong_alone(make_net, make_batch):
    """Without annotations the gradient is that of the strong view's cross-entropy with constant labels."""
    net, batch = make_net(), make_batch()
    weak = dataclasses.replace(batch.weak, labels=torch.full_like(batch.weak.labels, -1))
    batch = dataclasses.replace(batch, weak=weak)
    total = build(net, threshold=0.0).loss(net, batch).total
    labels = net(weak.inputs)[1].argmax(1)[batch.weak_row]
    rows = (batch.weak_row >= 0) & (batch.strong.labels < 0)
    expected = torch.nn.functional.cross_entropy(net(batch.strong.inputs)[1][rows], labels[rows])
    for a, b in zip(*(torch.autograd.grad(x, list(net.parameters())) for x in (total, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_an_averaged_teacher_makes_other_labels_and_continues_from_a_checkpoint(make_net, make_batch):
    batches = [make_batch(seed=n, step=n, steps=6) for n in range(6)]
    settings = {"teacher": "ema", "momentum": 0.2, "threshold": 0.0, "hard": False}
    net = make_net()
    method = build(net, **settings)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    before = copy.deepcopy(net.state_dict())
    train(net, method, optimizer, batches[:1])
    first = copy.deepcopy(net.state_dict())
    for name, value in method.teacher.model.state_dict().items():
        torch.testing.assert_close(value, 0.2 * before[name] + 0.8 * first[name])
    train(net, method, optimizer, batches[1:3])
    shared = build(net, threshold=0.0, hard=False).loss(net, batches[3]).total
    assert method.loss(net, batches[3]).total.item() != pytest.approx(shared.item(), rel=1e-4)
    assert all(p.grad is None for p in method.teacher.parameters())
    kept = copy.deepcopy((net.state_dict(), method.state_dict()))
    expected = train(net, method, optimizer, batches[3:])
    other = make_net()
    resumed = build(other, **settings)
    other.load_state_dict(kept[0])
    resumed.load_state_dict(kept[1])
    assert train(other, resumed, torch.optim.SGD(other.parameters(), lr=0.5), batches[3:]) == expected
    assert method.evaluated(net) is net


def test_a_shared_teacher_keeps_no_state(make_net):
    assert not build(make_net()).state_dict()


def test_before_the_warmup_ends_only_annotations_are_learned(make_net, make_batch):
    net = make_net()
    method = build(net, threshold=0.0, warmup=0.3)
    early, late = (method.loss(net, make_batch(step=step, steps=10)) for step in (2, 3))
    assert torch.equal(early.total.detach(), early.log["loss_ce"])
    assert late.total > late.log["loss_ce"]
    assert "accuracy_q" in early.log
    assert "accuracy_p" not in early.log


def test_in_the_warmup_a_teacher_is_the_student_and_no_pseudo_label_is_used(normed_net, make_batch):
    net, batch = normed_net, make_batch(step=0, steps=10)
    method = build(net, threshold=0.0, warmup=0.1, teacher="ema")
    method.loss(net, batch)
    method.after_step(net)
    assert net.norm.running_mean.abs().max() > 0
    assert all(torch.equal(v, net.state_dict()[name]) for name, v in method.teacher.model.state_dict().items())
    p = method.pseudo_labels(net, batch.weak)
    assert not method.uses(p, batch.weak).any()
    method.loss(net, dataclasses.replace(batch, step=1))
    assert torch.equal(method.uses(p, batch.weak), batch.weak.labels < 0)


def test_few_confident_rows_weigh_little_under_a_threshold_but_not_under_top_n(make_net, make_batch):
    net, batch = make_net(), make_batch()
    _, used = slow_loss(net, batch, PseudoLabelConfig(top_n=1))
    p = net(batch.weak.inputs)[1].detach()[batch.weak_row].softmax(1).amax(1)
    candidates = int(((batch.weak_row >= 0) & (batch.strong.labels < 0)).sum())
    one = build(net, threshold=float(p[used].max()) - 1e-6).loss(net, batch).log["loss_pseudo"]
    q = net(batch.strong.inputs)[1].detach().log_softmax(1)
    best = max(used, key=lambda i: float(p[i]))
    label = net(batch.weak.inputs)[1][batch.weak_row[best]].argmax()
    assert float(one) == pytest.approx(-float(q[best, label]) / candidates, rel=1e-5)


def test_every_setting_of_the_label_is_another_loss(make_net, make_batch):
    net, batch = make_net(), make_batch()
    variants = ({}, {"threshold": 0.0}, {"threshold": 0.0, "hard": False}, {"threshold": 0.0, "views": "one"})
    values = [build(net, **settings).loss(net, batch).total.item() for settings in (*variants, {"top_n": 4})]
    assert len({round(v, 6) for v in values}) == 5
    assert [build(net, **s).needs_strong_view for s in ({}, {"views": "one"})] == [True, False]


@pytest.mark.parametrize("settings", [{}, {"top_n": 5}, {"views": "one"}, {"teacher": "ema", "hard": False}])
@pytest.mark.parametrize("case", ["no annotation", "all annotated", "no counterpart", "nothing confident"])
def test_empty_sets_give_zero_not_nan(settings, case, make_net, make_batch):
    net, batch = make_net(), make_batch()
    weak, strong, weak_row = batch.weak, batch.strong, batch.weak_row
    if case == "no annotation":
        weak = dataclasses.replace(weak, labels=torch.full_like(weak.labels, -1))
    if case == "all annotated":
        weak = dataclasses.replace(weak, labels=weak.truth)
        strong = dataclasses.replace(strong, labels=strong.truth)
    if case == "no counterpart":
        weak_row = torch.full_like(weak_row, -1)
    terms = build(net, **settings, threshold=1.0).loss(
        net, dataclasses.replace(batch, weak=weak, strong=strong, weak_row=weak_row)
    )
    if case == "all annotated" or (case == "no counterpart" and "views" not in settings):
        assert float(terms.log["loss_pseudo"]) == 0
    if case == "nothing confident" and "top_n" not in settings:
        assert float(terms.log["loss_pseudo"]) == 0
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(terms.total, list(net.parameters())))


@pytest.mark.parametrize("hard", [True, False])
def test_under_autocast_the_loss_is_fp32(hard, make_net, make_batch):
    net, batch = make_net(), make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = build(net, threshold=0.0, hard=hard).loss(net, batch).total
        weak, strong = net(batch.weak.inputs)[1].detach().float(), net(batch.strong.inputs)[1].detach().float()
    assert total.dtype == torch.float32
    rows = (batch.weak_row >= 0) & (batch.strong.labels < 0)
    p = weak[batch.weak_row][rows].softmax(1)
    target = p.argmax(1) if hard else p
    known = batch.weak.labels >= 0
    expected = torch.nn.functional.cross_entropy(strong[rows], target)
    expected = expected + torch.nn.functional.cross_entropy(weak[known], batch.weak.labels[known])
    torch.testing.assert_close(total.detach(), expected)


def test_what_is_watched_tells_the_rows_used(make_net, make_batch):
    net, batch = make_net(), make_batch()
    for settings in ({"threshold": 0.4}, {"threshold": 0.4, "views": "one"}):
        method = build(net, **settings)
        _, used = slow_loss(net, batch, method.config)
        view = batch.strong if method.needs_strong_view else batch.weak
        rows = view.labels < 0
        candidates = rows & (batch.weak_row >= 0) if method.needs_strong_view else rows
        watched = method.loss(net, batch)
        assert float(watched.log["pseudo_label_coverage"]) == pytest.approx(len(used) / int(candidates.sum()))
        assert not any(value.requires_grad for value in watched.log.values())
        plain = method.loss(net, dataclasses.replace(batch, monitor=False))
        assert set(plain.log) == {"loss_ce", "loss_pseudo"}
        assert torch.equal(plain.total, watched.total)


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 1.5},
        {"top_n": -1},
        {"views": "three"},
        {"weight": -0.5},
        {"warmup": 1.0},
        {"teacher": "none"},
        {"momentum": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    (name, value), *_ = settings.items()
    with pytest.raises(InputError, match=f"{name} is '?{value}"):
        PseudoLabelConfig(**settings)


def test_a_prediction_held_against_itself_is_refused(make_net, make_batch):
    with pytest.raises(InputError, match="hard is False; it must be true with views one and teacher shared"):
        PseudoLabelConfig(views="one", hard=False)
    terms = build(make_net(), views="one", hard=False, teacher="ema").loss(make_net(), make_batch())
    assert torch.isfinite(terms.total)
