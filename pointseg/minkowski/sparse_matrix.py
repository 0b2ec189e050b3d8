"""Products of a sparse matrix, given as row, column and value lists, with a dense one; and maxima likewise.

Deterministic: the entries of a row are added in their order, without atomics. Sums are kept in fp32 (fp64 for fp64) and
rounded once. Memory: one row of the dense matrix for each entry.
"""

from typing import Any

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.products import sum_dtype
from pointseg.minkowski.reduce import check_floating, repeat_rows


def spmm(
    rows: Tensor,
    cols: Tensor,
    vals: Tensor,
    size: torch.Size,
    mat: Tensor,
    is_sorted: bool = False,
    cuda_spmm_alg: int = 1,
) -> Tensor:
    """``A @ mat`` with ``A[rows[i], cols[i]] += vals[i]``; differentiable in ``vals`` and ``mat``.

    Args:
        rows: (P,) ints.
        cols: (P,) ints.
        vals: (P,) float.
        size: shape (M, N) of A.
        mat: (N, C), dtype and device of ``vals``.
        is_sorted: accepted, without effect, like the next one.
        cuda_spmm_alg: MinkowskiEngine's choice of a cuSPARSE algorithm.

    Returns:
        (M, C).

    Raises:
        InputError: lengths, dtypes or devices do not fit, or ``mat`` is not floating point.
    """
    _check(rows, cols, size, mat)
    if vals.shape != rows.shape or vals.dtype != mat.dtype or vals.device != mat.device:
        raise InputError(
            f"vals are {tuple(vals.shape)} {vals.dtype} on {vals.device}, but they must be {tuple(rows.shape)} "
            f"{mat.dtype} on {mat.device}, as rows and mat."
        )
    order = torch.argsort(rows, stable=True)
    return _product(rows[order].long(), cols[order].long(), vals[order], size, mat)


def spmm_average(
    rows: Tensor, cols: Tensor, size: torch.Size, mat: Tensor, cuda_spmm_alg: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`spmm` with values 1 / (entries of the row).

    Returns:
        The product (M, C), the sorted rows and columns (2, P) int64, and the values (P,).

    Raises:
        InputError: lengths do not fit, or ``mat`` is not floating point.
    """
    _check(rows, cols, size, mat)
    order = torch.argsort(rows, stable=True)
    indices = torch.stack((rows[order], cols[order])).long()
    counts = torch.bincount(indices[0], minlength=size[0])
    vals = counts[indices[0]].to(sum_dtype(mat.dtype)).reciprocal()
    return _product(indices[0], indices[1], vals, size, mat), indices, vals.to(mat.dtype)


def _product(rows: Tensor, cols: Tensor, vals: Tensor, size: torch.Size, mat: Tensor) -> Tensor:
    """:func:`spmm` for ascending rows; ``vals`` may be finer than ``mat``."""
    check_floating(mat)
    if size[0] == 0:
        return mat[:0]
    dtype = sum_dtype(mat.dtype)
    entries = repeat_rows(mat.to(dtype), cols) * vals.to(dtype)[:, None]
    lengths = torch.bincount(rows, minlength=size[0])
    return torch.segment_reduce(entries, "sum", lengths=lengths, axis=0, initial=0).to(mat.dtype)


class MinkowskiSPMMFunction:
    """:func:`spmm` called as autograd functions are."""

    @staticmethod
    def apply(
        rows: Tensor, cols: Tensor, vals: Tensor, size: torch.Size, mat: Tensor, cuda_spmm_alg: int = 1
    ) -> Tensor:
        return spmm(rows, cols, vals, size, mat)


class MinkowskiSPMMAverageFunction:
    """The product of :func:`spmm_average` called as autograd functions are."""

    @staticmethod
    def apply(rows: Tensor, cols: Tensor, size: torch.Size, mat: Tensor, cuda_spmm_alg: int = 1) -> Tensor:
        return spmm_average(rows, cols, size, mat)[0]


class MinkowskiDirectMaxPoolingFunction:
    """Largest input of each output row, channel by channel, for pairs of rows given as lists."""

    @staticmethod
    def apply(in_map: Tensor, out_map: Tensor, in_feat: Tensor, out_nrows: int, is_sorted: bool = False) -> Tensor:
        """(out_nrows, C) with ``out[o] = max in_feat[in_map[i]]`` over the pairs i with ``out_map[i] == o``.

        The gradient goes to the first of the largest inputs alone. Rows without a pair are zero. (MinkowskiEngine 0.5.4
        compares with zero too on the CPU, so that a row of negative inputs becomes zero; here it does not.)

        Args:
            in_map: (P,) input rows.
            out_map: (P,) output rows.
            in_feat: (N, C) float.
            out_nrows: rows of the output.
            is_sorted: accepted, without effect.

        Raises:
            InputError: lengths do not fit, or a row does not exist.
        """
        _check(out_map, in_map, torch.Size((out_nrows, len(in_feat))), in_feat)
        if out_nrows == 0:
            return in_feat[:0]
        order = torch.argsort(out_map, stable=True)
        source, target = in_map[order].long(), out_map[order].long()
        lengths = torch.bincount(target, minlength=out_nrows)
        # A row of its own behind the inputs stands for "none".
        padded = torch.nn.functional.pad(in_feat, (0, 0, 0, 1))
        return padded.gather(0, _winners(padded.detach(), source, target, lengths))


def _winners(padded: Tensor, source: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """(out_nrows, C) int64: the input row that wins each output row and channel, the last row where there is none."""
    values = padded[source]
    best: Any = torch.segment_reduce(values, "max", lengths=lengths, axis=0)
    wins = (values == best[target]) | values.isnan()
    place = torch.arange(len(source), device=source.device)[:, None].masked_fill(~wins, len(source))
    first = torch.segment_reduce(place.double(), "min", lengths=lengths, axis=0, initial=len(source)).long()
    return torch.nn.functional.pad(source, (0, 1), value=len(padded) - 1)[first]


def _check(rows: Tensor, cols: Tensor, size: torch.Size, mat: Tensor) -> None:
    if rows.ndim != 1 or rows.shape != cols.shape or len(size) != 2 or mat.ndim != 2 or len(mat) != size[1]:
        raise InputError(
            f"rows {tuple(rows.shape)}, cols {tuple(cols.shape)}, size {tuple(size)} and mat {tuple(mat.shape)} do not "
            f"fit: they must be (P,), (P,), (M, N) and (N, C)."
        )
    for name, index, limit in (("rows", rows, size[0]), ("cols", cols, size[1])):
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= limit):
            raise InputError(
                f"{name} lie between {int(index.min())} and {int(index.max())}, but must be 0 to {limit - 1}."
            )
