"""Prototypical ERDA in a training: how its prototypes start, what is saved, precision, what it reports and learns."""

import copy

import numpy as np
import pytest
import torch
from small_methods import TASK
from small_methods import build_erda as build

from pointseg.methods import Erda, ErdaConfig


@pytest.mark.parametrize("initial", ["random", "zeros"])
@pytest.mark.parametrize("unseen", ["mask", "zero"])
def test_a_class_without_a_label_so_far(make_net, make_batch, unseen, initial):
    net, batch = make_net(), make_batch()
    labels = torch.where(batch.weak.labels == 2, -1, batch.weak.labels)
    features, logits = net(batch.weak.inputs)
    for n in (1, 2):
        loss, s = build(unseen=unseen, initial=initial, prototypes_per_class=n).erda(features, logits, labels)
        assert torch.isfinite(loss)
        p = s.softmax(1)[:, 2]
        assert (p == 0).all() if unseen == "mask" else (s[:, 2] == 0).all() and (p > 0).all()


def test_random_prototypes_turn_slowly_towards_their_classes(make_net, make_batch):
    net, batch = make_net(), make_batch()
    erda = build(projection=False)
    start = erda.erda.prototypes.value.clone()
    assert start.abs().min() > 0
    erda.loss(net, batch)
    torch.testing.assert_close(erda.erda.prototypes.value, start, atol=0.02, rtol=0)
    assert not torch.equal(erda.erda.prototypes.value, start)


def test_several_prototypes_start_from_rows_whatever_the_initial(make_net, make_batch):
    net, batch = make_net(), make_batch()
    values = []
    for initial in ("random", "zeros"):
        erda = build(initial=initial, prototypes_per_class=2)
        assert not erda.erda.prototypes.value.any()
        erda.loss(net, batch)
        values.append(erda.erda.prototypes.sub_value)
    assert torch.equal(*values)


@pytest.mark.parametrize("settings", [{}, {"prototypes_per_class": 2}])
def test_a_checkpoint_in_the_middle_changes_nothing(make_net, make_batch, settings):
    net, straight = make_net(), build(**settings)
    batches = [make_batch(seed=seed) for seed in range(4)]
    for batch in batches[:2]:
        straight.loss(net, batch)
    resumed = Erda(ErdaConfig(**settings), TASK)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    for batch in batches[2:]:
        one, two = straight.loss(net, batch), resumed.loss(net, batch)
        assert torch.equal(one.total, two.total)
        assert one.log.keys() == two.log.keys()
        assert all(torch.equal(one.log[name], two.log[name]) for name in one.log)


@pytest.mark.parametrize("settings", [{}, {"form": "kl_reverse"}, {"hard": True}, {"projection": False}])
def test_under_autocast_the_loss_is_computed_in_fp32(make_net, make_batch, settings):
    net, batch = make_net(), make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = net(batch.weak.inputs)
        assert logits.dtype == torch.bfloat16
        found, s = build(**settings).erda(features, logits, batch.weak.labels)
    expected, _ = build(**settings).erda(features.float(), logits.float(), batch.weak.labels)
    assert found.dtype == s.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_prototypes_are_watched_only_when_monitored(make_net, make_batch):
    net, erda = make_net(), build()
    first = erda.loss(net, make_batch()).log
    assert "prototype_drift" not in first
    before = erda.erda.prototypes.value.clone()
    quiet = erda.loss(net, make_batch(seed=1, monitor=False)).log
    assert set(quiet) == {"loss_ce", "loss_erda"}
    log = erda.loss(net, make_batch(seed=2)).log
    value = erda.erda.prototypes.value
    drift = [1 - float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(before, value, strict=True)]
    assert log["prototype_drift"].item() == pytest.approx(np.mean(drift), abs=1e-6)
    assert log["prototype_drift_class"].tolist() == pytest.approx(drift, abs=1e-6)
    assert log["prototype_classes"] == 4
    assert 1 < log["prototype_rank"] <= 3
    histograms = erda.histograms()
    assert len(histograms["prototype_cosine"]) == 6
    torch.testing.assert_close(histograms["prototype_norm"], value.norm(dim=1))
    assert log["prototype_cosine_max"] == histograms["prototype_cosine"].max()


@pytest.mark.parametrize(
    "settings", [{}, {"hard": True, "top_n": 4}, {"prototypes_per_class": 2}, {"temperature": 0.2}]
)
def test_it_learns_the_annotated_rows(make_net, make_batch, settings):
    net, batch, erda = make_net(), make_batch(), build(**settings)
    trained = [p for p in (*net.parameters(), *erda.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        erda.loss(net, batch).total.backward()
        optimizer.step()
    annotated = batch.weak.labels >= 0
    assert (net(batch.weak.inputs)[1].argmax(1) == batch.weak.labels)[annotated].all()
    assert erda.evaluated(net) is net
