"""From a trained network to a class and a confidence for every raw point."""

from pointseg.inference.predict import ScenePrediction, predict_scene

__all__ = ["ScenePrediction", "predict_scene"]
