"""Whole-scene prediction: one forward pass over the scene's stored voxel grid, carried back to every raw point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pointseg.data.dataset import voxel_features
from pointseg.data.scene import PreparedScene
from pointseg.data.voxel import VoxelGrid
from pointseg.inference.tile_network import require_finite, voxel_logits
from pointseg.methods.base import evaluating


@dataclass(frozen=True)
class ScenePrediction:
    """A prediction for V voxels and the N raw points they came from.

    Attributes:
        grid: the voxel grid predicted on.
        voxel_pred: (V,) int16 class.
        voxel_confidence: (V,) float32, the softmax probability of that class.
        voxel_entropy: (V,) float32 nats, of the softmax; None where only the class and its probability are known.
    """

    grid: VoxelGrid
    voxel_pred: np.ndarray
    voxel_confidence: np.ndarray
    voxel_entropy: np.ndarray | None = None

    @classmethod
    def of(cls, grid: VoxelGrid, probability: np.ndarray) -> ScenePrediction:
        """From the class probabilities (V, K) of a grid's voxels."""
        entropy = -(probability * np.log(np.maximum(probability, np.finfo(np.float32).tiny))).sum(1)
        confidence = probability.max(1).astype(np.float32)
        return cls(grid, probability.argmax(1).astype(np.int16), confidence, np.maximum(entropy, 0).astype(np.float32))

    @property
    def pred(self) -> np.ndarray:
        """(N,) int16 class of every raw point, in file order."""
        return np.asarray(self.voxel_pred[self.grid.inverse])

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float32."""
        return np.asarray(self.voxel_confidence[self.grid.inverse])

    @property
    def entropy(self) -> np.ndarray | None:
        """(N,) float32 nats."""
        return None if self.voxel_entropy is None else np.asarray(self.voxel_entropy[self.grid.inverse])


def predict_scene(
    model: nn.Module,
    scene: PreparedScene,
    *,
    voxel_size: float,
    features: Sequence[str],
    device: torch.device,
    precision: str = "fp32",
) -> ScenePrediction:
    """Predict a prepared scene in one piece, without augmentation or voting.

    Args:
        model: ``inputs -> (features, logits)``; it is put into evaluation mode and left as it was found.
        scene: the scene; its grid of ``voxel_size`` must have been prepared.
        voxel_size: metres.
        features: the network's input features, as in training.
        device: where to run.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.

    Raises:
        InputError: the scene has no stored grid of that size, is damaged, or the network's output is not finite.
    """
    grid = scene.sound_grid(voxel_size)
    position = np.asarray(scene.coord)[grid.point]
    inputs = voxel_features(position, grid.color, float(np.asarray(scene.coord[:, 2]).min()), features)
    with evaluating(model):
        probability = voxel_probabilities(model, grid, inputs, device, precision)
    return ScenePrediction.of(grid, probability)


@torch.no_grad()
def voxel_probabilities(
    model: nn.Module, grid: VoxelGrid, inputs: np.ndarray, device: torch.device, precision: str
) -> np.ndarray:
    """(V, K) float32 class probabilities of a grid's voxels with inputs (V, C); the model is in evaluation mode."""
    share = voxel_logits(model, grid.coord - grid.coord.min(axis=0), inputs, device, precision).float().softmax(1)
    require_finite(share.amax(1))
    return np.asarray(share.cpu().numpy())
