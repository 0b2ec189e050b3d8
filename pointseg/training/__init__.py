"""The training loop, recipes, checkpoints and run folders."""

from pointseg.training.config import TrainConfig
from pointseg.training.loop import train
from pointseg.training.recipe import load_recipe
from pointseg.training.run import Run

__all__ = ["Run", "TrainConfig", "load_recipe", "train"]
