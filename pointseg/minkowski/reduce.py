"""Rows that share a group reduced to one row each, and back to every row of the group; no float atomics on CPUs."""

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.enums import SparseTensorQuantizationMode as Mode
from pointseg.minkowski.products import sum_dtype

_REDUCTIONS = {Mode.UNWEIGHTED_AVERAGE: "mean", Mode.UNWEIGHTED_SUM: "sum", Mode.MAX_POOL: "max"}


def reduce_rows(features: Tensor, unique_index: Tensor, inverse: Tensor, mode: Mode) -> Tensor:
    """One row for each group; differentiable.

    Args:
        features: (N, C); floating point where rows are merged.
        unique_index: (V,) the first row of each group.
        inverse: (N,) the group of each row; every group has a row.
        mode: how to reduce; RANDOM_SUBSAMPLE takes the first row.

    Returns:
        (V, C) in the dtype of ``features``; sums are kept in fp32 (fp64 for fp64) and rounded once.

    Raises:
        InputError: features that are not floating point would have to be merged.
    """
    # As many groups as rows: groups are numbered by first appearance, so the rows are the result.
    if len(unique_index) == len(features):
        return features
    if mode is Mode.RANDOM_SUBSAMPLE:
        return features[unique_index]
    check_floating(features)
    order = torch.argsort(inverse, stable=True)
    lengths = torch.bincount(inverse, minlength=len(unique_index))
    rows = features[order]
    if mode is not Mode.MAX_POOL:
        rows = rows.to(sum_dtype(features.dtype))
    return torch.segment_reduce(rows, _REDUCTIONS[mode], lengths=lengths, axis=0).to(features.dtype)


def repeat_rows(features: Tensor, rows: Tensor) -> Tensor:
    """``features[rows]`` (N, C), whose gradient sums the repetitions of a row in fp32 (fp64 for fp64).

    Args:
        features: (V, C).
        rows: (N,) ints, any of them as often as wanted.
    """
    # CUDA adds gradients up in the dtype they have.
    wide = features.to(sum_dtype(features.dtype)) if features.requires_grad else features
    # Unlike indexing, index_select adds up the gradients of repeated rows in a fixed order on the CPU.
    return torch.index_select(wide, 0, rows).to(features.dtype)


def check_floating(features: Tensor) -> None:
    """Raises InputError for whole numbers and truth values: a mean or a weighted sum of them is none."""
    if not features.is_floating_point():
        raise InputError(
            f"features are {features.dtype}, but features must be floating point where rows are merged or weighted: "
            f"convert them by .float(), or let RANDOM_SUBSAMPLE keep one row of each voxel."
        )
