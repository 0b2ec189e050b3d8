"""U2PL and U2PL+: what their settings do, what is saved, precision, and batches that lack something."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from pointseg.errors import InputError
from pointseg.methods.u2pl import U2plConfig

PLUS = {"prototype_momentum": 0.9, "symmetric_weight": 0.5, "denoise": True}


def step(net, method, optimizer, batch):
    terms = method.loss(net, batch)
    optimizer.zero_grad()
    terms.total.backward()
    optimizer.step()
    method.after_step(net)
    return terms


def parameters(net, method):
    return [p for p in (*net.parameters(), *method.parameters()) if p.requires_grad]


def test_who_receives_a_gradient(make_net, make_batch, make_u2pl):
    net = make_net()
    method = make_u2pl(net)
    method.loss(net, make_batch(step=1, steps=10)).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert all(p.grad is not None for p in method.representation.parameters())
    assert not any(p.requires_grad for p in method.teacher.parameters())


def test_warmup_is_supervised_and_the_teacher_is_the_student(make_net, make_batch, make_u2pl):
    net = make_net()
    method = make_u2pl(net, warmup=0.2)
    optimizer = torch.optim.SGD(parameters(net, method), lr=0.1)
    for done in range(5):
        batch = make_batch(step=done, steps=10)
        terms = step(net, method, optimizer, batch)
        same = [torch.equal(a, b) for a, b in zip(net.parameters(), method.evaluated(net).parameters(), strict=True)]
        if done < 2:
            assert torch.equal(terms.total.detach(), terms.log["loss_ce"])
            assert "accuracy_q" in terms.log
            assert "bank_fill" not in terms.log
            assert all(same)
        else:
            assert terms.log["loss_unsupervised"] > 0
            assert not any(same)
    assert int(method.teacher.updates) == 3
    assert method.evaluated(net) is method.teacher.model.model


@pytest.mark.parametrize("own", [True, False])
def test_the_teacher_is_the_moving_average_asked_for(own, make_net, make_batch, make_u2pl):
    net = make_net()
    method = make_u2pl(net, teacher_momentum=0.2, own_statistics=own)
    before = copy.deepcopy(method.teacher.model)
    step(net, method, torch.optim.SGD(parameters(net, method), lr=0.1), make_batch(step=1, steps=10))
    taught = method.teacher.model
    torch.testing.assert_close(taught.model.body.weight, 0.2 * before.model.body.weight + 0.8 * net.body.weight)
    assert method.teacher.own_statistics is own
    statistics = next(part for part in taught.head.modules() if isinstance(part, nn.BatchNorm1d)).running_mean
    assert statistics.abs().max() > 0


def test_what_a_snapshot_calls_used_are_the_rows_below_the_last_threshold(make_net, make_batch, make_u2pl):
    net, batch = make_net(), make_batch(rows=400, step=1, steps=10)
    method = make_u2pl(net, unreliable_share=0.5, warmup=0.05)
    before = method.uses(method.pseudo_labels(net, batch.weak), batch.weak)
    log = method.loss(net, batch).log
    with torch.no_grad():
        p = method.teacher.model.eval()(batch.weak.inputs)[1].softmax(1)
    entropies = torch.tensor([-sum(float(x) * math.log(x) for x in row) for row in p])
    expected = (batch.weak.labels < 0) & (entropies < float(log["threshold_high"]) - 1e-6)
    used = method.uses(method.pseudo_labels(net, batch.weak), batch.weak)
    assert not before.any()
    assert (used == expected).float().mean() > 0.99
    assert 0.4 < used.float().mean() < 0.6


def run(net, method, optimizer, batches):
    return [step(net, method, optimizer, batch).total.item() for batch in batches]


@pytest.mark.parametrize("settings", [{"warmup": 0.3}, PLUS])
def test_a_saved_training_goes_on_with_the_same_losses(settings, make_net, make_batch, make_u2pl):
    batches = [make_batch(seed=i, step=i, steps=8) for i in range(8)]
    net = make_net()
    method = make_u2pl(net, **settings)
    optimizer = torch.optim.SGD(parameters(net, method), lr=0.1)
    run(net, method, optimizer, batches[:4])
    state = copy.deepcopy((net.state_dict(), method.state_dict()))
    expected = run(net, method, optimizer, batches[4:])
    resumed, again = make_net(), make_u2pl(make_net(), **settings)
    resumed.load_state_dict(state[0])
    again.load_state_dict(state[1])
    torch.manual_seed(99)
    assert run(resumed, again, torch.optim.SGD(parameters(resumed, again), lr=0.1), batches[4:]) == expected


def test_under_autocast_losses_are_fp32_and_near_those_without(make_net, make_batch, make_u2pl):
    net = make_net()
    batch = make_batch(step=1, steps=10)
    method = make_u2pl(net, **PLUS)
    twin = copy.deepcopy(method)
    expected = method.loss(net, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = twin.loss(net, batch)
    assert all(value.dtype == torch.float32 for name, value in terms.log.items() if name.startswith("loss"))
    assert terms.total.item() == pytest.approx(expected.total.item(), rel=0.1)
    terms.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in parameters(net, twin))


class Answers(nn.Module):
    """A teacher that says the same whatever it is asked."""

    def __init__(self, rows):
        super().__init__()
        self.embedding, self.logits = torch.randn(rows, 6), 3 * torch.randn(rows, 4)

    def forward(self, inputs):
        return self.embedding, self.logits


def test_what_the_teacher_says_is_worked_on_in_fp32_under_autocast(make_net, make_batch, make_u2pl, relabelled):
    net, batch = make_net(), make_batch(step=1, steps=10)
    torch.manual_seed(1)
    answers, states = Answers(40), []
    for autocast in (False, True):
        method = make_u2pl(net, **PLUS)
        method.teacher = answers
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            for _ in range(2):
                log = method.loss(net, batch).log
        states.append((method.prototypes.value, method.bank.keys, log["entropy_p"]))
    for a, b in zip(*states, strict=True):
        assert torch.equal(a, b)


LABELS = {
    "no label": lambda view: torch.full_like(view.labels, -1),
    "only labels": lambda view: view.truth,
    "one class": lambda view: torch.full_like(view.labels, 2),
}


@pytest.mark.parametrize("settings", [{}, PLUS, {"min_probability": 0.999}])
@pytest.mark.parametrize("case", [*LABELS, "no counterpart"])
def test_empty_sets_give_zero_and_never_nan(case, settings, make_net, make_batch, make_u2pl, relabelled):
    net, batch = make_net(), make_batch(step=1, steps=10)
    if case in LABELS:
        batch = relabelled(batch, LABELS[case])
    else:
        batch = dataclasses.replace(batch, weak_row=torch.full_like(batch.weak_row, -1))
    method = make_u2pl(net, **settings)
    terms = method.loss(net, batch)
    terms.total.backward()
    assert all(value.isfinite().all() for value in terms.log.values())
    assert all(torch.isfinite(p.grad).all() for p in parameters(net, method))
    zero = {"no label": "loss_ce", "only labels": "loss_unsupervised", "one class": "loss_unsupervised"}
    assert terms.log[zero.get(case, "loss_unsupervised")] == 0
    if case in ("one class", "no counterpart") or "min_probability" in settings:
        assert terms.log["loss_contrast"] == 0


def test_whole_scenes_with_and_without_labels(make_net, make_batch, make_u2pl, relabelled):
    """Scene-level splits: L_u takes the unannotated sample alone, the annotated one gives anchors and keys."""
    net = make_net()
    batch = relabelled(
        make_batch(step=1, steps=10), lambda v: torch.where(v.batch_index == 0, v.truth, torch.full_like(v.truth, -1))
    )
    for contrast_weight, samples in ((0.0, {1}), (1.0, {0, 1})):
        inputs = batch.strong.inputs.clone().requires_grad_()
        strong = dataclasses.replace(batch.strong, inputs=inputs)
        method = make_u2pl(net, contrast_weight=contrast_weight, min_probability=0.0)
        method.representation.eval()
        method.loss(net, dataclasses.replace(batch, strong=strong)).total.backward()
        reached = inputs.grad.abs().sum(1) > 0
        assert set(batch.strong.batch_index[reached].tolist()) == samples
        assert not reached[batch.weak_row < 0].any()


def test_two_classes_have_negatives(make_net, make_batch, make_u2pl):
    net = make_net(num_classes=2)
    method = make_u2pl(net, num_classes=2)
    assert (method.low_rank, method.high_rank) == (1, 2)
    assert method.loss(net, make_batch(num_classes=2, step=1, steps=10)).log["loss_contrast"] > 0


def test_the_unreliable_share_shrinks_to_nothing(make_net, make_batch, make_u2pl):
    net = make_net()
    kept = []
    for done in (0, 500, 999):
        log = make_u2pl(net, unreliable_share=0.5).loss(net, make_batch(rows=400, step=done, steps=1000)).log
        assert log["threshold_low"] <= log["threshold_high"]
        kept.append(float(log["kept_share"]))
    assert kept == pytest.approx([0.5, 0.75, 1.0], abs=0.06)


@pytest.mark.parametrize(
    "settings",
    [
        {"weight": 2.0},
        {"contrast_weight": 1.0},
        {"unreliable_share": 0.4},
        {"rescale": False},
        {"temperature": 0.1},
        {"low_rank": 1},
        {"min_probability": 0.6},
        {"anchor_rows": "reliable"},
        {"symmetric_weight": 0.5},
        {"warmup": 0.5},
    ],
)
def test_each_setting_changes_the_loss(settings, make_net, make_batch, make_u2pl):
    net = make_net()
    batch = make_batch(rows=80, step=1, steps=10)
    totals = [make_u2pl(net, **s).loss(net, batch).total.item() for s in ({}, {}, settings)]
    assert totals[0] == totals[1]
    assert totals[2] != pytest.approx(totals[0], rel=1e-6)


def test_classes_ranked_from_high_rank_on_are_no_negatives(make_net, make_batch, make_u2pl):
    net, batch = make_net(), make_batch(rows=80, step=1, steps=10)
    settings = [{"low_rank": 1}, {"low_rank": 1, "high_rank": 4}, {"low_rank": 1, "high_rank": 2}]
    totals = [make_u2pl(net, **chosen).loss(net, batch).total.item() for chosen in settings]
    assert totals[0] == totals[1]
    assert totals[2] != pytest.approx(totals[0], rel=1e-6)


@pytest.mark.parametrize("settings", [{"prototype_momentum": 0.9}, {"denoise": True, "temperature": 0.1}])
def test_what_prototypes_remember_matters_from_the_second_step_on(settings, make_net, make_batch, make_u2pl):
    net, totals = make_net(), []
    for chosen in ({"temperature": settings.get("temperature", 0.5)}, settings):
        method = make_u2pl(net, **chosen)
        totals.append([method.loss(net, make_batch(rows=80, seed=i, step=i, steps=9)).total.item() for i in range(3)])
    assert totals[0][0] == pytest.approx(totals[1][0], rel=1e-6)
    assert totals[0][2] != pytest.approx(totals[1][2], rel=1e-6)


def test_the_bank_has_the_sizes_asked_for(make_net, make_batch, make_u2pl):
    net = make_net()
    method = make_u2pl(net, large_classes=(1, 3), large_bank_size=20, bank_dtype="fp32")
    assert method.bank.size.tolist() == [12, 20, 12, 20]
    assert (method.bank.keys.dtype, make_u2pl(net).bank.keys.dtype) == (torch.float32, torch.float16)
    log = method.loss(net, make_batch(rows=80, step=1, steps=10)).log
    assert 0 < method.bank.fill.max() <= 4
    torch.testing.assert_close(log["bank_fill_class"], method.bank.fill / torch.tensor([12, 20, 12, 20]))


def test_what_is_watched_changes_nothing(make_net, make_batch, make_u2pl):
    net = make_net()
    batch = make_batch(step=1, steps=10)
    hidden = dataclasses.replace(batch.weak, truth=torch.full_like(batch.weak.truth, -1))
    results = []
    for watched in (batch, dataclasses.replace(batch, monitor=False), dataclasses.replace(batch, weak=hidden)):
        method = make_u2pl(net)
        terms = method.loss(net, watched)
        results.append((terms, torch.autograd.grad(terms.total, parameters(net, method))))
    for terms, gradients in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients, results[0][1], strict=True))
        assert not any(value.requires_grad for value in terms.log.values())
    assert results[1][0].log.keys() == {"loss_ce", "loss_unsupervised", "loss_contrast"}
    assert {"threshold_low", "threshold_high", "kept_share", "bank_fill", "bank_fill_min", "anchor_classes"} < set(
        results[0][0].log
    )
    assert set(method.histograms()) == {"prototype_cosine"}


@pytest.mark.parametrize(
    "settings",
    [
        {"low_rank": -1},
        {"contrast_weight": -0.1},
        {"anchors": 0},
        {"bank_size": 0},
        {"teacher_momentum": 1.0},
        {"warmup": 1.0},
        {"unreliable_share": 0.6},
        {"temperature": 0.0},
        {"high_rank": 3},
        {"anchor_rows": "all"},
        {"bank_dtype": "int8"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InputError, match=f"U2PL's {name} is {value!r}; it must be "):
        U2plConfig(**settings)
