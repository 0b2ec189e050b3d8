"""D-linear interpolation of sparse features at real coordinates."""

from typing import Any

import torch
from torch import Tensor

from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.interpolation_map import corners
from pointseg.minkowski.sparse_tensor import SparseTensor


def interpolate(x: SparseTensor, queries: Tensor) -> Tensor:
    """Features (M, C) at real ``queries`` (M, 1+D), batch index first; zero where no corner has a row.

    Raises:
        InputError: queries are not (M, 1+D), not finite or too large.
    """
    total = x.F.new_zeros((len(queries), x.F.shape[1]))
    for rows, query, weight in corners(x.coordinate_manager, x.coordinate_map_key, queries):
        corner = torch.index_select(x.F, 0, rows)
        total = total.index_add(0, query, corner * weight[:, None].to(x.dtype))
    return total


class MinkowskiInterpolation(MinkowskiModuleBase):
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
            manager, key = input.coordinate_manager, input.coordinate_map_key
            rows, query, weight = manager.interpolation_map_weight(key, tfield)
            result += [(rows, query)] * self.return_kernel_map + [weight] * self.return_weights
        return tuple(result) if len(result) > 1 else result[0]
