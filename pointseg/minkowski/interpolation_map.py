"""Which rows of a coordinate map surround real-valued points, and how much each of them counts."""

from itertools import product

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.manager import CoordinateManager, CoordinateMapKey
from pointseg.minkowski.packing import Bounds, Packing, floor_to, to_int32

Corner = tuple[Tensor, Tensor, Tensor]


def corners(manager: CoordinateManager, key: CoordinateMapKey, queries: Tensor) -> list[Corner]:
    """For each of the 2^D cell corners: (rows of the map, query numbers, weights), corners without a row left out.

    Weights are D-linear and not renormalised where corners are missing (MinkowskiEngine's rule).

    Args:
        manager: of the map.
        key: of the map.
        queries: (M, 1+D) real coordinates, batch index first.

    Raises:
        InputError: queries are not (M, 1+D), not finite or too large.
    """
    if queries.ndim != 2 or queries.shape[1] != manager.D + 1:
        raise InputError(f"query coordinates have shape {tuple(queries.shape)}, but must be (M, {manager.D + 1}).")
    stride = torch.tensor(key.tensor_stride, device=queries.device)
    cells = to_int32(queries)
    bounds = Bounds.of(cells).floored(key.tensor_stride).check_int32()
    lower = floor_to(cells, key.tensor_stride)
    # At stride 0 there is nothing to interpolate between; a quotient by 0 would make its gradient NaN all the same.
    share = torch.where(stride > 0, (queries[:, 1:] - lower[:, 1:]) / stride.clamp(min=1), 0)
    source = manager.map(key)
    packing = Packing.fit(source.bounds.union(bounds).padded(key.tensor_stride))
    table, keys = source.table(packing), packing.keys(lower)
    found = []
    for corner in product((0, 1), repeat=manager.D):
        offset = tuple(c * s for c, s in zip(corner, key.tensor_stride, strict=True))
        query, row = table.find(keys + packing.delta(offset))
        upper = torch.tensor(corner, dtype=torch.bool, device=share.device)
        weight = torch.where(upper, share, 1 - share).prod(dim=1)[query]
        found.append((row, query, weight))
    return found


def joined(found: list[Corner]) -> Corner:
    """``(rows of the map, query numbers, weights)`` of all corners in one list each."""
    rows, queries, weights = (torch.cat(part) for part in zip(*found, strict=True))
    return rows, queries, weights
