"""Morton keys: the bits of three cell numbers interleaved, so that numbers near each other are cells near each other.

An axis that needs fewer bits than the others takes none beyond its own. Leaving out bits that are always zero keeps
the order, and shorter keys leave room for a point's index in the same 63 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

AXIS_BITS = 21
"""Three axes share a 63-bit key."""

_TABLE_BITS = 12
"""A table of 2^12 spread numbers stays in the first-level cache."""


class Morton:
    """Keys of cells whose numbers on axis a lie in 0..2^widths[a]-1.

    Attributes:
        widths: Bits of each axis, at most ``AXIS_BITS``.
        bits: Of a key; the sum of ``widths``.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = tuple(widths)
        self.bits = sum(self.widths)
        levels = [(bit, axis) for bit in range(max(self.widths)) for axis in range(3) if bit < self.widths[axis]]
        self._places = [[place for place, level in enumerate(levels) if level[1] == axis] for axis in range(3)]
        self._tables = [
            [_spread_table(places[first : first + _TABLE_BITS]) for first in range(0, len(places), _TABLE_BITS)]
            for places in self._places
        ]

    def keys(self, cell: np.ndarray) -> np.ndarray:
        """(N,) int64 keys of cells (N, 3) int64; x has the lowest bit, rows of equal cells equal keys."""
        key = np.zeros(len(cell), dtype=np.int64)
        for axis, tables in enumerate(self._tables):
            for level, table in enumerate(tables):
                part = (cell[:, axis] >> (level * _TABLE_BITS)) & (len(table) - 1)
                key |= table[part]
        return key

    def cells(self, key: np.ndarray) -> np.ndarray:
        """(N, 3) int64 cells of keys (N,) int64."""
        cell = np.zeros((len(key), 3), dtype=np.int64)
        for axis, places in enumerate(self._places):
            for bit, place in enumerate(places):
                cell[:, axis] |= ((key >> place) & 1) << bit
        return cell


def _spread_table(places: Sequence[int]) -> np.ndarray:
    """(2^n,) int64: every n-bit number with its bits moved to ``places``."""
    number = np.arange(1 << len(places), dtype=np.int64)
    spread = np.zeros_like(number)
    for bit, place in enumerate(places):
        spread |= ((number >> bit) & 1) << place
    return spread


def sorted_pieces(
    keys: Iterable[np.ndarray], points: int, bits: int, piece: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sort keys, equal ones by their place, and hand them out a piece at a time.

    Args:
        keys: Stretches of the keys, int64 in 0..2^bits-1.
        points: How many keys there are in all.
        bits: Of a key.
        piece: Length of a piece; the last one may be shorter.

    Yields:
        The next keys, and the place each had.
    """
    place_bits = points.bit_length()
    # Key and place in one number where they fit: sorting numbers is several times faster than a stable argsort.
    packs = bits + place_bits <= 63
    table = np.empty(points, dtype=np.int64)
    done = 0
    for key in keys:
        stretch = slice(done, done + len(key))
        table[stretch] = (key << place_bits) | np.arange(done, done + len(key)) if packs else key
        done += len(key)
    if packs:
        table.sort()
        for start in range(0, points, piece):
            part = table[start : start + piece]
            yield part >> place_bits, part & ((1 << place_bits) - 1)
        return
    order = np.argsort(table, kind="stable").astype(np.uint32 if points < 1 << 32 else np.int64)
    for start in range(0, points, piece):
        part = order[start : start + piece].astype(np.int64)
        yield table[part], part
