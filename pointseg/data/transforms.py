"""Augmentation of one cloud, all of it in this place and all of it drawn from the generator it is given.

Source: the released ERDA configurations (Tang et al., NeurIPS 2023): rotation about the vertical, anisotropic scale,
flip of x, jitter, and colour dropped from whole clouds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.errors import InputError


@dataclass(frozen=True)
class AugmentConfig:
    """How a cloud is changed before it is voxelised.

    Attributes:
        rotate: turn by a uniform angle about the vertical axis.
        scale: lowest and highest factor, drawn for each axis apart.
        flip_x: mirror x with probability one half.
        jitter: standard deviation of the noise on each coordinate, metres.
        color_drop: probability that a cloud's colours are all set to zero.
        random_origin: shift the cloud by a uniform part of a voxel on all three axes. Without it the lowest point of
            every training cloud lies on a border of the voxel grid, while in the stored grids, which are predicted
            on, it lies anywhere: floors would be cut into voxels in a way that training never showed.
    """

    rotate: bool = True
    scale: tuple[float, float] = (0.7, 1.3)
    flip_x: bool = True
    jitter: float = 0.001
    color_drop: float = 0.2
    random_origin: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"augment.scale is {self.scale}; it must be two factors, 0 < lowest <= highest")
        if self.jitter < 0:
            raise InputError(f"augment.jitter is {self.jitter} metres; it must be 0 or more")
        if not 0 <= self.color_drop <= 1:
            raise InputError(f"augment.color_drop is {self.color_drop}; it must be a probability, 0 to 1")


def augment(
    coord: np.ndarray, color: np.ndarray | None, config: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """An augmented copy of a cloud; rows stay in their order.

    Args:
        coord: (N, 3) float32 metres.
        color: (N, 3) uint8; None if the points have none.
        config: what to do.
        rng: the only source of randomness.

    Returns:
        coord (N, 3) float32 and color (N, 3) uint8 or None. The lowest z stays at the floor: scaling is about it.
    """
    centre = np.append(coord[:, :2].mean(0), coord[:, 2].min())
    matrix = np.diag(rng.uniform(*config.scale, size=3))
    if config.flip_x and rng.random() < 0.5:
        matrix[0] *= -1
    if config.rotate:
        matrix = rotation(rng.uniform(0, 2 * np.pi)) @ matrix
    moved = (coord - centre) @ matrix.T.astype(np.float32)
    moved += rng.standard_normal(coord.shape, dtype=np.float32) * np.float32(config.jitter)
    dropped = rng.random() < config.color_drop
    return moved.astype(np.float32), np.zeros_like(color) if dropped and color is not None else color


def rotation(angle: float) -> np.ndarray:
    """The matrix (3, 3) of a turn by ``angle`` radians about the vertical axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def random_origin(voxel_size: float, rng: np.random.Generator) -> np.ndarray:
    """A shift of a whole cloud, (3,) float32 metres, by up to one voxel on each axis: the phase of the voxel grid."""
    return rng.uniform(0, voxel_size, size=3).astype(np.float32)
