"""Which rows of each sample are pseudo-labelled, where not all are."""

from __future__ import annotations

import torch
from torch import Tensor


def most_confident(confidence: Tensor, batch_index: Tensor, candidates: Tensor, n: int) -> Tensor:
    """The ``n`` candidates of highest confidence in every sample (all, where there are fewer), as a mask (M,).

    Of equally confident rows the earlier come first.

    Args:
        confidence: (M,), or anything that grows with it.
        batch_index: (M,) int64 sample of each row.
        candidates: (M,) bool, rows to choose from.
        n: rows a sample.
    """
    order = confidence.masked_fill(~candidates, -torch.inf).argsort(descending=True, stable=True)
    order = order[batch_index[order].argsort(stable=True)]
    sample = batch_index[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(sample, sample)
    first = torch.zeros_like(candidates)
    first[order] = rank < n
    return first & candidates
