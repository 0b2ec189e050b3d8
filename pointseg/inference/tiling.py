"""Cutting a voxel grid into boxes that are predicted one at a time, each within a margin of its neighbours' voxels.

All boxes are cut from one grid, so a voxel is the same voxel whatever the boxes. Rows of a grid are in Morton order:
the voxels of an aligned block of 16^3 stand together, and a table of blocks is all that planning needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 16
"""Voxels along the side of a block, a power of 2; boxes consist of whole blocks."""

Ranges = list[tuple[int, int]]
"""Stretches of rows, rising: first row and one past the last."""


@dataclass(frozen=True)
class Blocks:
    """The occupied blocks of a grid, in its order.

    Attributes:
        lowest: (3,) the grid's lowest voxel on each axis; blocks are counted from it.
        cell: (B, 3) int32 which block.
        start: (B + 1,) int64 its first row; the last entry is V.
    """

    lowest: np.ndarray
    cell: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, coord: Iterable[np.ndarray], lowest: np.ndarray) -> Blocks:
        """The table of a grid whose ``coord`` (V, 3) comes in stretches of rows."""
        cells, starts, done = [np.empty((0, 3), np.int32)], [np.empty(0, np.int64)], 0
        for piece in coord:
            cell = ((piece - lowest) // BLOCK).astype(np.int32)
            before = np.concatenate([cells[-1][-1:] if len(cells[-1]) else cell[:1] - 1, cell[:-1]])
            first = np.flatnonzero((cell != before).any(axis=1))
            cells.append(cell[first] if len(first) else cells.pop())
            starts.append(first + done)
            done += len(piece)
        return cls(np.asarray(lowest), np.concatenate(cells), np.append(np.concatenate(starts), done))

    @property
    def sizes(self) -> np.ndarray:
        """(B,) voxels in each."""
        return np.diff(self.start)


@dataclass(frozen=True)
class Tile:
    """A box of blocks.

    Attributes:
        low, high: blocks on each axis, the first and one past the last.
        blocks: numbers of the blocks that the box and its margin touch, rising.
        inside: (len(blocks),) which of them are the box itself.
        voxels: in ``blocks``, at least as many as the network gets.
    """

    low: tuple[int, int, int]
    high: tuple[int, int, int]
    blocks: np.ndarray
    inside: np.ndarray
    voxels: int


def whole(blocks: Blocks) -> Tile:
    """The tile of everything."""
    everything = np.arange(len(blocks.cell))
    low, high = (tuple(map(int, side)) for side in (blocks.cell.min(axis=0), blocks.cell.max(axis=0) + 1))
    return Tile(low, high, everything, everything >= 0, int(blocks.start[-1]))  # type: ignore[arg-type]


def split(blocks: Blocks, tile: Tile, halo: int) -> list[Tile]:
    """The tile cut in two across its longest side, so that both halves have about as many voxels of their own.

    Args:
        blocks: of the grid.
        tile: what to cut.
        halo: margin, voxels.

    Returns:
        Two tiles, or none if it has a single block of its own.
    """
    own = blocks.cell[tile.blocks[tile.inside]]
    low, high = own.min(axis=0), own.max(axis=0) + 1
    axis = int(np.argmax(high - low))
    if high[axis] - low[axis] < 2:
        return []
    weight = np.bincount(own[:, axis] - low[axis], blocks.sizes[tile.blocks[tile.inside]])
    half = int(np.searchsorted(np.cumsum(weight), weight.sum() / 2)) + 1
    cut = low[axis] + min(half, high[axis] - low[axis] - 1)
    left, right = high.copy(), low.copy()
    left[axis] = right[axis] = cut
    return [_part(blocks, tile, low, left, halo), _part(blocks, tile, right, high, halo)]


def plan(blocks: Blocks, tiles: Iterable[Tile], budget: int, halo: int) -> Iterator[Tile]:
    """Cut tiles until each has at most ``budget`` voxels with its margin, or a single block of its own.

    Yields:
        Tiles in a fixed order; their insides partition those of the given ones.
    """
    waiting = list(tiles)[::-1]
    while waiting:
        tile = waiting.pop()
        halves = split(blocks, tile, halo) if tile.voxels > budget else []
        if halves:
            waiting += halves[::-1]
        else:
            yield tile


def row_ranges(blocks: Blocks, numbers: np.ndarray) -> Ranges:
    """The rows of some blocks, given by rising number; neighbours in the file are joined."""
    if len(numbers) == 0:
        return []
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    first, last = numbers[np.append(0, breaks + 1)], numbers[np.append(breaks, len(numbers) - 1)]
    return list(zip(blocks.start[first].tolist(), blocks.start[last + 1].tolist(), strict=True))


def parts(ranges: Ranges, rows: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Each stretch of ``ranges`` with its part of ``rows``, which follow one another in that order."""
    done = 0
    for start, stop in ranges:
        yield start, stop, rows[done : done + stop - start]
        done += stop - start


def margin_mask(blocks: Blocks, tile: Tile, coord: np.ndarray, halo: int) -> np.ndarray:
    """(n,) which of the voxels ``coord`` (n, 3) lie in the tile or at most ``halo`` voxels off it on every axis.

    Exact to the voxel, so that what the network sees does not depend on how blocks happen to lie.
    """
    low = blocks.lowest + np.array(tile.low) * BLOCK - halo
    high = blocks.lowest + np.array(tile.high) * BLOCK + halo
    return np.asarray(((coord >= low) & (coord < high)).all(axis=1))


def _part(blocks: Blocks, tile: Tile, low: np.ndarray, high: np.ndarray, halo: int) -> Tile:
    """What lies in a box within a tile."""
    cell, reach = blocks.cell[tile.blocks], -(-halo // BLOCK)
    near = ((cell >= low - reach) & (cell < high + reach)).all(axis=1)
    cell, numbers = cell[near], tile.blocks[near]
    inside = ((cell >= low) & (cell < high)).all(axis=1)
    x0, y0, z0 = (int(value) for value in low)
    x1, y1, z1 = (int(value) for value in high)
    return Tile((x0, y0, z0), (x1, y1, z1), numbers, inside, int(blocks.sizes[numbers].sum()))
