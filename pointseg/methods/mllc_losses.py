"""The loss terms of MLLC beside the labelled cross-entropy, in fp32; each is 0 with a gradient where it has no rows.

Source: MLLC (Xiao et al., IEEE TMM 2024; arXiv 2404.02065) and its released trainer. Means are over the rows of all
processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_reduce_sum, global_mean
from pointseg.methods.prototypes import Prototypes

CONFIDENCE_POWER = 6
"""Of the weight of a row by its own confidence."""

UNIFORM_CONFIDENCE = 0.968
"""Rows at least this confident, as a share of all, are the weight that every row gets."""

TEMPERATURE = 0.1
"""Of the softmax over prototypes."""

PAIRED_NODES = 1024
"""Labelled nodes of a sample compared with one another at most, evenly spaced among them."""

COSINE_MARGIN = 1e-4
"""Keeps cosines off 0 and 1, where the gradient of the binary cross-entropy is unbounded (release: 1e-10 and 0)."""


def confidence_weights(confidence: Tensor, used: Tensor, weighting: str) -> Tensor:
    """MLLC's dynamic weights of pseudo-labelled rows, (M,).

    Args:
        confidence: (M,) highest probability of the pseudo-label.
        used: (M,) bool rows that have one.
        weighting: ``threshold``: the row's confidence to the power of 6; ``uniform``: for every row the share of rows
            with a confidence of at least 0.968, over all processes.
    """
    if weighting == "threshold":
        return confidence**CONFIDENCE_POWER
    confident = used & (confidence >= UNIFORM_CONFIDENCE)
    counts = all_reduce_sum(torch.stack([confident.sum(), used.sum()]).to(confidence.dtype))
    return (counts[0] / counts[1].clamp(min=1)).expand_as(confidence)


def weighted_cross_entropy(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Sum of ``w CE(z, class)`` over the rows of a class >= 0, divided by their number (not by their weights).

    Args:
        logits: z, (M, K).
        classes: (M,) int64, -1 = takes no part.
        weights: w, (M,).
    """
    with torch.autocast(logits.device.type, enabled=False):
        per_row = F.cross_entropy(full_precision(logits), classes, ignore_index=-1, reduction="none")
        return global_mean((weights * per_row).sum(), (classes >= 0).sum())


def prototype_contrast(embedding: Tensor, classes: Tensor, prototypes: Prototypes) -> Tensor:
    """InfoNCE of nodes against the prototypes of all classes: ``CE(cos(F, prototype) / 0.1, class)``.

    Args:
        embedding: F, (n, E).
        classes: (n,) int64, -1 = takes no part; every other class has been seen by ``prototypes``.
        prototypes: constants here.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        per_node = F.cross_entropy(
            prototypes.similarity(embedding) / TEMPERATURE, classes, ignore_index=-1, reduction="none"
        )
        return global_mean(per_node.sum(), (classes >= 0).sum())


def pair_contrast(embedding: Tensor, classes: Tensor, batch_index: Tensor) -> Tensor:
    """Mean binary cross-entropy between the cosine of two nodes of a sample and whether their classes are equal.

    Args:
        embedding: (n, E).
        classes: (n,) int64, -1 = takes no part.
        batch_index: (n,) int64 sample of each node, ascending.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        direction = F.normalize(full_precision(embedding), dim=1)
        total, pairs = direction.sum() * 0, 0
        for members in torch.arange(len(classes), device=classes.device).split(torch.bincount(batch_index).tolist()):
            members = members[classes[members] >= 0]
            members = members[:: -(-len(members) // PAIRED_NODES) or 1]
            cosine = (direction[members] @ direction[members].t()).clamp(COSINE_MARGIN, 1 - COSINE_MARGIN)
            alike = (classes[members, None] == classes[members]).to(cosine.dtype)
            total = total + F.binary_cross_entropy(cosine, alike, reduction="sum")
            pairs += len(members) ** 2
        return global_mean(total, total.new_tensor(pairs))
