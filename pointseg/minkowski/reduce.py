"""Rows that share a group reduced to one row each, without float atomics."""

import torch
from torch import Tensor

from pointseg.minkowski.enums import SparseTensorQuantizationMode as Mode

_REDUCTIONS = {Mode.UNWEIGHTED_AVERAGE: "mean", Mode.UNWEIGHTED_SUM: "sum", Mode.MAX_POOL: "max"}


def reduce_rows(features: Tensor, unique_index: Tensor, inverse: Tensor, mode: Mode) -> Tensor:
    """One row for each group; differentiable.

    Args:
        features: (N, C).
        unique_index: (V,) the first row of each group.
        inverse: (N,) the group of each row; every group has a row.
        mode: how to reduce; RANDOM_SUBSAMPLE takes the first row.

    Returns:
        (V, C).
    """
    # As many groups as rows: groups are numbered by first appearance, so the rows are the result.
    if len(unique_index) == len(features):
        return features
    if mode is Mode.RANDOM_SUBSAMPLE:
        return features[unique_index]
    order = torch.argsort(inverse, stable=True)
    lengths = torch.bincount(inverse, minlength=len(unique_index))
    return torch.segment_reduce(features[order], _REDUCTIONS[mode], lengths=lengths, axis=0)
