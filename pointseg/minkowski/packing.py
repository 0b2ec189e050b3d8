"""Integer coordinates packed into int64 keys whose order is the lexicographic order of the rows.

The packing is a mixed-radix number fitted to a bounding box, so it is linear: the key of ``c + offset`` is
``key(c) + delta(offset)``, and a neighbour search never unpacks a coordinate. The order of the keys does not depend
on the box, so one argsort of a coordinate map serves every search on it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.errors import InputError

KEY_LIMIT = 2**63 - 1
INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class Bounds:
    """Inclusive box around coordinate rows: batch column first, then D axes. ``high < low`` means no rows."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    @staticmethod
    def of(coordinates: Tensor) -> "Bounds":
        if len(coordinates) == 0:
            return Bounds((0,) * coordinates.shape[1], (-1,) * coordinates.shape[1])
        low, high = torch.aminmax(coordinates, dim=0)
        both = torch.stack((low, high)).tolist()
        return Bounds(tuple(both[0]), tuple(both[1]))

    @property
    def empty(self) -> bool:
        return self.high[0] < self.low[0]

    def union(self, other: "Bounds") -> "Bounds":
        if self.empty or other.empty:
            return other if self.empty else self
        return Bounds(tuple(map(min, self.low, other.low)), tuple(map(max, self.high, other.high)))

    def padded(self, reach: tuple[int, ...]) -> "Bounds":
        """Grown by ``reach`` (D values) on both sides; the batch column stays."""
        grow = (0, *reach)
        low = tuple(a - r for a, r in zip(self.low, grow, strict=True))
        return Bounds(low, tuple(b + r for b, r in zip(self.high, grow, strict=True)))

    def check_int32(self) -> "Bounds":
        """Itself; raises InputError when a coordinate in the box does not fit 32 bits."""
        if min(self.low) < INT32[0] or max(self.high) > INT32[1]:
            raise InputError(
                f"this would make coordinates from {self.low} to {self.high}, but they must lie between "
                f"{INT32[0]} and {INT32[1]}: shift the input towards zero."
            )
        return self

    def check_origin(self, stride: tuple[int, ...]) -> "Bounds":
        """Itself; raises InputError when a stride of 0 among these D values would move rows to its one cell."""
        axes = zip(self.low[1:], self.high[1:], stride, strict=True)
        if not self.empty and any(step == 0 and (low, high) != (0, 0) for low, high, step in axes):
            raise InputError(
                f"coordinates reach from {list(self.low[1:])} to {list(self.high[1:])} at tensor stride "
                f"{list(stride)}, but at stride 0, that of a global tensor, they must be 0: pass rows (b, 0, .., 0), "
                f"or bring global features to other rows by MinkowskiBroadcast."
            )
        return self

    def floored(self, stride: tuple[int, ...]) -> "Bounds":
        """The box of the rows after :func:`floor_to`, without looking at them again."""
        if self.empty:
            return self
        steps = (1, *stride)
        low = tuple(a // max(s, 1) * s for a, s in zip(self.low, steps, strict=True))
        return Bounds(low, tuple(b // max(s, 1) * s for b, s in zip(self.high, steps, strict=True)))


@dataclass(frozen=True)
class Packing:
    """Mixed-radix code over a box; the batch column counts most.

    Attributes:
        low: smallest coordinates.
        steps: cell size of each column; coordinates and offsets are ``low`` plus multiples of it.
        extent: cells of each column.
        weight: what one cell adds to the key.
    """

    low: tuple[int, ...]
    steps: tuple[int, ...]
    extent: tuple[int, ...]
    weight: tuple[int, ...]

    @staticmethod
    def fit(bounds: Bounds, stride: tuple[int, ...] | None = None) -> "Packing":
        """The code of the box's rows at that stride (D values, by default 1).

        Raises:
            InputError: the box has more cells than an int64 key can name.
        """
        steps = (1, *stride) if stride else (1,) * len(bounds.low)
        extent = tuple(max((b - a) // s + 1, 1) for a, b, s in zip(bounds.low, bounds.high, steps, strict=True))
        if math.prod(extent) > KEY_LIMIT:
            raise InputError(
                f"coordinates span {' x '.join(map(str, extent))} cells (batch, then axes), {math.prod(extent):.3g} in "
                f"all, but at most {KEY_LIMIT} (2^63 - 1) can be told apart: use larger voxels or remove outliers."
            )
        weight = tuple(math.prod(extent[i + 1 :]) for i in range(len(extent)))
        return Packing(bounds.low, steps, extent, weight)

    def keys(self, coordinates: Tensor) -> Tensor:
        """int64 keys (V,) of int coordinates (V, 1+D) inside the box."""
        total = torch.zeros(len(coordinates), dtype=torch.int64, device=coordinates.device)
        for column, (low, step, weight) in enumerate(zip(self.low, self.steps, self.weight, strict=True)):
            inside = coordinates[:, column].to(torch.int64) - low
            total.add_(inside if step == 1 else inside.div_(step, rounding_mode="floor"), alpha=weight)
        return total

    def delta(self, offset: tuple[int, ...]) -> int:
        """What adding ``offset`` (D values) to a coordinate adds to its key."""
        return sum(o // s * w for o, s, w in zip(offset, self.steps[1:], self.weight[1:], strict=True))

    def coordinates(self, keys: Tensor) -> Tensor:
        """int32 coordinates (V, 1+D) of keys; the inverse of :meth:`keys`."""
        columns = [
            keys.div(weight, rounding_mode="floor").remainder(extent) * step + low
            for low, step, extent, weight in zip(self.low, self.steps, self.extent, self.weight, strict=True)
        ]
        return torch.stack(columns, dim=1).to(torch.int32)


def unique_first(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct keys in the order they first appear.

    Returns:
        (U,) index of each distinct key's first row, ascending, and (N,) the distinct key's number for every row.
    """
    first, inverse = unique_sorted(keys)
    if len(first) == len(keys):
        rows = torch.arange(len(keys), device=keys.device)
        return rows, rows
    ascending, rank = torch.sort(first)
    place = torch.empty_like(rank)
    place[rank] = torch.arange(len(rank), device=keys.device)
    return ascending, place[inverse]


def unique_sorted(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct keys in ascending order: (U,) index of each one's first row, (N,) its number for every row."""
    ordered, order = torch.sort(keys, stable=True)
    starts = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    torch.ne(ordered[1:], ordered[:-1], out=starts[1:])
    inverse = torch.empty_like(order)
    inverse[order] = torch.cumsum(starts, 0) - 1
    return order[starts], inverse


def floor_to(coordinates: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Spatial columns floored to multiples of ``stride`` (towards minus infinity); the batch column stays.

    A stride of 0 makes a column 0: that axis is one cell. Whether results fit the dtype is the caller's to know
    (:meth:`Bounds.check_int32` of the floored box).
    """
    if all(step == 1 for step in stride):
        return coordinates
    steps = torch.tensor((1, *stride), dtype=coordinates.dtype, device=coordinates.device)
    return coordinates.div(steps.clamp(min=1), rounding_mode="floor") * steps


def to_int32(coordinates: Tensor) -> Tensor:
    """Coordinates of any dtype floored to int32.

    Raises:
        InputError: a value is not finite or does not fit 32 bits.
    """
    if coordinates.dtype == torch.int32:
        return coordinates
    floored = coordinates.floor() if coordinates.is_floating_point() else coordinates.to(torch.int64)
    # Comparisons are False for NaN, so one test finds NaN, infinities and overflow alike.
    inside = (floored >= -(2**31)) & (floored < 2**31)
    if not bool(inside.all()):
        row = int((~inside.all(dim=1)).nonzero()[0])
        raise InputError(
            f"coordinate row {row} is {coordinates[row].tolist()}, but coordinates must be finite and lie between "
            f"{INT32[0]} and {INT32[1]}: drop such rows before making the tensor."
        )
    return floored.to(torch.int32)
