"""Tensors of different coordinate maps brought together."""

from typing import Any

from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.ops import listed
from pointseg.minkowski.sparse_tensor import SparseTensor


class MinkowskiUnion(MinkowskiModuleBase):
    """The union of several tensors' rows; features of equal coordinates are added."""

    def forward(self, *inputs: Any) -> SparseTensor:
        """``union(a, b, ..)`` or ``union([a, b, ..])``, of one manager and one tensor stride.

        Raises:
            InputError: no tensors, different managers, strides or channels.
        """
        total, *others = listed(inputs)
        for other in others:
            total = total + other
        return total
