"""The moving average of a network."""

import copy

import torch
from torch import nn

from pointseg.methods.teacher import Teacher


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, inputs):
        features = self.norm(self.layer(inputs))
        return features, features * 2


def test_the_average_follows_the_written_recursion():
    torch.manual_seed(0)
    net = Net()
    teacher = Teacher(net, momentum=0.6)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    for n in range(1, 5):
        with torch.no_grad():
            for p in net.parameters():
                p += torch.randn_like(p)
        net(torch.randn(8, 3))
        teacher.update(net)
        decay = min(1 - 1 / (n + 1), 0.6)
        for name, value in net.state_dict().items():
            floating = value.dtype.is_floating_point
            expected[name] = decay * expected[name] + (1 - decay) * value if floating else value
    for name, value in teacher.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_a_teacher_has_no_gradient_and_its_student_is_not_touched():
    net = Net()
    before = copy.deepcopy(net.state_dict())
    teacher = Teacher(net, momentum=0.9)
    features, logits = teacher(torch.randn(6, 3, requires_grad=True))
    assert not features.requires_grad
    assert not logits.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in net.parameters())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_own_statistics_come_from_the_teachers_batches_alone():
    torch.manual_seed(0)
    net = Net()
    teacher = Teacher(net, momentum=0.9, own_statistics=True)
    x = torch.randn(50, 3)
    net(x + 10)
    teacher.update(net)
    assert teacher.model.norm.running_mean.abs().max() == 0
    with torch.no_grad():
        batch = teacher.model.layer(x)
        expected = (batch - batch.mean(0)) / (batch.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(teacher(x)[0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(teacher.model.norm.running_mean, 0.1 * batch.mean(0))


def test_state_survives_a_checkpoint():
    net = Net()
    teacher = Teacher(net, momentum=0.9)
    teacher.update(net)
    other = Teacher(Net(), momentum=0.9)
    other.load_state_dict(teacher.state_dict())
    assert int(other.updates) == 1
    x = torch.randn(4, 3)
    torch.testing.assert_close(other(x)[1], teacher(x)[1])
