"""Results of voxels carried back to points, on disk and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.npy import map_npy, mapped_slices
from pointseg.data.voxel_files import ArrayWriter, read_rows
from pointseg.inference.tile_network import RESULT

_PIECE = 1 << 18
_GATHER_BYTES = 44
"""What looking up a point's result takes: its row and result, the order of the rows, and the rows in it."""

_SHARE = 4
"""The part of the memory that is taken for it: what the network leaves behind is more than what there was before."""

OnPoints = Callable[[int], None]
"""Told how many points have been handed out."""


def write_point_results(
    results: Path, inverse: Callable[[int], Iterator[np.ndarray]], folder: Path, memory: int, on_points: OnPoints
) -> tuple[np.ndarray, ...]:
    """Give every point its voxel's result.

    Points are taken as many at a time as memory allows, and the results read through once for them: mapped and looked
    up in any order, the pages of all of them would come to count as the process's memory.

    Args:
        results: a ``RESULT`` a voxel.
        inverse: goes through the (N,) voxel rows of the points, at most so many at a time.
        folder: an existing one, for a .npy file of each field of ``RESULT``.
        memory: bytes to stay below, at least a few MB; what the process holds already is not in it.
        on_points: for a progress bar.

    Returns:
        A ``Column`` of N elements for each field.
    """
    files = {name: folder / f"{name}.npy" for name in RESULT.names or ()}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ArrayWriter(path, RESULT[name].type, 1)) for name, path in files.items()}
        for rows in inverse(memory // _SHARE // _GATHER_BYTES):
            points = _looked_up(results, rows)
            for name, writer in writers.items():
                writer.append(points[name])
    columns = [Column.of(path) for path in files.values()]
    columns[0].on_points = on_points
    return tuple(columns)


def _looked_up(results: Path, rows: np.ndarray) -> np.ndarray:
    """The (n,) results of some rows."""
    order = np.argsort(rows)
    wanted, found, first = rows[order], np.empty(len(rows), RESULT), 0
    for piece in read_rows(results, RESULT, 1, _PIECE):
        start, stop = np.searchsorted(wanted, (first, first + len(piece)))
        found[order[start:stop]] = piece[wanted[start:stop] - first]
        first += len(piece)
    return found


class Column(np.memmap):
    """A mapped array that is read from its beginning to its end: its pages are given back as it is gone through.

    Slices are copies therefore. Whatever else NumPy does with the array maps all of it.
    """

    on_points: OnPoints | None = None

    @classmethod
    def of(cls, path: Path) -> Column:
        """A .npy file of one dimension, not empty."""
        return map_npy(path).view(cls)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            rows = np.asarray(self)[index]
            copies = [part.copy() for _, part in mapped_slices(rows, max(len(rows), 1))]
            self._tell(index.stop or len(self))
            return copies[0] if copies else rows.copy()
        if isinstance(index, int) and index % _PIECE == 0:
            for _ in mapped_slices(np.asarray(self)[:1], 1):
                self._tell(index)
        return np.asarray(self)[index]

    def _tell(self, points: int) -> None:
        if self.on_points is not None:
            self.on_points(min(points, len(self)))
