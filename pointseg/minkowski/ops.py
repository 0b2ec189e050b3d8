"""Linear layers, joining tensors of one coordinate map, and the way from and to dense tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.minkowski.common import MinkowskiModuleBase
from pointseg.minkowski.nonlinearity import Rows
from pointseg.minkowski.sparse_tensor import SparseTensor
from pointseg.minkowski.tensor import Tensor as Base
from pointseg.minkowski.tensor import check_same_map
from pointseg.minkowski.tensor_field import TensorField


class MinkowskiLinear(MinkowskiModuleBase):
    """torch's linear layer on every row; the torch module is ``linear`` (published weights are named so)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, input: Rows) -> Rows:
        return input.with_features(self.linear(input.F))


def cat(*sparse_tensors: Any) -> Any:
    """Channels of several tensors (or fields) of one coordinate map side by side: ``cat(a, b)`` or ``cat((a, b))``.

    Raises:
        InputError: no tensors, different managers or different maps; likewise the functions below.
    """
    return _joined(sparse_tensors, lambda features: torch.cat(features, dim=1))


def sum(*sparse_tensors: Any) -> Any:
    """Sum of the features of several tensors of one coordinate map."""
    return _joined(sparse_tensors, lambda features: torch.stack(features).sum(dim=0))


def mean(*sparse_tensors: Any) -> Any:
    """Mean of the features of several tensors of one coordinate map."""
    return _joined(sparse_tensors, lambda features: torch.stack(features).mean(dim=0))


def var(*sparse_tensors: Any) -> Any:
    """Biased variance of the features of several tensors of one coordinate map."""

    def variance(features: list[Tensor]) -> Tensor:
        each = torch.stack(features)
        return (each - each.mean(dim=0)).square().mean(dim=0)

    return _joined(sparse_tensors, variance)


def _joined(given: Sequence[Any], operation: Callable[[list[Tensor]], Tensor]) -> Any:
    tensors = listed(given)
    for other in tensors[1:]:
        check_same_map(tensors[0], other)
    return tensors[0].with_features(operation([tensor.F for tensor in tensors]))


def listed(tensors: Sequence[Any]) -> list[Any]:
    """The tensors of a call ``f(a, b)`` or ``f([a, b])``.

    Raises:
        InputError: none, something else than tensors, or sparse tensors among fields.
    """
    flat = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], Sequence) else list(tensors)
    kinds = [type(tensor).__name__ for tensor in flat]
    if not flat or not all(isinstance(tensor, Base) for tensor in flat) or len(set(kinds)) > 1:
        raise InputError(f"expected one or more SparseTensors, or TensorFields alone, but got {kinds}.")
    return flat


class MinkowskiStackCat(nn.Sequential):
    """:func:`cat` of what every module makes of the input."""

    def forward(self, x: Any) -> Any:
        return cat([module(x) for module in self])


class MinkowskiStackSum(nn.Sequential):
    """:func:`sum` of what every module makes of the input."""

    def forward(self, x: Any) -> Any:
        return sum([module(x) for module in self])


class MinkowskiStackMean(nn.Sequential):
    """:func:`mean` of what every module makes of the input."""

    def forward(self, x: Any) -> Any:
        return mean([module(x) for module in self])


class MinkowskiStackVar(nn.Sequential):
    """:func:`var` of what every module makes of the input."""

    def forward(self, x: Any) -> Any:
        return var([module(x) for module in self])


def dense_coordinates(shape: Sequence[int]) -> Tensor:
    """int32 (B X1 .. XD, 1+D): all coordinates of a dense tensor of that shape (B, C, X1, .., XD), in memory order.

    Raises:
        InputError: fewer than three axes.
    """
    if len(shape) < 3:
        raise InputError(f"shape is {tuple(shape)}, but it must be batch, channels and one axis or more.")
    axes = [torch.arange(size, dtype=torch.int32) for size in (shape[0], *shape[2:])]
    return torch.cartesian_prod(*axes)


def to_sparse(
    x: Tensor, format: str | None = None, coordinates: Tensor | None = None, device: torch.device | str | None = None
) -> SparseTensor:
    """The cells of a dense tensor that are not all zero; differentiable.

    Args:
        x: dense tensor, batch axis first.
        format: what the axes are, "BCXX" or "BXXC": B batch, C channels, X space; channels second by default.
        coordinates: (V, 1+D) ints, cells to take instead of those that are not zero.
        device: of the result.

    Raises:
        InputError: the format does not fit, or there is no space.
    """
    layout = "BC" + "X" * (x.ndim - 2) if format is None else format
    if len(layout) != x.ndim or x.ndim < 3 or layout[0] != "B" or sorted(layout[1:]) != ["C"] + ["X"] * (x.ndim - 2):
        raise InputError(
            f"format is {layout!r} for a tensor of {x.ndim} axes, but it must be one letter an axis: B first, one C, "
            f"one X or more."
        )
    channels_last = x.movedim(layout.index("C"), -1)
    rows = (channels_last != 0).any(dim=-1).nonzero() if coordinates is None else coordinates.to(x.device).long()
    return SparseTensor(channels_last[tuple(rows.unbind(1))], rows.int(), device=device)


def to_sparse_all(dense_tensor: Tensor, coordinates: Tensor | None = None) -> SparseTensor:
    """Every cell of a dense tensor (B, C, X1, .., XD), zero or not; differentiable.

    Args:
        dense_tensor: dense tensor.
        coordinates: :func:`dense_coordinates` of its shape, where they are at hand.
    """
    rows = dense_coordinates(dense_tensor.shape) if coordinates is None else coordinates
    features = dense_tensor.movedim(1, -1).reshape(-1, dense_tensor.shape[1])
    return SparseTensor(features, rows, device=dense_tensor.device)


class MinkowskiToSparseTensor(MinkowskiModuleBase):
    """A dense tensor (B, C, X1, .., XD) or a tensor field as a sparse tensor.

    Args:
        remove_zeros: leave out the cells of a dense tensor that are all zero.
        coordinates: :func:`dense_coordinates` of the inputs' shape, where they are at hand.

    Raises:
        InputError: ``coordinates`` together with ``remove_zeros``; on use, an input of another type.
    """

    def __init__(self, remove_zeros: bool = True, coordinates: Tensor | None = None) -> None:
        super().__init__()
        if remove_zeros and coordinates is not None:
            raise InputError("coordinates were given, but remove_zeros is True: pass remove_zeros=False with them.")
        self.remove_zeros = remove_zeros
        self.coordinates = coordinates

    def forward(self, input: TensorField | Tensor) -> SparseTensor:
        if isinstance(input, TensorField):
            return input.sparse()
        if not isinstance(input, Tensor):
            raise InputError(f"the input is {type(input).__name__}, but it must be a torch tensor or a TensorField.")
        return to_sparse(input) if self.remove_zeros else to_sparse_all(input, self.coordinates)


class MinkowskiToDenseTensor(MinkowskiModuleBase):
    """:meth:`SparseTensor.dense`, the tensor alone.

    Args:
        shape: (B, any, X1, .., XD); just large enough by default.
    """

    def __init__(self, shape: torch.Size | None = None) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, input: SparseTensor) -> Tensor:
        return input.dense(shape=self.shape)[0]


class MinkowskiToFeature(MinkowskiModuleBase):
    """The features (N, C) alone, for torch's own modules."""

    def forward(self, x: SparseTensor | TensorField) -> Tensor:
        return x.F
