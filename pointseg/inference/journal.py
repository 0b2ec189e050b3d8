"""Results of voxels on disk, and which of them stand there.

A tile's rows reach the disk before the line that says so, and the line holds their checksum: what the journal names is
there after any kill, and what has been damaged since counts as not predicted.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.inference.tile_network import RESULT
from pointseg.inference.tiling import Blocks, Ranges, parts

RESULTS = "results.bin"
FINISHED = "finished.jsonl"


@dataclass(frozen=True)
class Journal:
    """The results of a grid's V voxels.

    Attributes:
        folder: holds ``results.bin``, a ``RESULT`` a voxel, and ``finished.jsonl``, the rows of a tile and their
            checksum a line.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, voxels: int) -> Journal:
        """The journal in a folder, a new one if there is none."""
        size = voxels * RESULT.itemsize
        results = folder / RESULTS
        if not results.is_file() or results.stat().st_size != size:
            (folder / FINISHED).unlink(missing_ok=True)
            with results.open("wb") as file:
                file.truncate(size)
        return cls(folder)

    def keep(self, ranges: Ranges, rows: np.ndarray) -> None:
        """Take in the results of a tile: its stretches of rows, and what to put there."""
        with (self.folder / RESULTS).open("r+b") as file:
            for start, _, part in parts(ranges, rows):
                file.seek(start * RESULT.itemsize)
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            os.fsync(file.fileno())
        with (self.folder / FINISHED).open("a") as file:
            # A line that a kill cut short is no JSON, and a new one begins after it.
            file.write("\n" + json.dumps([ranges, self._checksum(ranges)]) + "\n")

    def finished(self, blocks: Blocks) -> np.ndarray:
        """(B,) which blocks stand in the results."""
        finished = np.zeros(len(blocks.cell), bool)
        path = self.folder / FINISHED
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            for start, stop in self._standing(line):
                first, last = np.searchsorted(blocks.start, (start, stop))
                finished[first:last] = True
        return finished

    def _standing(self, line: bytes) -> Ranges:
        """The stretches that a line names, none if it or one of their rows is not as it was written."""
        try:
            ranges, checksum = json.loads(line)
            # Rows that cannot be there are not asked for: a read makes room for all of them first.
            rows = (self.folder / RESULTS).stat().st_size // RESULT.itemsize
            within = all(0 <= start <= stop <= rows for start, stop in ranges)
            stands = within and self._checksum(ranges) == checksum
        except (ValueError, TypeError, OverflowError, RecursionError):
            return []
        return ranges if stands else []

    def _checksum(self, ranges: Ranges) -> int:
        """Of some rows as they are on the disk, and of which rows they are."""
        checksum = zlib.crc32(json.dumps(ranges).encode())
        with (self.folder / RESULTS).open("rb") as file:
            for start, stop in ranges:
                file.seek(start * RESULT.itemsize)
                checksum = zlib.crc32(file.read((stop - start) * RESULT.itemsize), checksum)
        return checksum
