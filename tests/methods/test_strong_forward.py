"""Running statistics of batch norm, with which the scored network normalises, are the weak view's in every method."""

import copy
import dataclasses

import pytest
import torch

from pointseg.methods import METHODS, Task
from pointseg.methods.two_views import strong_forward

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "supervised"])
def test_running_statistics_are_those_of_the_weak_view_in_every_method(name, normed_net, make_batch):
    net, batch = normed_net, make_batch(step=9, steps=10, monitor=False)
    alone = copy.deepcopy(net)
    alone(batch.weak.inputs)
    method = METHODS[name](METHODS[name].Config(), TASK)
    method.prepare(net)
    method.loss(net, batch)
    torch.testing.assert_close(net.norm.running_mean, alone.norm.running_mean)
    torch.testing.assert_close(net.norm.running_var, alone.norm.running_var)
    assert net.norm.momentum == 0.1


CASES = [(name, {}) for name in METHODS] + [
    ("u2pl", {"own_statistics": False}),
    ("mllc", {"contrast_start": 0.0}),
    ("pseudo_label", {"teacher": "ema"}),
    ("query_erda", {"teacher": "ema"}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_running_statistics_of_heads_and_teachers_are_the_weak_views(name, settings, normed_net, make_batch):
    batch, kept = make_batch(step=9, steps=10, monitor=False), []
    other = dataclasses.replace(batch, strong=dataclasses.replace(batch.strong, inputs=5 - 3 * batch.strong.inputs))
    for given in (batch, other):
        torch.manual_seed(0)
        net = copy.deepcopy(normed_net)
        method = METHODS[name](METHODS[name].Config(**settings), TASK)
        method.prepare(net)
        method.loss(net, given)
        kept.append({key: value for key, value in method.state_dict().items() if "running" in key})
    assert all(torch.equal(kept[0][key], value) for key, value in kept[1].items())
    if name in ("erda", "mllc", "u2pl"):
        moved = [key for key, value in kept[0].items() if "mean" in key and value.abs().max() > 0]
        assert moved


def test_the_strong_view_is_normalised_by_its_own_statistics_and_trains_the_network(normed_net, make_batch):
    net, batch = normed_net, make_batch()
    expected = copy.deepcopy(net)(batch.strong.inputs)
    features, logits = strong_forward(net, batch.strong.inputs)
    torch.testing.assert_close(features, expected[0])
    torch.testing.assert_close(logits, expected[1])
    assert net.norm.running_mean.abs().max() == 0
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(logits.square().sum(), [net.body.weight, net.norm.bias]))


def test_a_batch_norm_that_averages_all_batches_does_not_see_the_strong_view(normed_net, make_batch):
    batch = make_batch()
    normed_net.norm.momentum = None
    alone = copy.deepcopy(normed_net)
    for net in (normed_net, alone):
        net(batch.weak.inputs)
        if net is normed_net:
            strong_forward(net, 3 - 2 * batch.strong.inputs)
        net(batch.weak.inputs + 1)
    assert normed_net.norm.momentum is None
    assert normed_net.norm.num_batches_tracked == 2
    torch.testing.assert_close(normed_net.norm.running_mean, alone.norm.running_mean)
    torch.testing.assert_close(normed_net.norm.running_var, alone.norm.running_var)
