"""Methods built small, for 8 channels and 4 classes, as several test files build them, and steps of training."""

import torch

from pointseg.methods import Erda, ErdaConfig, Task
from pointseg.methods.mllc import Mllc, MllcConfig
from pointseg.methods.query_erda import QueryErda, QueryErdaConfig

K, C = 4, 8
TASK = Task(num_classes=K, feature_dim=C, label_counts=torch.tensor([2, 2, 2, 2]))
COUNTS = torch.tensor([5, 4, 3, 2])
SMALL_MLLC = {"embedding_dim": 6, "neighbours": 3, "contrast_start": 0.0}


def build_erda(**settings):
    torch.manual_seed(1)
    return Erda(ErdaConfig(**settings), TASK)


def build_query_erda(label_counts=COUNTS, class_weights=None, **settings):
    torch.manual_seed(1)
    task = Task(num_classes=K, feature_dim=C, label_counts=label_counts, class_weights=class_weights)
    return QueryErda(QueryErdaConfig(**{"heads": 2, **settings}), task)


def build_mllc(net, **settings):
    torch.manual_seed(1)
    method = Mllc(MllcConfig(**(SMALL_MLLC | settings)), Task(K, C, torch.full((K,), 5)))
    method.prepare(net)
    return method


def train(net, method, optimizer, batches):
    """A step on each batch; returns the losses."""
    losses = []
    for batch in batches:
        total = method.loss(net, batch).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        method.after_step(net)
        losses.append(total.item())
    return losses
