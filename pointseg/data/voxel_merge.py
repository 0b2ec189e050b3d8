"""Points to voxels, a piece at a time: points come in the order of their voxels' keys, finished voxels leave.

The last voxel of a piece stays open until another key arrives, so neither the length of the pieces nor a voxel of
millions of points changes a result: sums are taken point after point, as if there were one piece.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pointseg.data.classes import IGNORED
from pointseg.data.voxel_lattice import Lattice

PIECE = 1 << 15
"""Points handled at once: few enough that what is computed for them stays in the processor's cache."""

_LABEL_BITS = 16
_LABEL_MASK = (1 << _LABEL_BITS) - 1


class VoxelMerger:
    """Merges points, sorted by voxel and within a voxel by index, into voxels.

    Args:
        lattice: Turns keys into voxel coordinates.
        names: What to merge, of ``color``, ``segment`` and ``intensity``.
    """

    def __init__(self, lattice: Lattice, names: frozenset[str]) -> None:
        self._lattice = lattice
        self._names = names
        self._finished = 0
        self._key = self._point = np.empty(0, np.int64)
        self._count = 0
        self._sums = {"color": np.zeros(3), "intensity": np.zeros(1)}
        self._codes = self._votes = np.empty(0, np.int64)

    def add(
        self, key: np.ndarray, index: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Take in the next n >= 1 points.

        Args:
            key: (n,) int64 keys, not falling.
            index: (n,) int64 indices of the points in their cloud.
            values: Their ``color`` (n, 3), ``segment`` (n,), ``intensity`` (n,), those of ``names``.

        Returns:
            The voxel row of each point, and the arrays of the voxels that are now finished under the names of
            ``VoxelGrid``'s attributes.
        """
        if self._count == 0:
            self._key, self._point = key[:1], index[:1]
        # Slot 0 is the open voxel; a piece that does not go on with it begins with slot 1.
        starts = np.flatnonzero(np.concatenate([key[:1] != self._key, key[1:] != key[:-1]]))
        slot = np.zeros(len(key) + 1, dtype=np.int64)
        slot[1:][starts] = 1
        np.cumsum(slot, out=slot)
        rows = slot[1:] + self._finished
        keys = np.concatenate([self._key, key[starts]])
        points = np.concatenate([self._point, index[starts]])
        counts = np.bincount(slot)
        counts[0] += self._count - 1
        sums = {name: self._add_sums(name, slot, values[name]) for name in self._sums if name in self._names}
        codes, votes = self._add_votes(slot[1:], values["segment"]) if "segment" in self._names else (None, None)
        done = len(keys) - 1
        finished = self._voxels(
            keys[:done], points[:done], counts[:done], {k: v[:done] for k, v in sums.items()}, codes, votes
        )
        self._finished += done
        self._key, self._point, self._count = keys[done:], points[done:], int(counts[done])
        self._sums.update({name: total[done] for name, total in sums.items()})
        if codes is not None and votes is not None:
            last = codes >> _LABEL_BITS == done
            self._codes, self._votes = codes[last] & _LABEL_MASK, votes[last]
        return rows, finished

    def close(self) -> dict[str, np.ndarray]:
        """The voxel still open: arrays as ``add`` returns them, of one row, or of none if there were no points."""
        some = min(self._count, 1)
        sums = {name: total[None][:some] for name, total in self._sums.items() if name in self._names}
        counts = np.full(some, self._count)
        return self._voxels(self._key[:some], self._point[:some], counts, sums, self._codes, self._votes)

    def _add_sums(self, name: str, slot: np.ndarray, values: np.ndarray) -> np.ndarray:
        columns = values.reshape(len(values), -1)
        sums = np.empty((int(slot[-1]) + 1, columns.shape[1]))
        weights = np.empty(len(slot))
        for column, carried in enumerate(self._sums[name]):
            weights[0], weights[1:] = carried, columns[:, column]
            sums[:, column] = np.bincount(slot, weights)
        return sums

    def _add_votes(self, slot: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes slot x 2^16 + class, rising, and how many points have them."""
        voting = segment != IGNORED
        code = (slot[voting] << _LABEL_BITS) | segment[voting].astype(np.int64)
        code.sort()
        starts = _changes(code)
        code, votes = code[starts], np.diff(np.append(starts, len(code)))
        if len(self._codes):
            code, votes = np.concatenate([self._codes, code]), np.concatenate([self._votes, votes])
            order = np.argsort(code, kind="stable")
            code, votes = code[order], votes[order]
            starts = _changes(code)
            code, votes = code[starts], np.add.reduceat(votes, starts)
        return code, votes

    def _voxels(
        self,
        keys: np.ndarray,
        points: np.ndarray,
        counts: np.ndarray,
        sums: Mapping[str, np.ndarray],
        codes: np.ndarray | None,
        votes: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        voxels = {"coord": self._lattice.coordinates(keys), "point": points}
        if "color" in sums:
            total = sums["color"].astype(np.int64)
            voxels["color"] = ((2 * total + counts[:, None]) // (2 * counts[:, None])).astype(np.uint8)
        if codes is not None and votes is not None and "segment" in self._names:
            voxels["segment"] = _majority(codes, votes, len(keys))
        if "intensity" in sums:
            voxels["intensity"] = (sums["intensity"][:, 0] / counts).astype(np.float32)
        return voxels


def _majority(codes: np.ndarray, votes: np.ndarray, voxels: int) -> np.ndarray:
    """(V,) int16, the class with most votes in each slot below V, the lower one on a tie, -1 without votes."""
    winner = np.full(voxels, IGNORED, dtype=np.int16)
    inside = codes >> _LABEL_BITS < voxels
    codes, votes = codes[inside], votes[inside]
    if len(codes):
        slot = codes >> _LABEL_BITS
        starts = _changes(slot)
        best = np.maximum.reduceat((votes << _LABEL_BITS) | (_LABEL_MASK - (codes & _LABEL_MASK)), starts)
        winner[slot[starts]] = _LABEL_MASK - (best & _LABEL_MASK)
    return winner


def _changes(values: np.ndarray) -> np.ndarray:
    """Where in sorted values a new one begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]]))
