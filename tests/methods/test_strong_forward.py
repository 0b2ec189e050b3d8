"""Running statistics of batch norm, with which the scored network normalises, are the weak view's in every method."""

import copy

import pytest
import torch
from torch import nn

from pointseg.methods import METHODS, Task
from pointseg.methods.two_views import strong_forward

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.norm(self.body(inputs))
        return features, self.head(features)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "supervised"])
def test_running_statistics_are_those_of_the_weak_view_in_every_method(name, make_batch):
    torch.manual_seed(0)
    net, batch = Normed(), make_batch(step=9, steps=10, monitor=False)
    alone = copy.deepcopy(net)
    alone(batch.weak.inputs)
    method = METHODS[name](METHODS[name].Config(), TASK)
    method.prepare(net)
    method.loss(net, batch)
    torch.testing.assert_close(net.norm.running_mean, alone.norm.running_mean)
    torch.testing.assert_close(net.norm.running_var, alone.norm.running_var)
    assert net.norm.momentum == 0.1


def test_the_strong_view_is_normalised_by_its_own_statistics_and_trains_the_network(make_batch):
    net, batch = Normed(), make_batch()
    expected = copy.deepcopy(net)(batch.strong.inputs)
    features, logits = strong_forward(net, batch.strong.inputs)
    torch.testing.assert_close(features, expected[0])
    torch.testing.assert_close(logits, expected[1])
    assert net.norm.running_mean.abs().max() == 0
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(logits.square().sum(), [net.body.weight, net.norm.bias]))
