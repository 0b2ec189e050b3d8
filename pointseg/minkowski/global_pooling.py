"""Pooling over all rows of each batch entry."""

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import PoolingMode
from pointseg.minkowski.keys import keyed, settle
from pointseg.minkowski.layer import Coordinates
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.nonlinearity import Rows
from pointseg.minkowski.sparse_tensor import SparseTensor, given_key
from pointseg.minkowski.tensor_field import TensorField


class MinkowskiGlobalPoolingFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        pooling_mode: PoolingMode,
        in_coordinate_map_key: CoordinateMapKey,
        out_coordinate_map_key: CoordinateMapKey | None = None,
        coordinate_manager: CoordinateManager | None = None,
    ) -> Tensor:
        """(B, C), one row for each batch entry that has rows."""
        x = keyed(input_features, in_coordinate_map_key, coordinate_manager)
        return globally_pooled(x, pooling_mode, settle(out_coordinate_map_key, origin_key(x)))


class MinkowskiGlobalPooling(MinkowskiModuleBase):
    """One row for each batch entry that has rows, at coordinates (b, 0, .., 0) and tensor stride 0.

    Args:
        mode: GLOBAL_SUM.., GLOBAL_AVG.. or GLOBAL_MAX_POOLING..; the gradient of a maximum goes to it alone.

    Raises:
        InputError: another mode.
    """

    def __init__(self, mode: PoolingMode = PoolingMode.GLOBAL_AVG_POOLING_PYTORCH_INDEX) -> None:
        super().__init__()
        _kind(mode)
        self.pooling_mode = mode
        self.pooling = MinkowskiGlobalPoolingFunction()

    def forward(self, input: Rows, coordinates: Coordinates = None) -> SparseTensor:
        """``input`` is a sparse tensor or a field.

        ``coordinates`` replaces the output's: one row for each batch entry that has rows, in any order.

        Raises:
            InputError: ``coordinates`` have no row for an entry of the input, more than one, or rows of other entries.
        """
        key = _output_key(input, coordinates)
        features = globally_pooled(input, self.pooling_mode, key)
        return SparseTensor(features, coordinate_map_key=key, coordinate_manager=input.coordinate_manager)

    def extra_repr(self) -> str:
        return f"mode={self.pooling_mode}"


class MinkowskiGlobalSumPooling(MinkowskiGlobalPooling):
    """Sum over the rows of each batch entry."""

    def __init__(self, mode: PoolingMode = PoolingMode.GLOBAL_SUM_POOLING_PYTORCH_INDEX) -> None:
        super().__init__(mode)


class MinkowskiGlobalAvgPooling(MinkowskiGlobalPooling):
    """Mean over the rows of each batch entry."""

    def __init__(self, mode: PoolingMode = PoolingMode.GLOBAL_AVG_POOLING_PYTORCH_INDEX) -> None:
        super().__init__(mode)


class MinkowskiGlobalMaxPooling(MinkowskiGlobalPooling):
    """Largest value over the rows of each batch entry; the gradient goes to it alone."""

    def __init__(self, mode: PoolingMode = PoolingMode.GLOBAL_MAX_POOLING_PYTORCH_INDEX) -> None:
        super().__init__(mode)


def origin_key(x: SparseTensor | TensorField) -> CoordinateMapKey:
    """The map of one row for each batch entry that has rows."""
    if isinstance(x, TensorField):
        voxels, _ = x.coordinate_manager.field_to_sparse(x.coordinate_field_map_key, (1,) * x.D)
        return x.coordinate_manager.origin(voxels)
    return x.coordinate_manager.origin(x.coordinate_map_key)


def globally_pooled(x: SparseTensor | TensorField, mode: PoolingMode, key: CoordinateMapKey) -> Tensor:
    """(B, C), one row for each batch entry that has rows, in the order of the map ``key``."""
    kind = _kind(mode)
    reduced = [_REDUCE[kind](x.F[rows]) for rows in entry_rows(x)]
    ascending = torch.stack(reduced) if reduced else x.F[:0]
    return ascending if key == origin_key(x) else ascending[_places(x, key)]


def _places(x: SparseTensor | TensorField, key: CoordinateMapKey) -> Tensor:
    """(B,) int64: which of the entries that have rows, ascending, each row of the map ``key`` belongs to."""
    entries, wanted = (x.coordinate_manager.get_coordinates(k)[:, 0].contiguous() for k in (origin_key(x), key))
    if not torch.equal(wanted.sort().values, entries):
        raise InputError(
            f"coordinates have rows for the batch entries {wanted.tolist()}, but the input has rows in "
            f"{entries.tolist()}: pass one row for each of them."
        )
    return torch.searchsorted(entries, wanted)


def entry_rows(x: SparseTensor | TensorField) -> list[Tensor]:
    """Row numbers of each batch entry that has rows, ascending."""
    if isinstance(x, TensorField):
        return [rows for rows in x.decomposition_permutations if len(rows)]
    return x.coordinate_manager.batch_entries(x.coordinate_map_key)[1]


def _sum(rows: Tensor) -> Tensor:
    return rows.sum(dim=0)


def _mean(rows: Tensor) -> Tensor:
    return rows.mean(dim=0)


def _max(rows: Tensor) -> Tensor:
    return rows.max(dim=0).values


_REDUCE = {"SUM": _sum, "AVG": _mean, "MAX": _max}


def _kind(mode: PoolingMode) -> str:
    scope, kind = mode.name.split("_")[:2] if isinstance(mode, PoolingMode) else ("", "")
    if scope != "GLOBAL":
        raise InputError(f"mode is {mode!r}, but it must be one of PoolingMode's GLOBAL modes.")
    return kind


def _output_key(x: SparseTensor | TensorField, coordinates: Coordinates) -> CoordinateMapKey:
    if coordinates is None:
        return origin_key(x)
    if isinstance(x, TensorField):
        raise InputError("coordinates cannot be given where a TensorField is pooled: pool its sparse() instead.")
    return given_key(x, coordinates, 1)
