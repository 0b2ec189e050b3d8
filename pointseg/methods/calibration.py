"""Calibration: whether rows held with confidence c are right in a share c of the cases."""

from __future__ import annotations

import torch
from torch import Tensor

from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_reduce_sum


@torch.no_grad()
def expected_calibration_error(confidence: Tensor, hit: Tensor, bins: int = 15) -> Tensor:
    """Mean distance between accuracy and confidence over bins of equal width, weighted by the rows in each.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3, with bins open at their
    lower edge. As ``n_b |acc_b - conf_b|`` is ``|sum of (hit - confidence) in bin b|``, one sum a bin is enough.
    In several processes the rows of all of them count.

    Args:
        confidence: (M,) probability of the most likely class, 0 to 1.
        hit: (M,) bool, whether that class is right.
        bins: number of bins.

    Returns:
        A scalar, 0 to 1; 0 if there is no row.
    """
    confidence = full_precision(confidence)
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    gap = confidence.new_zeros(bins).index_add_(0, index, hit.to(confidence.dtype) - confidence)
    rows = gap.new_full((1,), len(confidence))
    sums = all_reduce_sum(torch.cat([gap, rows]))
    return sums[:-1].abs().sum() / sums[-1].clamp(min=1)
