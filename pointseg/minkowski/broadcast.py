"""A row for each batch entry brought to every row of that entry."""

from collections.abc import Callable

import torch
from torch import Tensor

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.coordinate_manager import CoordinateManager
from pointseg.minkowski.enums import BroadcastMode
from pointseg.minkowski.keys import keyed
from pointseg.minkowski.manager import CoordinateMapKey
from pointseg.minkowski.reduce import repeat_rows
from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor import check_same_manager

OPERATIONS: dict[BroadcastMode, Callable[[Tensor, Tensor], Tensor]] = {
    BroadcastMode.ELEMENTWISE_ADDITON: torch.add,
    BroadcastMode.ELEMENTWISE_MULTIPLICATION: torch.mul,
}


def spread(input: SparseTensor, input_glob: SparseTensor) -> Tensor:
    """(V, C) the global row of each row's batch entry.

    Raises:
        InputError: different managers; an entry has no global row, or more than one.
    """
    check_same_manager(input, input_glob)
    entries, order = torch.sort(input_glob.C[:, 0].contiguous())
    if bool((entries[1:] == entries[:-1]).any()):
        raise InputError(
            f"input_glob has {len(entries)} rows, several of them in one batch entry, but there must be one for each: "
            f"pass a global pooling's output."
        )
    entry = input.C[:, 0].contiguous()
    known = torch.isin(entry, entries)
    if not bool(known.all()):
        raise InputError(
            f"batch entry {int(entry[~known][0])} of the input has no row in input_glob, which has rows for "
            f"{len(entries)} entries: pool a tensor that holds every entry of the input."
        )
    return repeat_rows(input_glob.F, order[torch.searchsorted(entries, entry)])


class MinkowskiBroadcastFunction:
    @staticmethod
    def apply(
        input_features: Tensor,
        input_features_global: Tensor,
        operation_type: BroadcastMode,
        in_coords_key: CoordinateMapKey,
        glob_coords_key: CoordinateMapKey,
        coords_manager: CoordinateManager,
    ) -> Tensor:
        """(V, C)."""
        x = keyed(input_features, in_coords_key, coords_manager)
        return OPERATIONS[operation_type](
            input_features, spread(x, keyed(input_features_global, glob_coords_key, coords_manager))
        )


class MinkowskiBroadcastBase(MinkowskiModuleBase):
    """``input`` (V, C) with ``input_glob``, one row for each batch entry as global pooling returns it."""

    def __init__(self, operation_type: BroadcastMode) -> None:
        super().__init__()
        if not isinstance(operation_type, BroadcastMode):
            raise InputError(f"operation_type is {operation_type!r}, but it must be a BroadcastMode.")
        self.operation_type = operation_type
        self.broadcast = MinkowskiBroadcastFunction()

    def forward(self, input: SparseTensor, input_glob: SparseTensor) -> SparseTensor:
        return input.with_features(OPERATIONS[self.operation_type](input.F, spread(input, input_glob)))


class MinkowskiBroadcastAddition(MinkowskiBroadcastBase):
    """Adds the entry's global row to every row."""

    def __init__(self) -> None:
        super().__init__(BroadcastMode.ELEMENTWISE_ADDITON)


class MinkowskiBroadcastMultiplication(MinkowskiBroadcastBase):
    """Multiplies every row by the entry's global row."""

    def __init__(self) -> None:
        super().__init__(BroadcastMode.ELEMENTWISE_MULTIPLICATION)


class MinkowskiBroadcast(MinkowskiModuleBase):
    """Features become the entry's global row."""

    def forward(self, input: SparseTensor, input_glob: SparseTensor) -> SparseTensor:
        return input.with_features(spread(input, input_glob))


class MinkowskiBroadcastConcatenation(MinkowskiBroadcast):
    """The global row's channels after the row's own."""

    def forward(self, input: SparseTensor, input_glob: SparseTensor) -> SparseTensor:
        return input.with_features(torch.cat((input.F, spread(input, input_glob)), dim=1))
