"""The entropy of predictions, and the thresholds that part reliable from unreliable ones, over all processes.

Source: U2PL (Wang et al., CVPR 2022). The released code takes the percentiles of each GPU's batch by itself; here they
are those of the batch of all processes, so every process uses the same thresholds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_reduce_sum

DIGIT = 1 << 16
"""Values of half the bits of an fp32 number."""


@torch.no_grad()
def entropy(logits: Tensor) -> Tensor:
    """H of the softmax of each row, (M, K) -> (M,) fp32 nats, never below 0."""
    log_p = full_precision(logits).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).clamp(max=0).float()


@torch.no_grad()
def tail_thresholds(values: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The values that cut off the lowest and the highest ``share`` of the rows of all processes.

    ``values <= low`` and ``values >= high`` choose the same rows as thresholds interpolated between neighbours, as
    ``numpy.percentile`` gives them, would: ``low`` is the last order statistic below the ``share`` quantile, ``high``
    the first one above the ``1 - share`` quantile. The order statistics are exact and need no gathering: the bits of
    an fp32 number that is not negative grow with it, so histograms of their upper and then their lower half, summed
    over processes, lead to the number at a rank.

    Args:
        values: (M,) fp32, not negative.
        share: 0 to 0.5.

    Returns:
        ``low`` and ``high``, fp32 scalars equal on all processes; 0 if no process has a row.
    """
    bits = values.float().view(torch.int32).long() & 0x7FFFFFFF
    upper, lower = bits // DIGIT, bits % DIGIT
    counts = all_reduce_sum(torch.bincount(upper, minlength=DIGIT))
    last = max(int(counts.sum()) - 1, 0)
    rank = counts.new_tensor([math.floor(share * last), math.ceil((1 - share) * last)])
    upper_digit, rank = _digit(counts.expand(2, -1), rank)
    within = [torch.bincount(torch.where(upper == digit, lower, DIGIT), minlength=DIGIT + 1) for digit in upper_digit]
    lower_digit, _ = _digit(all_reduce_sum(torch.stack(within))[:, :DIGIT], rank)
    found = torch.where(counts.sum() > 0, upper_digit * DIGIT + lower_digit, 0)
    low, high = found.int().view(torch.float32)
    return low, high


def _digit(counts: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The bin of each row of a histogram (2, B) that holds the element of a rank (2,), and its rank within the bin."""
    below = counts.cumsum(1)
    digit = (below <= rank[:, None]).sum(1).clamp(max=counts.shape[1] - 1)
    before = (below - counts).gather(1, digit[:, None]).squeeze(1)
    return digit, rank - before
