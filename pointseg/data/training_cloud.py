"""Points on their way to a training sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pointseg.data.classes import IGNORED


@dataclass(frozen=True)
class TrainingCloud:
    """N points, of one scene or of several.

    Attributes:
        coord: (N, 3) float32 metres.
        color: (N, 3) uint8; None if there is none.
        segment: (N,) whole numbers, ground truth or -1; None if there is none.
        annotation: (L,) indices of annotated points and (L,) their classes; None = ``segment`` is the annotation.
        floor: z above which heights count, metres.
        source: (N,) int64, raw index of each point in the scene it came from; None = 0, 1, 2, ...
    """

    coord: np.ndarray
    color: np.ndarray | None
    segment: np.ndarray | None
    annotation: tuple[np.ndarray, np.ndarray] | None
    floor: float
    source: np.ndarray | None = None

    @property
    def annotated(self) -> bool:
        """Whether any point has a class to learn from."""
        label = self.segment if self.annotation is None else self.annotation[1]
        return label is not None and bool((label != IGNORED).any())

    def raw_index(self) -> np.ndarray:
        """(N,) int64: ``source``, written out."""
        return np.arange(len(self.coord)) if self.source is None else self.source

    def take(self, points: np.ndarray) -> TrainingCloud:
        """The cloud of some points, given by rising indices."""
        return TrainingCloud(
            coord=self.coord[points],
            color=None if self.color is None else self.color[points],
            segment=None if self.segment is None else self.segment[points],
            annotation=None if self.annotation is None else _within(self.annotation, points),
            floor=self.floor,
            source=self.raw_index()[points],
        )

    def thinned(self, share: float, rng: np.random.Generator) -> TrainingCloud:
        """Without a share of the points, each dropped for itself. Sparsely annotated ones stay: they are few, and a
        sample without any would teach nothing. A cloud that would lose all its points stays whole.
        """
        stays = rng.random(len(self.coord), dtype=np.float32) >= share
        if self.annotation is not None:
            stays[self.annotation[0]] = True
        return self.take(np.flatnonzero(stays)) if stays.any() else self

    def moved(self, shift: np.ndarray) -> TrainingCloud:
        """Shifted by (3,) metres, together with its floor."""
        step = shift.astype(np.float32)
        return replace(self, coord=self.coord + step, floor=float(np.float32(self.floor) + step[2]))

    def joined(self, other: TrainingCloud) -> TrainingCloud:
        """This cloud's points and then another's, above this one's floor. What one of them lacks, both lack."""
        annotation = None
        if self.annotation is not None and other.annotation is not None:
            index = np.concatenate([self.annotation[0], other.annotation[0] + len(self.coord)])
            annotation = index, np.concatenate([self.annotation[1], other.annotation[1]])
        return TrainingCloud(
            coord=np.concatenate([self.coord, other.coord]),
            color=_both(self.color, other.color),
            segment=_both(self.segment, other.segment),
            annotation=annotation,
            floor=self.floor,
            source=_both(self.raw_index(), other.raw_index()),
        )


def _within(annotation: tuple[np.ndarray, np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The annotations of the given rising points, with indices among these."""
    index, label = annotation
    there = np.isin(index, points)
    return np.searchsorted(points, index[there]), label[there]


def _both(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])
