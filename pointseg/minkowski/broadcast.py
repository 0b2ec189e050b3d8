"""A row for each batch entry brought to every row of that entry."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.minkowski.sparse_tensor import SparseTensor, check_same_manager


def _spread(input: SparseTensor, input_glob: SparseTensor) -> Tensor:
    """(V, C) the global row of each row's batch entry.

    Raises:
        InputError: an entry has no global row, or more than one.
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
    # Unlike indexing, index_select adds up the gradients of repeated rows in a fixed order on the CPU.
    return torch.index_select(input_glob.F, 0, order[torch.searchsorted(entries, entry)])


class _Broadcast(nn.Module):
    OPERATION: Callable[[Tensor, Tensor], Tensor]

    def forward(self, input: SparseTensor, input_glob: SparseTensor) -> SparseTensor:
        """``input`` (V, C) with ``input_glob``, one row for each batch entry as global pooling returns it."""
        return input.with_features(type(self).OPERATION(input.F, _spread(input, input_glob)))


class MinkowskiBroadcastAddition(_Broadcast):
    OPERATION = staticmethod(torch.add)


class MinkowskiBroadcastMultiplication(_Broadcast):
    OPERATION = staticmethod(torch.mul)


class MinkowskiBroadcast(_Broadcast):
    """Features become the global row's."""

    OPERATION = staticmethod(lambda rows, spread: spread)


class MinkowskiBroadcastConcatenation(_Broadcast):
    """The global row's channels after the row's own."""

    OPERATION = staticmethod(lambda rows, spread: torch.cat((rows, spread), dim=1))
