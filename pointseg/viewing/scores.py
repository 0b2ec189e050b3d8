"""The scores a view shows beside its picture: IoU per class of one scene."""

from __future__ import annotations

import numpy as np

from pointseg.evaluation.scores import confusion_matrix, scores_from_confusion
from pointseg.viewing.cloud import Cloud


def cloud_iou(cloud: Cloud, num_classes: int) -> np.ndarray | None:
    """(K,) IoU per class of the scene that a cloud shows, also where it is a share of it; None without two labels."""
    if cloud.gt is None or cloud.pred is None:
        return None
    if cloud.whole is None:
        return class_iou(cloud.gt, cloud.pred, num_classes)
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    gt, pred, points = cloud.whole[cloud.whole[:, 0] >= 0].T
    np.add.at(matrix, (gt, np.where(pred < 0, num_classes, pred)), points)
    return scores_from_confusion(matrix).iou[:num_classes]


def label_pairs(gt: np.ndarray | None, pred: np.ndarray | None, num_points: int) -> np.ndarray:
    """``Cloud.whole`` of labels (N,), each of which may be absent."""
    nothing = np.full(num_points, -1)
    first, second = (nothing if ids is None else ids.astype(np.int64) for ids in (gt, pred))
    keys, points = np.unique(((first + 1) << 32) + second + 1, return_counts=True)
    return np.stack([(keys >> 32) - 1, (keys & 0xFFFFFFFF) - 1, points], axis=1)


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
