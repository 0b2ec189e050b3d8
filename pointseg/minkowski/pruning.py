"""Rows chosen by a mask."""

from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.sparse_tensor import SparseTensor


class MinkowskiPruning(MinkowskiModuleBase):
    """Keeps the rows where the mask is True, in their order."""

    def forward(self, input: SparseTensor, mask: Tensor) -> SparseTensor:
        """``mask`` is (V,) bool.

        Raises:
            InputError: the mask has another shape.
        """
        if mask.shape != (len(input),):
            raise InputError(
                f"the mask has shape {tuple(mask.shape)}, but the tensor has {len(input)} rows: pass (V,)."
            )
        rows = mask.bool().to(input.device).nonzero().squeeze(1)
        key = input.coordinate_manager.add_rows(input.coordinate_map_key, rows)
        return SparseTensor(input.F[rows], coordinate_map_key=key, coordinate_manager=input.coordinate_manager)
