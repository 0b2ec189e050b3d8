"""Scores from one K x K confusion matrix, on raw points and on voxels, how sure they are, and benchmark files."""

from pointseg.evaluation.bootstrap import Interval, miou_difference, miou_interval
from pointseg.evaluation.calibration import Calibration
from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes, pooled
from pointseg.evaluation.scores import Scores, confusion_matrix, scores_from_confusion
from pointseg.evaluation.submission import check_submission, write_submission

__all__ = [
    "Calibration",
    "Evaluation",
    "Interval",
    "Scores",
    "check_submission",
    "confusion_matrix",
    "evaluate_scenes",
    "miou_difference",
    "miou_interval",
    "pooled",
    "scores_from_confusion",
    "write_submission",
]
