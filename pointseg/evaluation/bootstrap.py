"""How sure a mIoU is: bootstrap over scenes, which are what a split is a sample of.

Points of one scene hang together, so scenes are drawn with replacement, their confusion matrices pooled, and the score
taken of each pool. Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pointseg.errors import InputError

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A score with its percentile interval.

    Attributes:
        value: of all scenes.
        low, high: between which ``LEVEL`` of the resamples lie; NaN with fewer than two scenes.
    """

    value: float
    low: float
    high: float


def miou_interval(matrices: Mapping[str, np.ndarray], *, seed: int = 0) -> Interval:
    """The mIoU of scenes pooled, and its interval.

    Args:
        matrices: scene -> (K, K) confusion matrix, truth in rows.
        seed: of the resamples.
    """
    return _interval(*_miou(_sums(matrices), seed), len(matrices))


def miou_difference(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], *, seed: int = 0) -> Interval:
    """mIoU of ``second`` minus that of ``first``, both taken on the same scenes in every resample.

    Raises:
        InputError: they are not of the same scenes.
    """
    if only := sorted(first.keys() ^ second.keys()):
        raise InputError(
            f"{len(only)} scenes were scored by one run alone ({only[0]} for one), so the runs cannot be compared in "
            "pairs; score both on the same splits"
        )
    value_a, resampled_a = _miou(_sums(first), seed)
    value_b, resampled_b = _miou(_sums({name: second[name] for name in first}), seed)
    return _interval(value_b - value_a, resampled_b - resampled_a, len(first))


def _sums(matrices: Mapping[str, np.ndarray]) -> np.ndarray:
    """(S, 3, K) float64: hits, true and predicted elements of each scene. It is all that IoU needs."""
    stack = [np.stack([np.diag(matrix), matrix.sum(1), matrix.sum(0)]) for matrix in matrices.values()]
    return np.stack(stack).astype(np.float64)


def _miou(sums: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """mIoU of all scenes' (S, 3, K) sums, and (R,) of each resample, always over the same classes.

    A class that a resample lacks keeps the IoU it has in all scenes: left out, rare classes, which are mostly bad ones,
    would raise the mean by being absent. Equal seeds draw equal scenes.
    """
    scenes = len(sums)
    whole = _iou(sums.sum(0))
    known = np.isfinite(whole)
    if not known.any():
        return float("nan"), np.full(RESAMPLES, np.nan)
    times = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), size=RESAMPLES)
    resampled = _iou((times.astype(np.float64) @ sums.reshape(scenes, -1)).reshape(RESAMPLES, *sums.shape[1:]))
    filled = np.where(np.isfinite(resampled), resampled, whole)
    return float(whole[known].mean()), filled[:, known].mean(1)


def _iou(sums: np.ndarray) -> np.ndarray:
    """(..., K) IoU of (..., 3, K) sums; NaN for a class that is not in the truth."""
    hit, truth, pred = np.moveaxis(sums, -2, 0)
    return np.where(truth > 0, hit / np.where(truth > 0, truth + pred - hit, 1), np.nan)


def _interval(value: float, resampled: np.ndarray, scenes: int) -> Interval:
    if scenes < 2:
        return Interval(value, float("nan"), float("nan"))
    outside = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled, [outside, 100 - outside])
    return Interval(value, float(low), float(high))
