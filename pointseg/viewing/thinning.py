"""Keeping a cloud within a budget of points without losing the ones that matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.data.morton import Morton
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud

_SEED = 0
_BITS = 16  # per axis of the space-filling curve


@dataclass(frozen=True)
class Selection:
    """The points a view shows.

    Attributes:
        index: (M,) int64 point numbers, in the order of a space-filling curve.
        note: what was left out, as a sentence for the reader; empty when nothing was.
    """

    index: np.ndarray
    note: str


def select_points(cloud: Cloud, max_points: int) -> Selection:
    """At most ``max_points`` points: annotated ones first, then wrong ones, then the rest evenly.

    Where annotated or wrong points alone exceed the budget, they are thinned evenly and the note says so. Evenly
    means at equal steps along a Morton curve, so every region keeps its share of points.

    Raises:
        InputError: if ``max_points`` is below 1.
    """
    if max_points < 1:
        raise InputError(f"max_points must be at least 1, got {max_points}.")
    along = np.argsort(morton_codes(cloud.coord), kind="stable")
    if cloud.num_points <= max_points:
        return Selection(along, "")
    error = cloud.error
    rank = np.zeros(cloud.num_points, dtype=np.int8)
    if error is not None:
        rank[error == 1] = 1
    if cloud.annotated is not None:
        rank[cloud.annotated != IGNORED] = 2
    rank = rank[along]
    chosen: list[np.ndarray] = []
    kept: list[str] = []
    left = max_points
    for level, kind in ((2, "annotated"), (1, "wrong"), (0, "other")):
        members = np.flatnonzero(rank == level)
        take = min(len(members), left)
        chosen.append(members[even_steps(len(members), take)])
        left -= take
        if level > 0 and len(members):
            kept.append(
                f"all {len(members):,} {kind}" if take == len(members) else f"{take:,} of {len(members):,} {kind}"
            )
    first = f"{' and '.join(kept)}, the rest evenly thinned" if kept else "evenly thinned"
    if (rank == 1).any():
        first += "; wrong points look denser than they are"
    note = f"showing {short_count(max_points)} of {short_count(cloud.total_points)} points: {first}"
    return Selection(along[np.sort(np.concatenate(chosen))], note)


def morton_codes(coord: np.ndarray) -> np.ndarray:
    """(N,) int64 places along a Morton curve over the bounding cube of ``coord`` (N, 3)."""
    if len(coord) == 0:
        return np.zeros(0, dtype=np.int64)
    low = coord.min(axis=0).astype(np.float64)
    size = max(float(np.ptp(coord, axis=0).max()), 1e-9)
    cell = np.clip((coord - low) / size * 2**_BITS, 0, 2**_BITS - 1).astype(np.int64)
    return Morton([_BITS] * 3).keys(cell)


def even_steps(count: int, take: int) -> np.ndarray:
    """``take`` of ``range(count)``, one from each of as many equal stretches, at a random place in it.

    A fixed place would beat against the regular order in which scanners and grids lay down points.
    """
    if take == 0:
        return np.zeros(0, dtype=np.int64)
    edges = np.arange(take + 1, dtype=np.int64) * count // take
    return edges[:-1] + (np.random.default_rng(_SEED).random(take) * np.diff(edges)).astype(np.int64)


def short_count(count: int) -> str:
    """A number of points for people: "950" or "2.0 M"."""
    return f"{count / 1e6:.1f} M" if count >= 1_000_000 else f"{count:,}"
