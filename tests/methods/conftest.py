"""What several tests of methods need: a network over plain rows, a batch for it, and a job of two processes."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pointseg.methods import Batch, Task, View
from pointseg.methods.u2pl import U2pl, U2plConfig


class RowNet(nn.Module):
    """A pointwise network, 5 channels in: methods need nothing more."""

    def __init__(self, width=8, num_classes=4):
        super().__init__()
        self.body, self.head = nn.Linear(5, width), nn.Linear(width, num_classes)

    def forward(self, inputs):
        features = self.body(inputs).relu()
        return features, self.head(features)


class NormedNet(nn.Module):
    """The same with batch norm."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, inputs):
        features = self.norm(self.body(inputs))
        return features, self.head(features)


@pytest.fixture
def normed_net():
    """A seeded ``NormedNet``."""
    torch.manual_seed(0)
    return NormedNet()


@pytest.fixture
def make_net():
    """``make_net(width=8, num_classes=4)``: a seeded ``RowNet``."""

    def make(**shape):
        torch.manual_seed(0)
        return RowNet(**shape)

    return make


def _view(rows, samples, num_classes, generator):
    per_sample = rows // samples
    labels = torch.full((rows,), -1)
    labels[:: per_sample // 5] = torch.arange(len(labels[:: per_sample // 5])) % num_classes
    truth = torch.where(labels >= 0, labels, torch.randint(0, num_classes, (rows,), generator=generator))
    return View(
        inputs=torch.randn(rows, 5, generator=generator),
        labels=labels,
        batch_index=torch.arange(rows) // per_sample,
        coord=torch.rand(rows, 3, generator=generator),
        row_id=torch.arange(rows) % per_sample,
        truth=truth,
    )


@pytest.fixture
def make_batch():
    """``make_batch(rows=40, samples=2, num_classes=4, seed=0)``: a weak view, one row in four or so annotated, and a
    strong view whose rows are a shuffled part of the weak ones, two of them without a counterpart.
    """

    def make(rows=40, samples=2, num_classes=4, seed=0, **fields):
        generator = torch.Generator().manual_seed(seed)
        weak = _view(rows, samples, num_classes, generator)
        order = torch.randperm(rows, generator=generator)[: rows - 6]
        strong = View(
            inputs=weak.inputs[order] + 0.1 * torch.randn(len(order), 5, generator=generator),
            labels=weak.labels[order],
            batch_index=weak.batch_index[order],
            coord=weak.coord[order],
            row_id=weak.row_id[order],
            truth=weak.truth[order],
        )
        weak_row = order.clone()
        weak_row[:2] = -1
        return Batch(weak=weak, strong=strong, weak_row=weak_row, **fields)

    return make


@pytest.fixture
def make_u2pl():
    """``make_u2pl(net, num_classes=4, **settings)``: a small U2PL whose teacher is another network than the student,
    sure of some rows and not of others.
    """

    def make(net, num_classes=4, **settings):
        torch.manual_seed(3)
        task = Task(num_classes=num_classes, feature_dim=8, label_counts=torch.full((num_classes,), 2))
        small = {"warmup": 0.0, "rep_dim": 6, "anchors": 16, "negatives": 5, "bank_size": 12, "keys_per_class": 4}
        method = U2pl(U2plConfig(**small | settings), task)
        method.prepare(net)
        with torch.no_grad():
            for weights in method.teacher.parameters():
                weights.mul_(3).add_(0.3 * torch.randn_like(weights))
        return method

    return make


@pytest.fixture
def relabelled():
    """``relabelled(batch, rule)``: the same batch with ``rule(view)`` as its labels."""

    def relabel(batch, rule):
        weak, strong = (dataclasses.replace(v, labels=rule(v)) for v in (batch.weak, batch.strong))
        return dataclasses.replace(batch, weak=weak, strong=strong)

    return relabel


@pytest.fixture
def in_processes(tmp_path):
    """``in_processes(function, size=2)``: ``[function(rank), ...]``, each in a process of its own, joined by gloo.

    ``function`` stands at the top of its test file; it returns what ``torch.save`` can write.
    """

    def run(function, size=2):
        script = Path(__file__).with_name("one_process.py")
        command = [sys.executable, script, inspect.getfile(function), function.__name__]
        jobs = [subprocess.Popen([*command, str(rank), str(size), tmp_path]) for rank in range(size)]
        try:
            assert [job.wait(timeout=120) for job in jobs] == [0] * size
        finally:
            for job in jobs:
                job.kill()
        return [torch.load(tmp_path / f"result_{rank}.pt", weights_only=True) for rank in range(size)]

    return run
