"""Kernel maps: for every kernel offset, which input row meets which output row.

Output rows are visited in lexicographic order of their coordinates, block by block, so that what a block gathers lies
close together and all its products fit one buffer. Inside a block the pairs stand offset by offset; a second list
names, for each output row, the places of its own pairs, so that products are summed in a fixed order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

# Output rows of a block: on a CPU one block's products stay in the last-level cache; elsewhere few large launches beat
# many small ones.
CPU_BLOCK = 8192
DEVICE_BLOCK = 2**17


@dataclass(frozen=True, eq=False)
class RowOrder:
    """An order of rows in which neighbours in space stand close together.

    Attributes:
        rows: (V,) int64, the rows in that order; None where the rows stand in a good order already.
    """

    rows: Tensor | None = None

    @cached_property
    def numbers(self) -> Tensor | None:
        """(V,) int64: the place of each row; the inverse of ``rows``."""
        if self.rows is None:
            return None
        places = torch.empty_like(self.rows)
        places[self.rows] = torch.arange(len(places), device=places.device)
        return places

    def apply(self, features: Tensor) -> Tensor:
        """The rows of (V, C) in this order."""
        return features if self.rows is None else features.index_select(0, self.rows)

    def row(self, numbers: Tensor) -> Tensor:
        """The rows that stand at these places, int64."""
        numbers = numbers.to(torch.int64)
        return numbers if self.rows is None else self.rows[numbers]


@dataclass(frozen=True)
class Layout:
    """The part of a kernel map that is not tensors.

    Attributes:
        n_in: rows of the input.
        n_out: rows of the output.
        block: output rows of a block; the last block may have fewer.
        counts: for each block, the number of pairs of each of its K segments.
        offsets: (K,) the kernel offset behind each segment.
        centre: the offset at which every row meets itself; -1 without one.
    """

    n_in: int
    n_out: int
    block: int
    counts: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    centre: int = -1

    @cached_property
    def blocks(self) -> tuple["Block", ...]:
        blocks, start = [], 0
        for number, counts in enumerate(self.counts):
            first = number * self.block
            segments, begin = [], start
            for k, count in zip(self.offsets, counts, strict=True):
                if count:
                    segments.append((k, start, start + count))
                    start += count
            blocks.append(Block(first, min(first + self.block, self.n_out), begin, start, tuple(segments)))
        return tuple(blocks)

    def numbers(self) -> list[int]:
        """This as a flat list; :func:`layout_of` undoes it."""
        counts = [count for block in self.counts for count in block]
        return [self.n_in, self.n_out, self.block, self.centre, len(self.offsets), *self.offsets, *counts]

    @cached_property
    def lengths(self) -> list[int]:
        """Pairs of every segment of every block."""
        return [stop - start for block in self.blocks for _, start, stop in block.segments]

    @property
    def longest(self) -> int:
        """Pairs of the longest block."""
        return max(map(sum, self.counts), default=0)

    @property
    def widest(self) -> int:
        """Pairs of the longest segment."""
        return max((max(counts) for counts in self.counts), default=0)


@lru_cache(maxsize=256)
def layout_of(numbers: tuple[int, ...]) -> Layout:
    """The layout behind :meth:`Layout.numbers`."""
    n_in, n_out, block, centre, volume, *rest = numbers
    offsets, counts = rest[:volume], rest[volume:]
    rows = (tuple(counts[i : i + volume]) for i in range(0, len(counts), volume))
    return Layout(n_in, n_out, block, tuple(rows), tuple(offsets), centre)


@dataclass(frozen=True)
class Block:
    """Visits ``first:last`` of the output rows, whose pairs are ``start:stop``."""

    first: int
    last: int
    start: int
    stop: int
    segments: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, eq=False)
class KernelMap:
    """Pairs of rows for each of K offsets.

    Attributes:
        layout: sizes, blocks and segments.
        inputs: in which order the input rows are numbered.
        outputs: in which order the output rows are numbered, and visited.
        gather: (P,) int32, the input row's number of each pair.
        own: (P,) int32, the output row's number of each pair, counted from the start of the block.
        bag: (P,) int32, for one visit after the other, the places of its pairs, counted from the start of the block.
        bag_start: (n_out,) int32, where each visit's places start in its block's part of ``bag``.
        mirror: for a map of rows onto themselves, the offset opposite to each offset; else None.
    """

    layout: Layout
    inputs: "RowOrder"
    outputs: "RowOrder"
    gather: Tensor
    own: Tensor
    bag: Tensor
    bag_start: Tensor
    mirror: tuple[int, ...] | None = None
    _swapped: list["KernelMap"] = field(default_factory=list)

    @property
    def n_in(self) -> int:
        return self.layout.n_in

    @property
    def n_out(self) -> int:
        return self.layout.n_out

    @property
    def volume(self) -> int:
        """Offsets K."""
        return len(self.layout.offsets)

    @property
    def n_pairs(self) -> int:
        return len(self.gather)

    def tensors(self) -> list[Tensor]:
        """All tensors, as autograd saves them; :meth:`of_tensors` undoes it."""
        orders = (self.gather[:0] if order.rows is None else order.rows for order in (self.inputs, self.outputs))
        return [*orders, self.gather, self.own, self.bag, self.bag_start]

    @staticmethod
    def of_tensors(layout: Layout, tensors: Sequence[Tensor], mirror: tuple[int, ...] | None = None) -> "KernelMap":
        inputs, outputs, gather, own, bag, bag_start = tensors
        first, second = (RowOrder(rows if len(rows) else None) for rows in (inputs, outputs))
        return KernelMap(layout, first, second, gather, own, bag, bag_start, mirror)

    @staticmethod
    def of_pairs(
        n_in: int, n_out: int, pairs: Sequence[tuple[Tensor, Tensor]], mirror: tuple[int, ...] | None = None
    ) -> "KernelMap":
        """The map of listed pairs ``(input rows, output rows)``, one entry an offset; rows keep their own order."""
        device = pairs[0][0].device if pairs else torch.device("cpu")
        rows = torch.full((len(pairs), n_out), -1, dtype=torch.int32, device=device)
        for own, (inputs, outputs) in zip(rows, pairs, strict=True):
            own[outputs.to(torch.int64)] = inputs.to(torch.int32)
        kept = RowOrder()
        return assemble(lambda a, b: rows[:, a:b], len(pairs), kept, n_in, kept, n_out, device, mirror)

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """For each of the K offsets ``(input rows, output rows)``, int64 (P_k,); no row appears twice in a list."""
        inputs: list[list[Tensor]] = [[] for _ in self.layout.offsets]
        outputs: list[list[Tensor]] = [[] for _ in self.layout.offsets]
        for block in self.layout.blocks:
            for k, start, stop in block.segments:
                inputs[k].append(self.inputs.row(self.gather[start:stop]))
                outputs[k].append(self.outputs.row(self.own[start:stop] + block.first))
        empty = self.gather.new_empty(0, dtype=torch.int64)
        return [(torch.cat([empty, *a]), torch.cat([empty, *b])) for a, b in zip(inputs, outputs, strict=True)]

    def swapped(self) -> "KernelMap":
        """The map of the transposed convolution: inputs become outputs. Made once, then kept."""
        if not self._swapped:
            self._swapped.append(self._mirrored() if self.mirror is not None else self._inverted())
        return self._swapped[0]

    def inputs_per_output(self) -> Tensor:
        """(n_out,) int64: how many input rows reach each output row."""
        total = torch.zeros(self.n_out, dtype=torch.int64, device=self.gather.device)
        for _, rows in self.pairs:
            total[rows] += 1
        return total

    def _mirrored(self) -> "KernelMap":
        # What row i receives at one offset, it gives at the opposite one: the lists stay. Tables for GPUs are kept by
        # the tensor of input rows and differ between the two maps: another tensor, on the same memory.
        assert self.mirror is not None
        offsets = tuple(self.mirror[k] for k in self.layout.offsets)
        return replace(self, layout=replace(self.layout, offsets=offsets), gather=self.gather.detach(), _swapped=[])

    def _inverted(self) -> "KernelMap":
        numbers = torch.full((self.volume, self.n_in), -1, dtype=torch.int32, device=self.gather.device)
        for block in self.layout.blocks:
            for k, start, stop in block.segments:
                numbers[k, self.gather[start:stop].to(torch.int64)] = self.own[start:stop] + block.first
        return assemble(
            lambda a, b: numbers[:, a:b], self.volume, self.outputs, self.n_out, self.inputs, self.n_in, numbers.device
        )


def assemble(
    find: Callable[[int, int], Tensor],
    volume: int,
    inputs: RowOrder,
    n_in: int,
    outputs: RowOrder,
    n_out: int,
    device: torch.device,
    mirror: tuple[int, ...] | None = None,
) -> KernelMap:
    """The kernel map of ``volume`` offsets.

    Args:
        find: ``find(first, last)`` gives int32 (K, last - first): for the output rows of these numbers, the number of
            the input row at each offset, -1 where there is none.
        mirror: as in :class:`KernelMap`.
    """
    block = block_rows(device)
    parts = [_block(find(first, min(first + block, n_out))) for first in range(0, n_out, block)]
    empty = torch.empty(0, dtype=torch.int32, device=device)
    gather, own, bag, bag_start = (torch.cat([empty, *(part[i] for part in parts)]) for i in range(1, 5))
    counts = tuple(tuple(part[0].tolist()) for part in parts)
    centre = -1 if mirror is None else next((k for k, other in enumerate(mirror) if k == other), -1)
    layout = Layout(n_in, n_out, block, counts, tuple(range(volume)), centre)
    return KernelMap(layout, inputs, outputs, gather, own, bag, bag_start, mirror)


def block_rows(device: torch.device) -> int:
    """Output rows of a block on that device."""
    return CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK


def _block(rows: Tensor) -> tuple[Tensor, ...]:
    """Of one block's (K, n) input rows: counts (K,), gather, own, bag, bag_start."""
    present = rows >= 0
    pairs = present.view(-1).nonzero().squeeze(1)
    own = pairs.remainder(rows.shape[1])
    rank = torch.cumsum(present, 0, dtype=torch.int32)
    per_row = rank[-1]
    bag_start = torch.cumsum(per_row, 0, dtype=torch.int32) - per_row
    # A pair's turn in the list of its output row: after the pairs of earlier rows, and those of earlier offsets.
    turn = rank.add_(bag_start).view(-1).index_select(0, pairs).to(torch.int64) - 1
    bag = torch.empty_like(turn, dtype=torch.int32)
    bag[turn] = torch.arange(len(turn), dtype=torch.int32, device=rows.device)
    gather = rows.reshape(-1).index_select(0, pairs)
    return present.sum(dim=1), gather, own.to(torch.int32), bag, bag_start
