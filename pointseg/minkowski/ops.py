"""Joining sparse tensors and linear layers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pointseg.errors import InputError
from pointseg.minkowski.sparse_tensor import SparseTensor, check_same_manager, combine


class MinkowskiLinear(nn.Module):
    """torch's linear layer on every row; the torch module is ``linear`` (published weights are named so)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, input: Any) -> Any:
        return input.with_features(self.linear(input.F))


def cat(*sparse_tensors: Any) -> SparseTensor:
    """Channels of several tensors of one coordinate map side by side: ``cat(a, b)`` or ``cat((a, b))``.

    Raises:
        InputError: no tensors, different managers or different maps.
    """
    tensors = _flat(sparse_tensors)
    first = tensors[0]
    for other in tensors[1:]:
        check_same_manager(first, other)
        if other.coordinate_map_key != first.coordinate_map_key:
            raise InputError(
                f"the tensors lie on different coordinate maps, {first.coordinate_map_key.get_key()} and "
                f"{other.coordinate_map_key.get_key()}: bring them to one map first."
            )
    return first.with_features(torch.cat([tensor.F for tensor in tensors], dim=1))


class MinkowskiUnion(nn.Module):
    """The union of several tensors' rows; features of equal coordinates are added."""

    def forward(self, *inputs: Any) -> SparseTensor:
        tensors = _flat(inputs)
        total = tensors[0]
        for other in tensors[1:]:
            total = combine(total, other, torch.add)
        return total


def _flat(tensors: Sequence[Any]) -> list[SparseTensor]:
    flat = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], Sequence) else list(tensors)
    if not flat or not all(isinstance(tensor, SparseTensor) for tensor in flat):
        kinds = [type(tensor).__name__ for tensor in flat]
        raise InputError(f"expected one or more SparseTensors, but got {kinds}.")
    return flat
