"""MLLC: its start, state, thresholds and precision, what its settings do, and batches that lack something."""

import copy
import dataclasses

import pytest
import torch
from small_methods import C, K
from small_methods import build_mllc as make_method
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.mllc import MllcConfig


def test_before_its_start_the_contrast_trains_nothing_but_leaves_gradients(make_net, make_batch):
    net = make_net(width=C)
    method = make_method(net, contrast_start=0.5)
    method.loss(net, make_batch(step=4, steps=10)).total.backward()
    for p in method.correction.embedding.parameters():
        assert p.grad.abs().max() == 0
    method.loss(net, make_batch(step=5, steps=10)).total.backward()
    assert method.correction.embedding[0].weight.grad.abs().max() > 0


def train(net, method, make_batch, steps):
    optimizer = torch.optim.SGD([p for p in (*net.parameters(), *method.parameters()) if p.requires_grad], lr=0.1)
    losses = []
    for step in steps:
        terms = method.loss(net, make_batch(seed=step, step=step, steps=6))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        method.after_step(net)
        losses.append(terms.total.item())
    return losses


@pytest.mark.parametrize("nodes", ["sample", "cells", "superpoints"])
def test_a_checkpoint_continues_with_the_same_losses(make_net, make_batch, nodes):
    settings = {"nodes": nodes, "cell": 0.3, "sample_size": 8}
    net = make_net(width=C)
    method = make_method(net, **settings)
    train(net, method, make_batch, range(3))
    saved = copy.deepcopy((net.state_dict(), method.state_dict()))
    expected = train(net, method, make_batch, range(3, 6))
    other = make_net(width=C)
    resumed = make_method(other, **settings)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    torch.manual_seed(99)
    assert train(other, resumed, make_batch, range(3, 6)) == expected


def test_bf16_autocast_corrects_in_fp32(make_net, make_batch):
    net, batch = make_net(width=C), make_batch()
    method = make_method(net, pair_weight=0.1)
    dtypes = set()
    for layer in method.correction.rounds:
        layer.register_forward_hook(lambda module, given, made: dtypes.update(t.dtype for t in made))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.loss(net, batch)
    terms.total.backward()
    assert dtypes == {torch.float32}
    assert terms.total.dtype == torch.float32
    assert terms.total.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("nodes", ["sample", "cells", "superpoints"])
@pytest.mark.parametrize("case", ["nothing annotated", "everything annotated", "no counterpart"])
def test_empty_sets_give_zero_terms(make_net, make_batch, nodes, case):
    net, batch = make_net(width=C), make_batch()
    method = make_method(net, nodes=nodes, pair_weight=0.1, weighting="threshold")
    if case == "no counterpart":
        batch = dataclasses.replace(batch, weak_row=torch.full_like(batch.weak_row, -1))
    else:
        label = -1 if case == "nothing annotated" else 1
        weak, strong = (
            dataclasses.replace(v, labels=torch.full_like(v.labels, label)) for v in (batch.weak, batch.strong)
        )
        batch = dataclasses.replace(batch, weak=weak, strong=strong)
    terms = method.loss(net, batch)
    terms.total.backward()
    assert all(value.isfinite().all() for value in terms.log.values())
    assert all(p.grad.isfinite().all() for p in (*net.parameters(), *method.correction.parameters()))
    assert (terms.log["loss_ce"] == 0) == (case == "nothing annotated")
    assert (terms.log["loss_unlabelled"] == 0) == (case != "nothing annotated")


@pytest.mark.parametrize(
    "setting",
    [
        {"weight": 0.5},
        {"weighting": "uniform"},
        {"rounds": 1},
        {"neighbours": 1},
        {"embedding_dim": 5},
        {"identity_init": False},
        {"clamp": False},
        {"base_threshold": 0.3},
        {"count_momentum": 0.1},
        {"nodes": "cells"},
        {"nodes": "superpoints"},
        {"sample_size": 10},
        {"spatial_radius": 0.2},
        {"contrast_weight": 0.2},
        {"contrast_start": 0.9},
        {"prototype_momentum": 0.1},
        {"pair_weight": 0.1},
        {"momentum": 0.2},
        {"teacher": "student"},
    ],
    ids=lambda setting: str(next(iter(setting.items()))),
)
def test_every_setting_changes_the_losses(make_net, make_batch, setting):
    losses = []
    for settings in ({}, setting):
        net = make_net(width=C)
        with torch.no_grad():
            net.head.weight *= 12
        method = make_method(net, **({"weighting": "threshold", "cell": 0.3} | settings))
        losses.append(train(net, method, make_batch, range(4)))
    assert losses[0] != losses[1]


