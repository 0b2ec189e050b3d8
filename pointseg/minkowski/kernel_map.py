"""Kernel maps: for every kernel offset, which input row meets which output row.

Found by binary search in sorted int64 keys, without a hash table: the key of a neighbour is the row's key plus a
constant. Maps of a tensor onto itself search half of the offsets; the other half are the same lists swapped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.minkowski.kernel import Offset
from pointseg.minkowski.packing import Bounds, Packing


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


@dataclass(eq=False)
class CoordinateMap:
    """Distinct coordinate rows (V, 1+D) int32 with their box and, once asked for, their lexicographic order."""

    coordinates: Tensor
    bounds: Bounds
    sorted_rows: bool = False
    _order: Tensor | None = None

    def __len__(self) -> int:
        return len(self.coordinates)

    def search_keys(self, packing: Packing) -> tuple[Tensor, Tensor | None]:
        """Ascending keys of the rows, and the row behind each (None: the rows are in that order already)."""
        keys = packing.keys(self.coordinates)
        if self.sorted_rows:
            return keys, None
        if self._order is None:
            ordered, self._order = torch.sort(keys)
            return ordered, self._order
        return keys[self._order], self._order


def find_rows(table: tuple[Tensor, Tensor | None], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in ``wanted`` that the table holds, and the table's row for each; both int64, same length."""
    keys, rows = table
    if len(keys) == 0:
        none = torch.empty(0, dtype=torch.int64, device=wanted.device)
        return none, none
    place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    position = (keys[place] == wanted).nonzero().squeeze(1)
    found = place[position]
    return position, found if rows is None else rows[found]


def search(inputs: CoordinateMap, outputs: CoordinateMap, offsets: tuple[Offset, ...]) -> KernelMap:
    """Pairs with ``input = output + offset`` for each offset (units of the finest voxel)."""
    reach = tuple(max(abs(o[axis]) for o in offsets) for axis in range(len(offsets[0])))
    packing = Packing.fit(inputs.bounds.union(outputs.bounds).padded(reach))
    table = inputs.search_keys(packing)
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
        out_rows, in_rows = find_rows(table, keys + packing.delta(offset))
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
