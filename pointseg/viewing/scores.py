"""The scores a view shows beside its picture: IoU per class of one scene."""

from __future__ import annotations

import numpy as np

from pointseg.evaluation.scores import confusion_matrix, scores_from_confusion


def class_iou(gt: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    """Intersection over union per class on the points that have a true class.

    Args:
        gt: (N,) true class, -1 where ignored.
        pred: (N,) predicted class, -1 where nothing was predicted (counts as missed).
        num_classes: K.

    Returns:
        (K,) float64, NaN for a class without a point in the truth.
    """
    nothing = num_classes
    matrix = confusion_matrix(gt, np.where(pred < 0, nothing, pred), num_classes + 1)
    return scores_from_confusion(matrix).iou[:num_classes]