def test_clamping_spreads_the_annotation_of_a_node(make_net, make_batch):
    net, batch = make_net(width=C), make_batch()
    for clamp in (True, False):
        method = make_method(net, clamp=clamp, neighbours=1)
        method.eval()
        features, logits = net(batch.weak.inputs)
        nodes = method._nodes(batch.weak, features, draw=0)
        _, corrected = method._pseudo_logits(batch.weak, nodes, features, logits)
        rows = batch.weak.labels >= 0
        right = (corrected.argmax(1) == batch.weak.labels)[rows].float().mean()
        assert (right == 1) == clamp


def test_thresholds_follow_the_counts_and_forget(make_net):
    method = make_method(make_net(width=C), count_momentum=0.5)
    torch.testing.assert_close(method.thresholds(), torch.full((K,), 0.95))
    confident = 20 * torch.eye(K)[torch.tensor([0] * 30 + [1] * 10)]
    method._count_confident(confident)
    torch.testing.assert_close(method.confident_count, torch.tensor([15.5, 5.5, 1, 1]))
    torch.testing.assert_close(method.thresholds(), 0.95 * torch.tensor([15.5, 5.5, 1, 1]) / 15.5)
    for _ in range(200):
        method._count_confident(torch.zeros(40, K))
    torch.testing.assert_close(method.thresholds(), torch.full((K,), 0.95))


def test_no_threshold_falls_below_the_minimum(make_net):
    method = make_method(make_net(width=C), count_momentum=0.5, minimum_threshold=0.4)
    method._count_confident(20 * torch.eye(K)[torch.tensor([0] * 3000 + [1] * 1800 + [2] * 600)])
    counts = torch.tensor([1500.5, 900.5, 300.5, 1])
    expected = [0.95, 0.95 * 900.5 / 1500.5, 0.4, 0.4]
    torch.testing.assert_close(method.confident_count, counts)
    torch.testing.assert_close(method.thresholds(), torch.tensor(expected))


def test_thresholds_are_watched_class_by_class(make_net, make_batch):
    net = make_net(width=C)
    method = make_method(net, count_momentum=0.5, base_threshold=0.3)
    log = method.loss(net, make_batch(monitor=True)).log
    count = method.confident_count
    torch.testing.assert_close(log["threshold_class"], 0.3 * count / count.max())
    assert log["threshold_min"] == log["threshold_class"].min() < 0.3


def test_the_last_rounds_prototypes_are_watched_once_the_contrast_has_begun(make_net, make_batch):
    net = make_net(width=C)
    method = make_method(net, contrast_start=0.5)
    early = method.loss(net, make_batch(monitor=True, step=4, steps=10)).log
    assert not any(name.startswith("prototype") for name in early)
    method.loss(net, make_batch(monitor=True, step=5, steps=10))
    before = method.prototypes[-1].value.clone()
    log = method.loss(net, make_batch(seed=1, monitor=True, step=6, steps=10)).log
    value = method.prototypes[-1].value
    torch.testing.assert_close(log["prototype_drift_class"], 1 - F.cosine_similarity(value, before, dim=1))
    cosine = F.normalize(value, dim=1) @ F.normalize(value, dim=1).T
    assert log["prototype_cosine_max"] == pytest.approx(float(cosine.triu(1).max()), abs=1e-6)
    assert len(method.histograms()["prototype_cosine"]) == K * (K - 1) // 2


def test_the_plain_student_is_evaluated(make_net):
    net = make_net(width=C)
    assert make_method(net).evaluated(net) is net


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": "power"},
        {"teacher": "both"},
        {"nodes": "points"},
        {"weight": -1.0},
        {"rounds": 0},
        {"momentum": 1.0},
        {"contrast_start": 1.5},
        {"cell": 0.0},
        {"minimum_threshold": -0.1},
        {"minimum_threshold": 0.96},
    ],
    ids=str,
)
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        MllcConfig(**settings)
