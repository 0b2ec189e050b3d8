"""Augmentation of one cloud, all of it in this place and all of it drawn from the generator it is given.

This is the view that methods of one view train on, and the weak one of those that compare two. What goes beyond the
source is off by default. docs/augmentation.md shows every setting in a picture.

Source: the released ERDA configurations (Tang et al., NeurIPS 2023): rotation about the vertical, anisotropic scale,
flip of x, jitter, and colour dropped from whole clouds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.data.changes import draw_tint, elastic_displacement, rotation, tilting, tinted
from pointseg.data.setting_checks import require_angle, require_elastic, require_share, require_unit
from pointseg.errors import InputError

COARSEST = 16
"""Voxels along a cell of a MinkUNet's coarsest level: what it makes of a cloud repeats with every such shift."""

ELSEWHERE = 0.25
"""Share of the training clouds whose floor does not stand in the lowest layer of voxels."""


@dataclass(frozen=True)
class AugmentConfig:
    """How a cloud is changed before it is voxelised.

    Attributes:
        rotate: turn by a uniform angle about the vertical axis.
        scale: lowest and highest factor, drawn for each axis apart.
        flip_x: mirror x with probability one half.
        jitter: standard deviation of the noise on each coordinate, metres.
        color_drop: probability that a cloud's colours are all set to zero.
        random_origin: shift the cloud by a uniform part of a voxel on all three axes, and one cloud in four by up to
            ``COARSEST`` whole voxels more. Without it the lowest point of every training cloud lies on a border of the
            voxel grid, while in the stored grids, which are predicted on, it lies anywhere: floors would be cut into
            voxels in a way that training never showed. And where a stray point lies below the floor, the whole cloud
            stands at another phase of the network's strides.
        flip_y: mirror y with probability one half.
        tilt: largest angle of a turn about the x and about the y axis, degrees, either way.
        elastic: pairs of (granularity in metres, magnitude in metres), as in ``StrongConfig``; empty = off.
        color_contrast: largest relative change of the colours' distance from the cloud's mean colour.
        color_shift: largest shift of each channel of the whole cloud, as a share of the full range.
        color_jitter: standard deviation of the noise on each point's channels, as a share of the full range.
        point_drop: share of the points that is dropped, each for itself. Sparsely annotated points always stay.
        mix3d: probability that another scene is laid over this one; see ``pointseg.data.cloud_mixing``.
        cutmix: probability that, where that did not happen, a box is replaced by one of another scene.
    """

    rotate: bool = True
    scale: tuple[float, float] = (0.7, 1.3)
    flip_x: bool = True
    jitter: float = 0.001
    color_drop: float = 0.2
    random_origin: bool = True
    flip_y: bool = False
    tilt: float = 0.0
    elastic: tuple[tuple[float, float], ...] = ()
    color_contrast: float = 0.0
    color_shift: float = 0.0
    color_jitter: float = 0.0
    point_drop: float = 0.0
    mix3d: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"augment.scale is {self.scale}; it must be two factors, 0 < lowest <= highest")
        if self.jitter < 0:
            raise InputError(f"augment.jitter is {self.jitter} metres; it must be 0 or more")
        for name in ("color_drop", "color_contrast", "color_shift", "color_jitter", "mix3d", "cutmix"):
            require_unit(f"augment.{name}", getattr(self, name))
        require_share("augment.point_drop", self.point_drop)
        require_angle("augment.tilt", self.tilt, 90)
        require_elastic("augment.elastic", self.elastic)


def augment(
    coord: np.ndarray, color: np.ndarray | None, config: AugmentConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """An augmented copy of a cloud; rows stay in their order. ``point_drop`` and mixing are not done here.

    Args:
        coord: (N, 3) float32 metres.
        color: (N, 3) uint8; None if the points have none.
        config: what to do. A part that is off draws nothing, so that it leaves the others as they are.
        rng: the only source of randomness.

    Returns:
        coord (N, 3) float32 and color (N, 3) uint8 or None. The middle of the floor is at the origin: all but the
        elastic displacement and the noise are about it.
    """
    # A float32 sum of millions of points stops growing; the mean itself fits again.
    middle = coord[:, :2].mean(0, dtype=np.float64).astype(np.float32)
    centre = np.append(middle, coord[:, 2].min())
    matrix = _drawn_matrix(config, rng)
    moved = coord - centre
    for granularity, magnitude in config.elastic:
        moved += elastic_displacement(moved, granularity, magnitude, rng)
    moved = moved @ matrix.T.astype(np.float32)
    moved += rng.standard_normal(coord.shape, dtype=np.float32) * np.float32(config.jitter)
    return moved.astype(np.float32), _recolored(color, config, rng)


def _drawn_matrix(config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """(3, 3): scale, flips, the turn about the vertical, and the tilt, in this order."""
    matrix = np.diag(rng.uniform(*config.scale, size=3))
    if config.flip_x and rng.random() < 0.5:
        matrix[0] *= -1
    if config.flip_y and rng.random() < 0.5:
        matrix[1] *= -1
    if config.rotate:
        matrix = rotation(rng.uniform(0, 2 * np.pi)) @ matrix
    if config.tilt:
        matrix = tilting(*np.deg2rad(rng.uniform(-config.tilt, config.tilt, size=2))) @ matrix
    return matrix


def _recolored(color: np.ndarray | None, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray | None:
    dropped = rng.random() < config.color_drop
    if color is None:
        return None
    if dropped:
        return np.zeros_like(color)
    if not (config.color_contrast or config.color_shift or config.color_jitter):
        return color
    tint = draw_tint(config.color_contrast, config.color_shift, rng)
    return tinted(color, tint, config.color_jitter, rng)


def random_origin(voxel_size: float, rng: np.random.Generator) -> np.ndarray:
    """A shift of a whole cloud, (3,) float32 metres: the phase of the voxel grid and of the network's coarser ones.

    Up to a voxel on each axis, so that a floor stays in the lowest layer of voxels, where prediction has it. One cloud
    in four is shifted by up to ``COARSEST`` whole voxels more.
    """
    shift = rng.uniform(0, voxel_size, size=3)
    if rng.random() < ELSEWHERE:
        shift += voxel_size * rng.integers(COARSEST, size=3)
    return shift.astype(np.float32)
