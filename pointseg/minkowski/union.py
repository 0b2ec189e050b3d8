"""Tensors of different coordinate maps brought together."""

from typing import Any

from torch import Tensor

from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.ops import listed
from pointseg.minkowski.sparse_tensor import SparseTensor


class MinkowskiUnionFunction:
    @staticmethod
    def apply(
        in_coords_keys: list[CoordinateMapKey],
        out_coords_key: CoordinateMapKey,
        coordinate_manager: CoordinateManager,
        *in_feats: Tensor,
    ) -> Tensor:
        """(V_union, C): features of equal coordinates are added."""
        rows = coordinate_manager.union_map(in_coords_keys, out_coords_key)
        total = in_feats[0].new_zeros((coordinate_manager.size(out_coords_key), in_feats[0].shape[1]))
        for features, (_, place) in zip(in_feats, rows, strict=True):
            total = total.index_add(0, place, features)
        return total


class MinkowskiUnion(MinkowskiModuleBase):
    """The union of several tensors' rows; features of equal coordinates are added."""

    def __init__(self) -> None:
        super().__init__()
        self.union = MinkowskiUnionFunction()

    def forward(self, *inputs: Any) -> SparseTensor:
        """``union(a, b, ..)`` or ``union([a, b, ..])``, of one manager and one tensor stride.

        Raises:
            InputError: no tensors, different managers, strides or channels.
        """
        total, *others = listed(inputs)
        for other in others:
            total = total + other
        return total
