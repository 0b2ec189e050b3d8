"""The confusion matrix and the scores that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.errors import InputError


def confusion_matrix(truth: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    """Count (truth, prediction) pairs; elements whose truth is negative are left out.

    Args:
        truth: (M,) integer class, negative = ignore.
        pred: (M,) integer class, 0 to K-1 wherever the truth counts.
        num_classes: K.

    Returns:
        (K, K) int64; rows are the truth, columns the prediction.
    """
    counted = truth >= 0
    rows, columns = truth[counted].astype(np.int64), pred[counted].astype(np.int64)
    for name, ids in (("truth", rows), ("prediction", columns)):
        if len(ids) and (ids.min() < 0 or ids.max() >= num_classes):
            bad = ids.min() if ids.min() < 0 else ids.max()
            raise InputError(f"the {name} holds class {bad}; it must lie in 0..{num_classes - 1} of the class file")
    return np.bincount(rows * num_classes + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Scores:
    """Scores in [0, 1]. A class without an element in the ground truth has no score (NaN) and is in no mean.

    Attributes:
        iou: (K,) intersection over union.
        recall: (K,) share of the class's elements predicted right.
        miou: mean of ``iou``.
        macc: mean of ``recall``.
        oacc: share of all elements predicted right.
    """

    iou: np.ndarray
    recall: np.ndarray
    miou: float
    macc: float
    oacc: float


def scores_from_confusion(matrix: np.ndarray) -> Scores:
    """Scores of a (K, K) confusion matrix with the truth in rows."""
    hit = np.diag(matrix).astype(np.float64)
    truth, pred = matrix.sum(1), matrix.sum(0)
    present = truth > 0
    iou = np.full(len(matrix), np.nan)
    recall = np.full(len(matrix), np.nan)
    iou[present] = hit[present] / (truth + pred - hit)[present]
    recall[present] = hit[present] / truth[present]
    if not present.any():
        return Scores(iou, recall, float("nan"), float("nan"), float("nan"))
    return Scores(iou, recall, float(np.nanmean(iou)), float(np.nanmean(recall)), float(hit.sum() / matrix.sum()))
