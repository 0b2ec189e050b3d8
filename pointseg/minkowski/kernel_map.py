"""Kernel maps: for every kernel offset, which input row meets which output row.

The int64 key of a neighbour is the row's key plus a constant. Keys are looked up in a table of all cells of the box
where the box is small enough, else by binary search in the sorted keys; there is no hash table. Maps of a tensor onto
itself search half of the offsets; the other half are the same lists swapped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.minkowski.kernel import Offset
from pointseg.minkowski.packing import Bounds, Packing

# A table of cells takes 4 bytes each while the map is made: at most 128 bytes a row, less than the features.
CELLS_PER_ROW = 32


@dataclass(frozen=True, eq=False)
class KernelMap:
    """Pairs of rows for each of K offsets.

    Attributes:
        n_in: rows of the input.
        n_out: rows of the output.
        pairs: K entries ``(input rows, output rows)``, two int tensors (P_k,) in which no row appears twice;
            None where every row meets itself (the centre of a map onto itself).
    """

    n_in: int
    n_out: int
    pairs: tuple[tuple[Tensor, Tensor] | None, ...]

    def swapped(self) -> "KernelMap":
        """The map of the transposed convolution: inputs become outputs. Shares the lists."""
        return KernelMap(self.n_out, self.n_in, tuple(p and (p[1], p[0]) for p in self.pairs))

    def lists(self) -> tuple[Tensor | None, ...]:
        """The 2K lists one after the other, as autograd functions save them; :meth:`of_lists` undoes it."""
        return tuple(rows for pair in self.pairs for rows in (pair or (None, None)))

    @staticmethod
    def of_lists(sizes: tuple[int, int], lists: Sequence[Tensor | None]) -> "KernelMap":
        """The map of ``(n_in, n_out)`` rows behind :meth:`lists`."""
        halves = zip(lists[::2], lists[1::2], strict=True)
        return KernelMap(*sizes, tuple(None if a is None or b is None else (a, b) for a, b in halves))

    @property
    def n_pairs(self) -> int:
        return sum(self.n_in if p is None else len(p[0]) for p in self.pairs)

    def listed(self, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """:attr:`pairs` with the identity written out as well."""
        every = torch.arange(self.n_in, device=device)
        return [(every, every) if pair is None else pair for pair in self.pairs]

    def counts(self, device: torch.device) -> Tensor:
        """(n_out,) int64: how many input rows reach each output row."""
        total = torch.zeros(self.n_out, dtype=torch.int64, device=device)
        for pair in self.pairs:
            if pair is None:
                total += 1
            else:
                total[pair[1]] += 1
        return total


@dataclass(frozen=True, eq=False)
class CellTable:
    """Row of every cell of a box, -1 where there is none: one read a look-up."""

    row_of_cell: Tensor

    def find(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in ``wanted`` (keys inside the box) that are present, and the row of each; both int64."""
        rows = self.row_of_cell[wanted]
        position = (rows >= 0).nonzero().squeeze(1)
        return position, rows[position].to(torch.int64)


@dataclass(frozen=True, eq=False)
class SortedTable:
    """Ascending keys and the row behind each; a binary search a look-up."""

    keys: Tensor
    rows: Tensor

    def find(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`CellTable.find`."""
        if len(self.keys) == 0:
            return wanted[:0], wanted[:0]
        place = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
        position = (self.keys[place] == wanted).nonzero().squeeze(1)
        return position, self.rows[place[position]]


@dataclass(eq=False)
class CoordinateMap:
    """Distinct coordinate rows (V, 1+D) int32, their box and, once needed, their lexicographic order."""

    coordinates: Tensor
    bounds: Bounds
    _order: Tensor | None = None

    def __len__(self) -> int:
        return len(self.coordinates)

    def table(self, packing: Packing) -> CellTable | SortedTable:
        """Look-up of rows by key."""
        keys = packing.keys(self.coordinates)
        cells = math.prod(packing.extent)
        if cells <= CELLS_PER_ROW * len(self):
            row_of_cell = torch.full((cells,), -1, dtype=torch.int32, device=keys.device)
            row_of_cell[keys] = torch.arange(len(self), dtype=torch.int32, device=keys.device)
            return CellTable(row_of_cell)
        if self._order is None:
            self._order = torch.argsort(keys)
        return SortedTable(keys[self._order], self._order)


def search(inputs: CoordinateMap, outputs: CoordinateMap, offsets: tuple[Offset, ...]) -> KernelMap:
    """Pairs with ``input = output + offset`` for each offset (units of the finest voxel)."""
    reach = tuple(max(abs(o[axis]) for o in offsets) for axis in range(len(offsets[0])))
    packing = Packing.fit(inputs.bounds.union(outputs.bounds).padded(reach))
    table = inputs.table(packing)
    keys = packing.keys(outputs.coordinates)
    same = inputs is outputs
    number = {offset: k for k, offset in enumerate(offsets)}
    pairs: dict[int, tuple[Tensor, Tensor] | None] = {}
    for k, offset in enumerate(offsets):
        if k in pairs:
            continue
        if same and not any(offset):
            pairs[k] = None
            continue
        out_rows, in_rows = table.find(keys + packing.delta(offset))
        pairs[k] = (in_rows, out_rows)
        mirror = number.get(tuple(-o for o in offset))
        if same and mirror is not None:
            pairs[mirror] = (out_rows, in_rows)
    return KernelMap(len(inputs), len(outputs), tuple(pairs[k] for k in range(len(offsets))))


def tiled(inputs: CoordinateMap, outputs: CoordinateMap, parent: Tensor, offsets: tuple[Offset, ...]) -> KernelMap:
    """The map of a kernel whose windows tile the space, from the parent row of every input row; no search."""
    inside = inputs.coordinates[:, 1:] - outputs.coordinates[parent, 1:]
    packing = Packing.fit(Bounds.of(torch.tensor([(0, *offset) for offset in offsets])))
    code = torch.zeros(len(inputs), dtype=torch.int64, device=inside.device)
    for axis, weight in enumerate(packing.weight[1:]):
        code += inside[:, axis].to(torch.int64) * weight
    pairs = []
    for offset in offsets:
        rows = (code == packing.delta(offset)).nonzero().squeeze(1)
        pairs.append((rows, parent[rows]))
    return KernelMap(len(inputs), len(outputs), tuple(pairs))
