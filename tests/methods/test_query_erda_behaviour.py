"""Query-based ERDA: its teacher, precision, what it learns, saves and reports, and what its settings do."""

import copy
import dataclasses

import pytest
import torch
from small_methods import build_query_erda as build

from pointseg.errors import InputError
from pointseg.methods.query_erda import QueryErdaConfig


def test_a_moving_average_labels_the_weak_view(make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = build(teacher="ema", teacher_momentum=0.2)
    with pytest.raises(ValueError, match="prepare"):
        method.loss(net, batch)
    method.prepare(net)
    before = float(method.loss(net, batch).log["loss_query"])
    with torch.no_grad():
        net.body.weight.mul_(torch.tensor([[3.0], [-1.0]] * 4))
    assert float(method.loss(net, batch).log["loss_query"]) == pytest.approx(before, rel=1e-6)
    old = method.teacher.model.body.weight.clone()
    method.after_step(net)
    torch.testing.assert_close(method.teacher.model.body.weight, 0.2 * old + 0.8 * net.body.weight)
    assert float(method.loss(net, batch).log["loss_query"]) != pytest.approx(before, rel=1e-4)
    assert any(name.startswith("teacher") for name in method.state_dict())
    assert method.evaluated(net) is net


def test_bf16_autocast_keeps_the_losses_in_fp32(make_net, make_batch):
    net, batch, method = make_net(), make_batch(), build()
    reference = method.loss(net, batch).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = build().loss(net, batch)
    assert terms.total.dtype == torch.float32
    assert all(torch.isfinite(value) for value in terms.log.values())
    torch.testing.assert_close(terms.total, reference, rtol=0.02, atol=0.02)
    terms.total.backward()
    assert all(p.grad.dtype == torch.float32 for p in method.parameters() if p.grad is not None)


def train(net, method, optimizer, make_batch, steps):
    losses = []
    for step in steps:
        terms = method.loss(net, make_batch(rows=60, samples=3, seed=step, step=step, steps=8))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        method.after_step(net)
        losses.append(float(terms.total.detach()))
    return losses


@pytest.mark.parametrize("settings", [{}, {"teacher": "ema", "query_init": "centroids", "max_keys": 5}])
def test_a_training_cut_in_two_goes_on_as_it_would_have(make_net, make_batch, settings):
    def begin():
        net, method = make_net(), build(**settings)
        method.prepare(net)
        trained = [p for p in (*net.parameters(), *method.parameters()) if p.requires_grad]
        return net, method, torch.optim.AdamW(trained, lr=0.02)

    first = begin()
    train(*first, make_batch, range(4))
    saved = [copy.deepcopy(part.state_dict()) for part in first]
    expected = train(*first, make_batch, range(4, 8))
    second = begin()
    for part, state in zip(second, saved, strict=True):
        part.load_state_dict(state)
    assert train(*second, make_batch, range(4, 8)) == expected


def test_it_learns_the_annotated_rows_with_both_heads(make_net, make_batch):
    net, method, batch = make_net(), build(), make_batch()
    optimizer = torch.optim.AdamW([*net.parameters(), *method.parameters()], lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        terms = method.loss(net, batch)
        terms.total.backward()
        optimizer.step()
    annotated = batch.weak.labels >= 0
    features, logits = net(batch.weak.inputs)
    pseudo, _ = method.generator(features, batch.weak.batch_index, batch.weak.labels)
    for each in (logits, pseudo):
        assert (each.argmax(1) == batch.weak.labels)[annotated].float().mean() > 0.9


def test_what_is_watched(make_net, make_batch):
    names = {"query_cosine_max", "query_cosine_mean", "query_shift", "entropy_p", "kl_p_q"}
    batch = make_batch()
    method = build()
    log = method.loss(make_net(), batch).log
    assert names <= log.keys()
    assert float(log["share_paired"]) == pytest.approx(float((batch.weak_row >= 0).float().mean()))
    alone = build(views="one").loss(make_net(), batch).log
    assert float(alone["share_paired"]) == pytest.approx(float((batch.weak.labels < 0).float().mean()))
    assert not any(value.requires_grad for value in log.values())
    silent = method.loss(make_net(), dataclasses.replace(batch, monitor=False)).log
    assert silent.keys() == {"loss_ce", "loss_query", "loss_erda"}
    assert method.histograms()["query_cosine"].shape == (6,)
    assert method.histograms()["query_length"].shape == (4,)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.5},
        {"layers": 2},
        {"heads": 4},
        {"max_keys": 2},
        {"query_init": "centroids"},
        {"entropy_weight": 0.0},
    ],
)
def test_each_setting_changes_the_pseudo_labels_or_their_loss(make_net, make_batch, settings):
    plain, changed = (build(**each).loss(make_net(), make_batch()).log["loss_erda"] for each in ({}, settings))
    assert abs(plain - changed) > 1e-5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"views": "three"}, r"views is 'three'; it must be one of two, one"),
        ({"teacher": "self"}, r"teacher is 'self'; it must be one of shared, ema"),
        ({"query_init": "zero"}, r"query_init is 'zero'; it must be one of random, centroids"),
        ({"weight": -1.0}, r"weight is -1.0; it must be 0 or more"),
        ({"query_weight": -0.5}, r"query_weight is -0.5"),
        ({"entropy_weight": float("inf")}, r"entropy_weight is inf"),
        ({"temperature": 0.0}, r"temperature is 0.0; it must be above 0"),
        ({"teacher_momentum": 1.0}, r"teacher_momentum is 1.0; it must be at least 0 and below 1"),
        ({"layers": 0}, r"layers is 0; it must be 1 or more"),
        ({"heads": 0}, r"heads is 0"),
        ({"max_keys": 0}, r"max_keys is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        QueryErdaConfig(**settings)


def test_heads_that_do_not_fit_the_network_are_refused():
    with pytest.raises(InputError, match="heads is 3"):
        build(heads=3)
