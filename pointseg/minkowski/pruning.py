"""Rows chosen by a mask."""

from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.keys import keyed, settle
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.sparse_tensor import SparseTensor


def pruned(x: SparseTensor, mask: Tensor) -> SparseTensor:
    """The rows where ``mask`` (V,) bool is True, in their order.

    Raises:
        InputError: the mask has another shape.
    """
    if mask.shape != (len(x),):
        raise InputError(f"the mask has shape {tuple(mask.shape)}, but the tensor has {len(x)} rows: pass (V,).")
    rows = mask.bool().to(x.device).nonzero().squeeze(1)
    key = x.coordinate_manager.add_rows(x.coordinate_map_key, rows)
    return SparseTensor(x.F[rows], coordinate_map_key=key, coordinate_manager=x.coordinate_manager)


class MinkowskiPruningFunction:
    @staticmethod
    def apply(
        in_feat: Tensor,
        mask: Tensor,
        in_coords_key: CoordinateMapKey,
        out_coords_key: CoordinateMapKey | None = None,
        coords_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """The rows where ``mask`` (V,) is True."""
        kept = pruned(keyed(in_feat, in_coords_key, coords_manager), mask)
        settle(out_coords_key, kept.coordinate_map_key)
        return kept.F


class MinkowskiPruning(MinkowskiModuleBase):
    """Keeps the rows where the mask is True, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.pruning = MinkowskiPruningFunction()

    def forward(self, input: SparseTensor, mask: Tensor) -> SparseTensor:
        """As :func:`pruned`."""
        return pruned(input, mask)
