"""Looking at a method's pseudo-labels outside of training."""

import copy
import dataclasses

import pytest
import torch

from pointseg.methods import METHODS, Task

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([3, 3, 2, 2]))
WITHOUT = ("supervised", "entropy_minimization")
SETTINGS = {
    "pseudo_label_ema": {"teacher": "ema"},
    "query_erda_ema": {"teacher": "ema"},
    "u2pl_denoised": {"denoise": True},
}
NAMES = [*METHODS, *SETTINGS]


def trained_method(name, net, batch, steps=3):
    torch.manual_seed(1)
    kind = METHODS[next(known for known in sorted(METHODS, key=len, reverse=True) if name.startswith(known))]
    method = kind(kind.Config(**SETTINGS.get(name, {})), TASK)
    method.prepare(net)
    optimizer = torch.optim.SGD([p for m in (net, method) for p in m.parameters() if p.requires_grad], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        method.loss(net, dataclasses.replace(batch, step=6 + step, steps=10)).total.backward()
        optimizer.step()
        method.after_step(net)
    return method


@pytest.mark.parametrize("name", NAMES)
def test_looking_changes_nothing_and_gives_probabilities(name, make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = trained_method(name, net, batch)
    before = copy.deepcopy((net.state_dict(), method.state_dict()))
    modes = [m.training for m in (*net.modules(), *method.modules())]
    p = method.pseudo_labels(net, batch.weak)
    for old, new in zip(before, (net.state_dict(), method.state_dict()), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert modes == [m.training for m in (*net.modules(), *method.modules())]
    if name in WITHOUT:
        assert p is None
        return
    assert p.shape == (40, 4)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(1), torch.ones(40))
    assert torch.equal(p, method.pseudo_labels(net, batch.weak))


def test_erdas_are_the_softmax_of_cosines_with_the_prototypes(make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = trained_method("erda", net, batch)
    e = method.erda.projection.eval()(net(batch.weak.inputs)[0])
    c = method.erda.prototypes.value
    cosine = (e / e.norm(dim=1, keepdim=True)) @ (c / c.norm(dim=1, keepdim=True)).t()
    torch.testing.assert_close(method.pseudo_labels(net, batch.weak), cosine.softmax(1))


@pytest.mark.parametrize("name", ["mean_teacher", "pseudo_label_ema", "u2pl"])
def test_a_teachers_are_its_predictions_and_not_the_students(name, make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = trained_method(name, net, batch)
    p = method.pseudo_labels(net, batch.weak)
    teacher = method.teacher.model.model if name == "u2pl" else method.teacher.model
    torch.testing.assert_close(p, teacher(batch.weak.inputs)[1].softmax(1))
    assert not torch.allclose(p, net(batch.weak.inputs)[1].softmax(1))
