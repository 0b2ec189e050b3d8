"""D-linear interpolation of sparse features at real coordinates."""

from typing import Any

from torch import Tensor

from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.interpolation_map import Corner, corners, joined
from pointseg.minkowski.keys import keyed
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.products import sum_dtype
from pointseg.minkowski.reduce import check_floating, repeat_rows
from pointseg.minkowski.sparse_tensor import SparseTensor


def interpolate(x: SparseTensor, queries: Tensor) -> Tensor:
    """Features (M, C) at real ``queries`` (M, 1+D), batch index first; zero where no corner has a row.

    Raises:
        InputError: queries are not (M, 1+D), not finite or too large, or the features are not floating point.
    """
    return weighted(x.F, corners(x.coordinate_manager, x.coordinate_map_key, queries), len(queries))


def weighted(features: Tensor, found: list[Corner], count: int) -> Tensor:
    """(count, C): for each query the sum of its corners' features times their weights.

    Args:
        features: (V, C) of the map on which the corners were found.
        found: :func:`corners` of the queries.
        count: queries.

    Raises:
        InputError: the features are not floating point.
    """
    check_floating(features)
    dtype = sum_dtype(features.dtype)
    total = features.new_zeros((count, features.shape[1]), dtype=dtype)
    for rows, query, weight in found:
        corner = repeat_rows(features, rows).to(dtype)
        total = total.index_add(0, query, corner * weight[:, None].to(dtype))
    return total.to(features.dtype)


class MinkowskiInterpolationFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        tfield: Tensor,
        in_coordinate_map_key: CoordinateMapKey,
        coordinate_manager: CoordinateManager | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (M, C) at real ``tfield`` (M, 1+D); rows of the map, query numbers and weights that met."""
        x = keyed(input_features, in_coordinate_map_key, coordinate_manager)
        found = corners(x.coordinate_manager, in_coordinate_map_key, tfield)
        return weighted(input_features, found, len(tfield)), *joined(found)


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
        self.interp = MinkowskiInterpolationFunction()

    def forward(self, input: SparseTensor, tfield: Tensor) -> Any:
        """``tfield`` (M, 1+D) real coordinates; returns (M, C) and what was asked for."""
        found = corners(input.coordinate_manager, input.coordinate_map_key, tfield)
        result: list[Any] = [weighted(input.F, found, len(tfield))]
        if self.return_kernel_map or self.return_weights:
            rows, query, weight = joined(found)
            result += [(rows, query)] * self.return_kernel_map + [weight] * self.return_weights
        return tuple(result) if len(result) > 1 else result[0]
