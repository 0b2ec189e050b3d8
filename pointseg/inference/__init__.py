"""From a trained network to a class and a confidence for every raw point."""

from pointseg.inference.model_folder import ModelSpec, save_model
from pointseg.inference.predict import ScenePrediction, predict_scene
from pointseg.inference.predict_file import predict_file
from pointseg.inference.predictor import CloudPrediction, Predictor
from pointseg.inference.voting import predict_by_votes

__all__ = [
    "CloudPrediction",
    "ModelSpec",
    "Predictor",
    "ScenePrediction",
    "predict_by_votes",
    "predict_file",
    "predict_scene",
    "save_model",
]
