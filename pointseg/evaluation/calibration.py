"""Calibration of the points' confidences, from a histogram, so that memory does not grow with the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """A histogram of confidences in ``BINS`` bins of equal width, open at their lower edge.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.

    Attributes:
        points: (BINS,) int64 points in each bin.
        hits: (BINS,) int64 of them, whose class is right.
        confidence: (BINS,) float64 sum of their confidences.
    """

    points: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, confidence: np.ndarray, hit: np.ndarray) -> Calibration:
        """The histogram of points of confidence (N,), 0 to 1, whose class is right where ``hit`` (N,)."""
        row = (np.ceil(confidence * BINS).astype(np.int64) - 1).clip(0, BINS - 1)
        return cls(
            np.bincount(row, minlength=BINS),
            np.bincount(row[hit], minlength=BINS),
            np.bincount(row, confidence, minlength=BINS),
        )

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(self.points + other.points, self.hits + other.hits, self.confidence + other.confidence)

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; NaN without a point."""
        total = int(self.points.sum())
        return float(np.abs(self.hits - self.confidence).sum() / total) if total else float("nan")

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean confidence and accuracy of each bin, (BINS,) each; NaN where a bin is empty."""
        points = np.where(self.points > 0, self.points, np.nan)
        return self.confidence / points, self.hits / points
