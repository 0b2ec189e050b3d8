"""A row for each batch entry brought to every row of that entry."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pointseg.minkowski.sparse_tensor import SparseTensor, check_same_manager


def _spread(input: SparseTensor, input_glob: SparseTensor) -> Tensor:
    """(V, C) the global row of each row's batch entry."""
    check_same_manager(input, input_glob)
    manager = input.coordinate_manager
    row_of_entry = torch.cumsum(torch.tensor([len(r) > 0 for r in manager.batch_rows(input.coordinate_map_key)]), 0) - 1
    entry = input.C[:, 0].to(torch.int64)
    return input_glob.F[row_of_entry.to(entry.device)[entry]]


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
