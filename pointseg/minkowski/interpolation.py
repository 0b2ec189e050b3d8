"""D-linear interpolation of sparse features at real coordinates."""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.minkowski.packing import Bounds, Packing, floor_to, to_int32
from pointseg.minkowski.sparse_tensor import SparseTensor


def interpolation_map(x: SparseTensor, queries: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each of the 2^D cell corners: (rows of ``x``, query numbers, weights), corners without a row left out.

    Weights are not renormalised where corners are missing (MinkowskiEngine's rule).

    Raises:
        InputError: queries are not (M, 1+D), not finite or too large.
    """
    if queries.ndim != 2 or queries.shape[1] != x.D + 1:
        raise InputError(f"query coordinates have shape {tuple(queries.shape)}, but must be (M, {x.D + 1}).")
    stride = torch.tensor(x.tensor_stride, device=queries.device)
    lower = floor_to(to_int32(queries), tuple(x.tensor_stride))
    share = (queries[:, 1:] - lower[:, 1:]) / stride
    source = x.coordinate_manager.map(x.coordinate_map_key)
    packing = Packing.fit(source.bounds.union(Bounds.of(lower)).padded(tuple(x.tensor_stride)))
    table, keys = source.table(packing), packing.keys(lower)
    corners = []
    for corner in product((0, 1), repeat=x.D):
        offset = tuple(c * s for c, s in zip(corner, x.tensor_stride, strict=True))
        query, row = table.find(keys + packing.delta(offset))
        upper = torch.tensor(corner, dtype=torch.bool, device=share.device)
        weight = torch.where(upper, share, 1 - share).prod(dim=1)[query]
        corners.append((row, query, weight))
    return corners


def interpolate(x: SparseTensor, queries: Tensor) -> Tensor:
    """Features (M, C) at real ``queries`` (M, 1+D), batch index first; zero where no corner has a row."""
    total = x.F.new_zeros((len(queries), x.F.shape[1]))
    for rows, query, weight in interpolation_map(x, queries):
        corner = torch.index_select(x.F, 0, rows)
        total = total.index_add(0, query, corner * weight[:, None].to(x.dtype))
    return total


class MinkowskiInterpolation(nn.Module):
    """:func:`interpolate` as a layer.

    Args:
        return_kernel_map: also return the rows of the input and the query numbers that met.
        return_weights: also return their weights.
    """

    def __init__(self, return_kernel_map: bool = False, return_weights: bool = False) -> None:
        super().__init__()
        self.return_kernel_map = return_kernel_map
        self.return_weights = return_weights

    def forward(self, input: SparseTensor, tfield: Tensor) -> Any:
        """``tfield`` (M, 1+D) real coordinates; returns (M, C) and what was asked for."""
        result: list[Any] = [interpolate(input, tfield)]
        if self.return_kernel_map or self.return_weights:
            rows, query, weight = (torch.cat(part) for part in zip(*interpolation_map(input, tfield), strict=True))
            result += [(rows, query)] * self.return_kernel_map + [weight] * self.return_weights
        return tuple(result) if len(result) > 1 else result[0]
