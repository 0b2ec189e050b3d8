"""Multi-view voting: a scene predicted turned, mirrored and scaled, and the class probabilities averaged.

Each view voxelises the raw points anew. A voxel of the stored grid gets, from every view, the probabilities of the
voxel that holds its representative raw point there, so memory stays at V x K however many views there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pointseg.data.changes import rotation
from pointseg.data.dataset import voxel_features
from pointseg.data.scene import PreparedScene
from pointseg.data.voxel import voxelize
from pointseg.errors import InputError
from pointseg.inference.predict import ScenePrediction, predict_scene, voxel_probabilities
from pointseg.methods.base import evaluating

SCALES = (1.0, 0.95, 1.05)


@dataclass(frozen=True)
class View:
    """How a scene is looked at.

    Attributes:
        angle: turn about the vertical, degrees.
        mirrored: whether x is mirrored, before the turn.
        scale: factor on all axes.
    """

    angle: float
    mirrored: bool
    scale: float

    def of(self, coord: np.ndarray) -> np.ndarray:
        """The points (N, 3) as seen in this view, float32 metres, about the middle of the floor."""
        centre = np.append((coord[:, :2].min(0) + coord[:, :2].max(0)) / 2, coord[:, 2].min())
        matrix = rotation(np.deg2rad(self.angle)) @ np.diag([-1.0 if self.mirrored else 1.0, 1.0, 1.0])
        return ((coord - centre) @ (self.scale * matrix).T).astype(np.float32)


def views(votes: int) -> Iterator[View]:
    """The first views of one endless list: more votes only add to fewer. The first is the scene as it is.

    Angles halve the largest gaps (0, 180, 90, 270, 45, ...), every other pair is mirrored, and scales take turns.

    Raises:
        InputError: fewer than one.
    """
    if votes < 1:
        raise InputError(f"{votes} votes were asked for; there must be at least 1, which is the scene as it is")
    for number in range(votes):
        bits = f"{number:b}"[::-1]
        angle = 360 * int(bits, 2) / 2 ** len(bits)
        yield View(angle, number // 2 % 2 == 1, SCALES[number % len(SCALES)])


def predict_by_votes(
    model: nn.Module,
    scene: PreparedScene,
    *,
    votes: int,
    voxel_size: float,
    features: Sequence[str],
    device: torch.device,
    precision: str = "fp32",
) -> ScenePrediction:
    """Predict a prepared scene in several views; with one vote exactly what ``predict_scene`` says.

    Args:
        model: ``inputs -> (features, logits)``; it is put into evaluation mode and left as it was found.
        scene: the scene; its grid of ``voxel_size`` must have been prepared.
        votes: number of views.
        voxel_size: metres.
        features: the network's input features, as in training.
        device: where to run.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.

    Returns:
        The prediction on the stored grid; the confidence is the mean probability of the class.

    Raises:
        InputError: the scene has no stored grid of that size, or fewer than one vote.
    """
    if votes == 1:
        return predict_scene(model, scene, voxel_size=voxel_size, features=features, device=device, precision=precision)
    stored, raw = scene.sound_grid(voxel_size), np.asarray(scene.coord)
    total = 0
    with evaluating(model):
        for number, view in enumerate(views(votes)):
            coord = raw if number == 0 else view.of(raw)
            grid = stored if number == 0 else voxelize(coord, voxel_size, color=scene.color)
            inputs = voxel_features(coord[grid.point], grid.color, float(coord[:, 2].min()), features)
            share = voxel_probabilities(model, grid, inputs, device, precision)
            total = total + share[grid.inverse[stored.point]]
    return ScenePrediction.of(stored, np.asarray(total) / votes)
