"""Finding the kernel map: looking up, for every row and every kernel offset, the row that lies there.

The int64 key of a neighbour is the row's key plus a constant. Keys are looked up in a table of all cells of the box
where the box is small enough, else by binary search in the sorted keys; there is no hash table.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pointseg.minkowski.kernel import Offset
from pointseg.minkowski.kernel_map import KernelMap, RowOrder, assemble
from pointseg.minkowski.packing import Bounds, Packing

# A table of cells takes 4 bytes each while the map is made: at most 256 bytes a row, as much as 64 features.
CELLS_PER_ROW = 64
# Rows in Morton order are a few cells from the row before, rows in no order a room away.
NEAR, FAR = 8, 32


class _Table:
    def rows(self, wanted: Tensor) -> Tensor:
        """int32 (M,): the row of each key in the box, -1 for keys that no row has."""
        raise NotImplementedError

    def find(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in ``wanted`` (keys inside the box) that are present, and the row of each; both int64."""
        rows = self.rows(wanted)
        position = (rows >= 0).nonzero().squeeze(1)
        return position, rows[position].to(torch.int64)


@dataclass(frozen=True, eq=False)
class CellTable(_Table):
    """Row of every cell of a box, -1 where there is none: one read a look-up."""

    row_of_cell: Tensor

    def rows(self, wanted: Tensor) -> Tensor:
        return self.row_of_cell.index_select(0, wanted)


@dataclass(frozen=True, eq=False)
class SortedTable(_Table):
    """Ascending keys and the row behind each; a binary search a look-up."""

    keys: Tensor
    row_of_key: Tensor

    def rows(self, wanted: Tensor) -> Tensor:
        if len(self.keys) == 0:
            return torch.full_like(wanted, -1, dtype=torch.int32)
        place = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
        return torch.where(self.keys[place] == wanted, self.row_of_key[place], -1)


@dataclass(eq=False)
class CoordinateMap:
    """Distinct coordinate rows (V, 1+D) int32 and their box; ``ascending``: in lexicographic order."""

    coordinates: Tensor
    bounds: Bounds
    ascending: bool = False

    def __len__(self) -> int:
        return len(self.coordinates)

    @cached_property
    def order(self) -> RowOrder:
        """The rows' own order where neighbours stand together in it, else the lexicographic one."""
        if self.ascending or self._is_coherent():
            return RowOrder()
        return RowOrder(self._lexicographic)

    @cached_property
    def _lexicographic(self) -> Tensor:
        return torch.argsort(Packing.fit(self.bounds).keys(self.coordinates))

    def table(self, packing: Packing, order: RowOrder = RowOrder()) -> CellTable | SortedTable:
        """Look-up of rows by key; rows are numbered in that order."""
        keys = packing.keys(self.coordinates)
        cells = math.prod(packing.extent)
        if cells <= CELLS_PER_ROW * len(self):
            row_of_cell = torch.full((cells,), -1, dtype=torch.int32, device=keys.device)
            row_of_cell[order.apply(keys)] = torch.arange(len(self), dtype=torch.int32, device=keys.device)
            return CellTable(row_of_cell)
        if self.ascending:
            return SortedTable(keys, torch.arange(len(self), dtype=torch.int32, device=keys.device))
        numbers = self._lexicographic if order.numbers is None else order.numbers[self._lexicographic]
        return SortedTable(keys[self._lexicographic], numbers.to(torch.int32))

    def _is_coherent(self) -> bool:
        if len(self) < 2:
            return True
        steps = (self.coordinates[1:] - self.coordinates[:-1]).abs_().amax(dim=1)
        return bool(steps.clamp_(max=FAR).sum() < NEAR * len(self))


def search(
    inputs: CoordinateMap, outputs: CoordinateMap, offsets: tuple[Offset, ...], stride: tuple[int, ...] | None = None
) -> KernelMap:
    """Pairs with ``input = output + offset`` for each offset (units of the finest voxel).

    Args:
        stride: D steps of which all coordinates and offsets are multiples; by default 1.
    """
    reach = tuple(max(abs(o[axis]) for o in offsets) for axis in range(len(offsets[0])))
    packing = Packing.fit(inputs.bounds.union(outputs.bounds).padded(reach), stride)
    table = inputs.table(packing, inputs.order)
    keys = outputs.order.apply(packing.keys(outputs.coordinates))
    deltas = torch.tensor([[packing.delta(offset)] for offset in offsets], device=keys.device)

    def find(first: int, last: int) -> Tensor:
        wanted = keys[first:last] + deltas
        return table.rows(wanted.view(-1)).view_as(wanted)

    mirror = _opposite(offsets) if inputs is outputs else None
    return assemble(find, len(offsets), inputs.order, len(inputs), outputs.order, len(outputs), keys.device, mirror)


def tiled(inputs: CoordinateMap, outputs: CoordinateMap, parent: Tensor, offsets: tuple[Offset, ...]) -> KernelMap:
    """The map of a kernel whose windows tile the space, from the parent row of every input row; no search."""
    device = inputs.coordinates.device
    inside = inputs.coordinates[:, 1:] - outputs.coordinates[parent, 1:]
    packing = Packing.fit(Bounds.of(torch.tensor([(0, *offset) for offset in offsets])))
    code = torch.zeros(len(inputs), dtype=torch.int64, device=device)
    for axis, weight in enumerate(packing.weight[1:]):
        code += inside[:, axis].to(torch.int64) * weight
    number = torch.empty(math.prod(packing.extent), dtype=torch.int64, device=device)
    number[torch.tensor([packing.delta(o) for o in offsets], device=device)] = torch.arange(len(offsets), device=device)
    columns = parent if outputs.order.numbers is None else outputs.order.numbers[parent]
    every = inputs.order.numbers
    if every is None:
        every = torch.arange(len(inputs), device=device)
    rows = torch.full((len(offsets), len(outputs)), -1, dtype=torch.int32, device=device)
    rows[number[code], columns] = every.to(torch.int32)

    def find(first: int, last: int) -> Tensor:
        return rows[:, first:last]

    return assemble(find, len(offsets), inputs.order, len(inputs), outputs.order, len(outputs), device)


def _opposite(offsets: tuple[Offset, ...]) -> tuple[int, ...] | None:
    """The number of each offset's negative, or None where one is missing, or offsets repeat.

    They repeat at tensor stride 0, where every offset is zero and each line of the kernel needs its own gradient.
    """
    number = {offset: k for k, offset in enumerate(offsets)}
    if len(number) < len(offsets):
        return None
    opposite = [number.get(tuple(-o for o in offset)) for offset in offsets]
    return None if None in opposite else tuple(opposite)  # type: ignore[arg-type]
