"""The methods as the training loop uses them, on a plain network over rows."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pointseg.methods import (
    METHODS,
    Batch,
    Erda,
    ErdaConfig,
    Supervised,
    SupervisedConfig,
    Task,
    View,
    labelled_cross_entropy,
)

TASK = Task(num_classes=4, feature_dim=8, label_counts=torch.tensor([2, 2, 2, 2]))


class RowNet(nn.Module):
    """A pointwise network: methods need nothing more."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.body(inputs).relu()
        return features, self.head(features)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    labels = torch.full((40,), -1)
    labels[:8] = torch.arange(8) % 4
    truth = torch.randint(0, 4, (40,), generator=generator)
    truth[:8] = labels[:8]
    view = View(
        inputs=torch.randn(40, 5, generator=generator),
        labels=labels,
        batch_index=torch.zeros(40, dtype=torch.long),
        coord=torch.zeros(40, 3),
        row_id=torch.arange(40),
        truth=truth,
    )
    return Batch(weak=view)


def build(name, **settings):
    method = METHODS[name]
    return method(method.Config(**settings), TASK)


def test_cross_entropy_is_the_mean_over_annotated_rows():
    logits = torch.randn(6, 3)
    labels = torch.tensor([2, -1, 0, -1, -1, 1])
    expected = F.cross_entropy(logits[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(labelled_cross_entropy(logits, labels), expected)
    nothing = labelled_cross_entropy(logits.requires_grad_(), torch.full((6,), -1))
    nothing.backward()
    assert nothing.item() == 0


def test_erda_with_weight_zero_has_the_gradients_of_supervised(batch):
    torch.manual_seed(0)
    net = RowNet()
    reference = torch.autograd.grad(build("supervised").loss(net, batch).total, list(net.parameters()))
    gradients = torch.autograd.grad(build("erda", weight=0.0).loss(net, batch).total, list(net.parameters()))
    for a, b in zip(reference, gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_hidden_truth_is_watched_but_never_learnt_from(batch):
    torch.manual_seed(0)
    net = RowNet()
    hidden = dataclasses.replace(batch.weak, truth=torch.full_like(batch.weak.truth, -1))
    gradients = []
    for view in (batch.weak, hidden):
        torch.manual_seed(1)
        terms = build("erda", weight=1.0).loss(net, Batch(weak=view))
        gradients.append(torch.autograd.grad(terms.total, list(net.parameters())))
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)
    assert "pseudo_label_accuracy" not in terms.log


def test_watched_statistics_by_hand(batch):
    torch.manual_seed(0)
    net, erda = RowNet(), build("erda")
    terms = erda.loss(net, batch)
    features, logits = net(batch.weak.inputs)
    erda.eval()
    erda.erda.projection.train()
    p = erda.erda.pseudo_logits(features, batch.weak.labels)[8:].softmax(1)
    q = logits[8:].softmax(1)
    expected = {
        "entropy_p": -(p * p.log()).sum(1).mean(),
        "entropy_q": -(q * q.log()).sum(1).mean(),
        "kl_p_q": (p * (p / q).log()).sum(1).mean(),
        "pseudo_label_accuracy": (p.argmax(1) == batch.weak.truth[8:]).float().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms.log[name], value.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_the_annotated_rows(name, make_net, make_batch):
    net, batch = make_net(), make_batch()
    method = METHODS[name](METHODS[name].Config(), Task(4, 8, label_counts=torch.tensor([3, 3, 2, 2])))
    method.prepare(net)
    trained = [p for p in (*net.parameters(), *method.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    annotated = batch.weak.labels >= 0
    for step in range(60):
        terms = method.loss(net, dataclasses.replace(batch, step=step, steps=60))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        method.after_step(net)
    predicted = net(batch.weak.inputs)[1].argmax(1)[annotated]
    assert (predicted == batch.weak.labels[annotated]).float().mean() == 1


def test_class_weights_scale_the_annotated_rows_of_every_method(make_net, make_batch):
    net, batch = make_net(), make_batch(monitor=False)
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    labels = batch.weak.labels
    expected = F.cross_entropy(net(batch.weak.inputs)[1], labels, weight=weights, ignore_index=-1)
    task = Task(4, 8, label_counts=torch.tensor([3, 3, 2, 2]), class_weights=weights)
    for method in METHODS.values():
        built = method(method.Config(), task)
        built.prepare(net)
        torch.testing.assert_close(built.loss(net, batch).log["loss_ce"], expected.detach())


def test_the_student_is_scored(batch):
    net = RowNet()
    assert Supervised(SupervisedConfig(), TASK).evaluated(net) is net
    assert Erda(ErdaConfig(), TASK).evaluated(net) is net
