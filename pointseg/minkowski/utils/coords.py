"""Rows of one sparse tensor matched with rows of another."""

from torch import Tensor

from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor import check_same_manager


def get_coords_map(x: SparseTensor, y: SparseTensor) -> tuple[Tensor, Tensor]:
    """``(rows of x (V,), rows of y (V,))``: the cell of the coarser ``y`` that holds each row of ``x``.

    Raises:
        InputError: different managers, or a row lies in a cell that ``y`` does not have.
    """
    check_same_manager(x, y)
    return x.coordinate_manager.stride_map(x.coordinate_map_key, y.coordinate_map_key)
