"""The scores a view shows beside its picture: IoU per class of one scene."""

from __future__ import annotations

import numpy as np


def class_iou(gt: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    """Intersection over union per class on the points that have a true class.

    Args:
        gt: (N,) true class, -1 where ignored.
        pred: (N,) predicted class, -1 where nothing was predicted (counts as missed).
        num_classes: K.

    Returns:
        (K,) float64, NaN for a class without a point in the truth, as in ``pointseg.evaluation``.
    """
    known = gt >= 0
    truth, guess = gt[known].astype(np.int64), pred[known].astype(np.int64)
    hit = np.bincount(truth[truth == guess], minlength=num_classes)
    present = np.bincount(truth, minlength=num_classes)
    union = present + np.bincount(guess[guess >= 0], minlength=num_classes) - hit
    return np.divide(hit, union, out=np.full(num_classes, np.nan), where=present > 0)
