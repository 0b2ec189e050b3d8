"""What is held of a scene that is too large for memory: an even share, and the points that matter."""

from __future__ import annotations

import numpy as np

from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.scores import label_pairs
from pointseg.viewing.thinning import even_steps, short_count

MAX_HELD = 20_000_000
"""Points of a scene held at a time; of a larger one an even share, and up to as many that matter."""

_EVEN, _WRONG, _ANNOTATED = 0, 1, 2  # why a point is held


class Holding:
    """Collects a scene chunk by chunk and keeps what fits.

    Beside an even share of ``max_points`` every annotated and every wrong point is kept, up to ``max_points`` again.
    Where they are more, every second wrong one is let go, as often as it takes, and then every second annotated one.

    Attributes:
        whole: As ``Cloud.whole``, of all points added; None where all are kept.
    """

    def __init__(self, total: int, max_points: int = MAX_HELD) -> None:
        """``total`` points will be added."""
        self.whole: np.ndarray | None = None
        self._total, self._most, self._seen = total, max_points, 0
        self._pieces: list[dict[str, np.ndarray]] = []
        self._ranks: list[np.ndarray] = []
        self._stride = {_WRONG: 1, _ANNOTATED: 1}

    def add(self, parts: dict[str, np.ndarray]) -> None:
        """The parts of a ``Cloud`` of the next n points; ``coord`` must be among them."""
        n, first = len(parts["coord"]), self._seen
        self._seen += n
        if self._total <= self._most:
            self._pieces.append(parts)
            return
        self._count(parts)
        rank = _ranks(parts, n)
        rank[even_steps(n, self._seen * self._most // self._total - first * self._most // self._total)] = _EVEN
        for level, stride in self._stride.items():
            rank[_all_but_every(stride, rank == level)] = -1
        rows = np.flatnonzero(rank >= 0)
        self._pieces.append({part: values[rows] for part, values in parts.items()})
        self._ranks.append(rank[rows])
        for level in self._stride:
            while self._matter() > self._most and self._matter(level) > 1:
                self._halve(level)

    def parts(self) -> dict[str, np.ndarray]:
        """What was kept, in the order of the scene, with ``Cloud.even``; the collection is empty then."""
        pieces, self._pieces = self._pieces, []
        parts = {part: np.concatenate([piece.pop(part) for piece in pieces]) for part in list(pieces[0])}
        return parts if not self._ranks else parts | {"even": np.concatenate(self._ranks) == _EVEN}

    @property
    def note(self) -> str:
        """What was left out, to follow a name; empty where nothing was."""
        if self._total <= self._most:
            return ""
        thinned = [kind for level, kind in ((_WRONG, "wrong"), (_ANNOTATED, "annotated")) if self._stride[level] > 1]
        more = f", {' and '.join(thinned)} ones thinned too" if thinned else ""
        return f" ({short_count(self._most)} of {short_count(self._seen)} points read{more})"

    def _count(self, parts: dict[str, np.ndarray]) -> None:
        before = [] if self.whole is None else [self.whole]
        rows = np.concatenate([*before, label_pairs(parts.get("gt"), parts.get("pred"), len(parts["coord"]))])
        pairs, place = np.unique(rows[:, :2], axis=0, return_inverse=True)
        self.whole = np.column_stack([pairs, np.bincount(place.ravel(), rows[:, 2]).astype(np.int64)])

    def _matter(self, *levels: int) -> int:
        return sum(int((rank > 0).sum() if not levels else np.isin(rank, levels).sum()) for rank in self._ranks)

    def _halve(self, level: int) -> None:
        self._stride[level] *= 2
        for k, rank in enumerate(self._ranks):
            rows = np.flatnonzero(~_all_but_every(2, rank == level))
            self._ranks[k] = rank[rows]
            self._pieces[k] = {part: values[rows] for part, values in self._pieces[k].items()}


def within_memory(cloud: Cloud, max_points: int = MAX_HELD) -> Cloud:
    """The cloud, or of a larger one what a ``Holding`` keeps; its name says so, counts and scores stay the whole's."""
    if cloud.num_points <= max_points:
        return cloud
    kept = Holding(cloud.num_points, max_points)
    arrays = {part: value for part, value in vars(cloud).items() if isinstance(value, np.ndarray) and part != "whole"}
    kept.add(arrays)
    return Cloud(**kept.parts(), name=cloud.name + kept.note, offset=cloud.offset, whole=kept.whole)


def held(num_points: int, annotated: np.ndarray | None, max_points: int = MAX_HELD) -> np.ndarray | None:
    """The points (M,) of a large scene without predictions to hold: an even share and every annotated one; None = all.

    Args:
        num_points: N.
        annotated: (N,) class, -1 where not annotated.
        max_points: The share.
    """
    if num_points <= max_points:
        return None
    even = even_steps(num_points, max_points)
    return even if annotated is None else np.union1d(even, np.flatnonzero(annotated != IGNORED))


def _ranks(parts: dict[str, np.ndarray], count: int) -> np.ndarray:
    """(n,) int8: what makes a point matter, -1 for nothing."""
    rank = np.full(count, -1, np.int8)
    if "gt" in parts and "pred" in parts:
        rank[(parts["gt"] != IGNORED) & (parts["gt"] != parts["pred"])] = _WRONG
    if "annotated" in parts:
        rank[parts["annotated"] != IGNORED] = _ANNOTATED
    return rank


def _all_but_every(stride: int, chosen: np.ndarray) -> np.ndarray:
    """(n,) bool: the ``chosen`` (n,) but each ``stride``-th of them."""
    gone = chosen.copy()
    gone[np.flatnonzero(chosen)[::stride]] = False
    return gone
