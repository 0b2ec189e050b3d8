"""Pictures of what a network predicts, on the first scenes that an evaluation comes across."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pointseg.data.classes import Classes
from pointseg.data.scene import PreparedScene
from pointseg.inference.predict import ScenePrediction
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.figure import draw_scene
from pointseg.viewing.scores import label_pairs
from pointseg.viewing.thinning import even_steps
from pointseg.viewing.thumbnail import mesh_thumbnail

SCENES = 1
"""How many scenes are kept."""

WIDTH = 1000
"""Pixels of a picture."""

MAX_POINTS = 500_000
"""Points kept of a scene: several for every pixel of a panel."""


class PredictionPictures:
    """Keeps the newest predictions of up to ``SCENES`` scenes and draws them beside colour, truth and error.

    Args:
        classes: of the run.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.clouds: dict[str, Cloud] = {}

    def look(self, scene: PreparedScene, prediction: ScenePrediction) -> None:
        """Take in the prediction of a scene, if it is one of those kept."""
        name = f"{scene.split}/{scene.name}"
        if name not in self.clouds and len(self.clouds) >= SCENES:
            return
        count, pred = scene.num_points, prediction.pred
        index = np.arange(count) if count <= MAX_POINTS else even_steps(count, MAX_POINTS)
        self.clouds[name] = Cloud(
            coord=np.asarray(scene.coord)[index],
            color=None if scene.color is None else np.asarray(scene.color)[index],
            gt=None if scene.segment is None else np.asarray(scene.segment)[index],
            pred=pred[index],
            name=name,
            # The scores beside the picture are those of all points.
            whole=None if len(index) == count else label_pairs(scene.segment, pred, count),
        )

    def thumbnails(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Small clouds in the colours of the prediction, for ``Tracker.thumbnails``."""
        return {name: mesh_thumbnail(cloud, self.classes, "pred") for name, cloud in self.clouds.items()}

    def draw(self) -> dict[str, Image.Image]:
        """The pictures, by ``split/scene``."""
        return {name: draw_scene(cloud, self.classes, width=WIDTH) for name, cloud in self.clouds.items()}
