"""Scores from one K x K confusion matrix, on raw points and on voxels."""

from pointseg.evaluation.evaluate import Evaluation, evaluate_scenes
from pointseg.evaluation.scores import Scores, confusion_matrix, scores_from_confusion

__all__ = ["Evaluation", "Scores", "confusion_matrix", "evaluate_scenes", "scores_from_confusion"]
