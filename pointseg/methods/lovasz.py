"""Lovasz-Softmax: a loss whose value at hard predictions is one minus the mean IoU.

Source: Berman, Triki and Blaschko, "The Lovasz-Softmax loss", CVPR 2018, with the classes that are present.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

from pointseg.methods.distributed import all_gather_rows, world_size


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the annotated classes of the Lovasz extension of their Jaccard loss, in fp32.

    Errors are ranked over the rows of all processes, so that several processes together give the loss of one.

    Args:
        logits: (M, K).
        labels: (M,) int64, -1 = not annotated.

    Returns:
        A scalar in [0, 1] (times the share of a process, whose mean over processes is the loss); 0 with a gradient if
        no row is annotated.
    """
    with torch.autocast(logits.device.type, enabled=False):
        rows = labels >= 0
        scores = logits[rows]
        probability = (scores if scores.dtype == torch.float64 else scores.float()).softmax(1)
        hit = torch.zeros_like(probability, dtype=torch.bool).scatter_(1, labels[rows, None], True)
        error = torch.where(hit, 1 - probability, probability)
        weight = _own_rows(_jaccard_steps(all_gather_rows(error), all_gather_rows(hit.to(error.dtype))), len(error))
        return world_size() * (error * weight).sum()


def _jaccard_steps(error: Tensor, hit: Tensor) -> Tensor:
    """(M, K) factors of the errors: what each adds to its class's Jaccard loss when errors are taken largest first.

    Args:
        error: (M, K) in [0, 1].
        hit: (M, K) 1 where the row is of the class, else 0.
    """
    order = error.argsort(dim=0, descending=True, stable=True)
    ranked = hit.gather(0, order)
    total = ranked.sum(0)
    missed = ranked.cumsum(0)
    false = (1 - ranked).cumsum(0)
    jaccard = 1 - (total - missed) / (total + false).clamp(min=1)
    steps = torch.diff(jaccard, dim=0, prepend=torch.zeros_like(jaccard[:1]))
    present = total > 0
    steps = steps * present / present.sum().clamp(min=1)
    return torch.zeros_like(steps).scatter_(0, order, steps)


def _own_rows(rows: Tensor, count: int) -> Tensor:
    """The rows of this process out of those of all, which stand in the order of the ranks."""
    if world_size() == 1:
        return rows
    counts = all_gather_rows(torch.tensor([count], device=rows.device))
    start = int(counts[: dist.get_rank()].sum())
    return rows[start : start + count]
