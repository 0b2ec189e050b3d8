"""Kernel maps as the GPU kernels read them: neighbour tables, presence masks, an order of visit, flat pair lists.

A table has one column for each output row and one line for each offset. Columns stand in the order in which tiles
visit them: sorted by which neighbours are present, so that the rows of a tile miss the same neighbours and the tile
can skip those offsets. Presence is read as a Gray code, whose consecutive words differ in one bit (as FlexGEMM does).

Everything is made once for each kernel map and dies with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pointseg.errors import InputError
from pointseg.minkowski.kernel_map import KernelMap

WORD = 32
# More offsets than this are sorted by runs of neighbouring offsets: on the surfaces of a room, tiles of 64 rows then do
# 1.2 times the needed work of a 5^3 kernel, against 2.0 (raster order) to 2.5 (random order) unsorted.
CODE_BITS = 63
# Sorting pays by skipping offsets in whole tiles; with few rows the sort costs more. Not measured on a GPU yet.
FEWEST_SORTED = 5000
# Row numbers are int32, and a tile may reach past the last row.
LARGEST = 2**31 - 1024

Pairs = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class NeighbourTable:
    """The input row of each output row at each offset.

    Attributes:
        rows: (K, n_out) int32, -1 where there is none; columns in order of visit.
        masks: (ceil(K / 32), n_out) int32, bit k % 32 of word k // 32 = present at offset k; columns in order of visit.
        order: (n_out,) int32, the output row of each column; None = column i is row i.
        weights: (K,) int32, the kernel entry that line k of the table meets; None = entry k.
    """

    rows: Tensor
    masks: Tensor
    order: Tensor | None
    weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class FlatPairs:
    """All pairs in one list, offset by offset.

    Attributes:
        in_rows: (P,) int32.
        out_rows: (P,) int32.
        counts: pairs of each of the K offsets.
    """

    in_rows: Tensor
    out_rows: Tensor
    counts: tuple[int, ...]


class MapTables:
    """What the kernels need of one map; each part is made when first asked for."""

    def __init__(
        self, n_in: int, n_out: int, pairs: Pairs, mirror: tuple[int, ...] | None, device: torch.device
    ) -> None:
        if max(n_in, n_out) > LARGEST:
            raise InputError(
                f"a convolution from {n_in} to {n_out} rows: at most {LARGEST} fit the tables of the Triton path; "
                f"split the batch."
            )
        self.n_in, self.n_out, self.device = n_in, n_out, device
        self._pairs, self._mirror = pairs, mirror
        self._work: dict[int, tuple[Tensor, Tensor]] = {}

    @cached_property
    def pairs(self) -> FlatPairs:
        inputs, outputs = ([pair[side] for pair in self._pairs] for side in (0, 1))
        flat = FlatPairs(_joined(inputs, self.device), _joined(outputs, self.device), tuple(len(i) for i in inputs))
        # These int64 lists are twice as large as what is kept of them; let go only now, since joining may lack memory.
        self._pairs = ()
        return flat

    @cached_property
    def forward(self) -> NeighbourTable:
        """From input rows to output rows."""
        return neighbour_table(self.pairs, self.n_out)

    @cached_property
    def backward(self) -> NeighbourTable:
        """From output rows to input rows; a map that mirrors itself has the same table with other weights."""
        if self._mirror is None:
            flat = self.pairs
            return neighbour_table(FlatPairs(flat.out_rows, flat.in_rows, flat.counts), self.n_in)
        table = self.forward
        return NeighbourTable(
            table.rows, table.masks, table.order, torch.tensor(self._mirror, dtype=torch.int32, device=self.device)
        )

    def work(self, longest: int) -> tuple[Tensor, Tensor]:
        """:func:`work_items` as tensors on the device: (items, 2) and (K + 1,) int64."""
        if longest not in self._work:
            items, first = work_items(self.pairs.counts, longest)
            self._work[longest] = (
                torch.tensor(items, dtype=torch.int64).reshape(-1, 2).to(self.device),
                torch.tensor(first, dtype=torch.int64).to(self.device),
            )
        return self._work[longest]


_TABLES = WeakTensorKeyDictionary()


def tables_of(kernel_map: KernelMap, device: torch.device) -> MapTables:
    """The tables of a map, kept for as long as its list of input rows lives."""
    tables = _TABLES.get(kernel_map.gather)
    if tables is None or tables.device != device:
        tables = MapTables(kernel_map.n_in, kernel_map.n_out, kernel_map.pairs, kernel_map.mirror, device)
        _TABLES[kernel_map.gather] = tables
    return tables


def neighbour_table(pairs: FlatPairs, n_out: int) -> NeighbourTable:
    """The table of those pairs. No output row may appear twice within an offset."""
    K = len(pairs.counts)
    device = pairs.out_rows.device
    offset = torch.repeat_interleave(
        torch.arange(K, device=device), torch.tensor(pairs.counts, device=device), output_size=len(pairs.out_rows)
    )
    column = pairs.out_rows.to(torch.int64)
    order = None
    if n_out >= FEWEST_SORTED:
        runs = min(K, CODE_BITS)
        order = visit_order(_presence(offset * runs // K, column, runs, n_out))
        column_of_row = torch.empty_like(order)
        column_of_row[order] = torch.arange(n_out, device=device)
        column = column_of_row[column]
        order = order.to(torch.int32)
    masks = _words(_presence(offset, column, K, n_out))
    rows = torch.full((K, n_out), -1, dtype=torch.int32, device=device)
    rows.view(-1)[offset * n_out + column] = pairs.in_rows
    return NeighbourTable(rows, masks, order)


def visit_order(present: Tensor) -> Tensor:
    """Rows sorted by which neighbours they have, read as a Gray code; equal ones keep their order.

    Args:
        present: (R, n) bool, R <= 63 offsets or runs of offsets.

    Returns:
        (n,) int64 permutation.
    """
    code = torch.zeros(present.shape[1], dtype=torch.int64, device=present.device)
    for bit, here in enumerate(present):
        code |= here.to(torch.int64) << bit
    for shift in (32, 16, 8, 4, 2, 1):
        code ^= code >> shift
    return torch.sort(code, stable=True).indices


def work_items(counts: tuple[int, ...], longest: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs cut into pieces of one offset and at most ``longest`` pairs.

    Returns:
        The (begin, end) of each piece in the flat list, offset by offset, and for each offset the number of its first
        piece, followed by the number of pieces.
    """
    items: list[tuple[int, int]] = []
    first = [0]
    begin = 0
    for count in counts:
        end = begin + count
        items += [(start, min(start + longest, end)) for start in range(begin, end, longest)]
        first.append(len(items))
        begin = end
    return items, first


def _presence(bit: Tensor, columns: Tensor, bits: int, n: int) -> Tensor:
    """(bits, n) bool, true at ``[bit[p], columns[p]]`` for every p."""
    present = torch.zeros((bits, n), dtype=torch.bool, device=bit.device)
    present.view(-1)[bit * n + columns] = True
    return present


def _words(present: Tensor) -> Tensor:
    """(ceil(K / 32), n) int32 with bit k % 32 of word k // 32 set where ``present[k]``."""
    words = torch.zeros((-(-len(present) // WORD), present.shape[1]), dtype=torch.int32, device=present.device)
    for k, here in enumerate(present):
        words[k // WORD] |= here.to(torch.int32) << (k % WORD)
    return words


def _joined(lists: list[Tensor], device: torch.device) -> Tensor:
    if not lists:
        return torch.empty(0, dtype=torch.int32, device=device)
    return torch.cat([rows.to(torch.int32) for rows in lists])
