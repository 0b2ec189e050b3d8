"""The strong view of a cloud: what is done to it on top of the weak augmentation, before it is voxelised anew.

Methods that compare two views take their targets from the weak one and learn them on this one. Everything is drawn
from the generator that is given, and every setting can be switched off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pointseg.data.changes import draw_tint, elastic_displacement, rotation, tinted
from pointseg.data.setting_checks import require_angle, require_elastic, require_share, require_unit
from pointseg.data.voxel import bounding_box
from pointseg.errors import InputError


@dataclass(frozen=True)
class StrongConfig:
    """How the strong view differs from the weak one.

    Removal comes first, then the shape, then colour; 0 (an empty list for ``elastic``) switches a part off. The
    defaults are moderate choices of this project, except where a source is named.

    Attributes:
        point_drop: share of the points that is dropped, each for itself.
        block_drop: share of the occupied cubic blocks that is dropped whole, so that a voxel has to be told from its
            surroundings. The grid mask of CPCM (Liu et al., ICCV 2023) has 0.75 with blocks of 8 voxels.
        block_size: edge of a block, metres.
        elastic: pairs of (granularity in metres, magnitude in metres), applied one after the other: a displacement of
            the points by a field of smooth noise that varies over that length. The noise is averaged, so a coordinate
            moves by about a tenth of the magnitude (standard deviation). The default is that of published ScanNet and
            S3DIS recipes.
        rotate: largest angle of a further turn about the vertical axis, degrees, either way.
        scale: largest relative change of size, the same on all axes.
        color_contrast: largest relative change of the colours' distance from the cloud's mean colour.
        color_shift: largest shift of each channel of the whole cloud, as a share of the full range.
        color_jitter: standard deviation of the noise on each point's channels, as a share of the full range.
        color_drop: probability that a cloud's colours are all set to zero.
        cutmix: probability that a box of a sample is replaced by one of the next sample of its batch; see
            ``pointseg.data.mixing``. Nothing happens in batches of one sample.
    """

    point_drop: float = 0.2
    block_drop: float = 0.25
    block_size: float = 0.4
    elastic: tuple[tuple[float, float], ...] = ((0.2, 0.4), (0.8, 1.6))
    rotate: float = 10.0
    scale: float = 0.1
    color_contrast: float = 0.3
    color_shift: float = 0.1
    color_jitter: float = 0.05
    color_drop: float = 0.2
    cutmix: float = 0.5

    def __post_init__(self) -> None:
        for name in ("point_drop", "block_drop", "scale"):
            require_share(f"strong.{name}", getattr(self, name))
        for name in ("color_contrast", "color_shift", "color_jitter", "color_drop", "cutmix"):
            require_unit(f"strong.{name}", getattr(self, name))
        if not 0 < self.block_size < np.inf:
            raise InputError(f"strong.block_size is {self.block_size}; it must be a length above 0 in metres")
        require_angle("strong.rotate", self.rotate, 180)
        require_elastic("strong.elastic", self.elastic)


def strengthen(
    coord: np.ndarray, color: np.ndarray | None, floor: float, config: StrongConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A strongly augmented copy of a cloud.

    Args:
        coord: (N, 3) float32 metres, N at least 1.
        color: (N, 3) uint8; None if the points have none.
        floor: z that becomes 0, metres.
        config: what to do.
        rng: the only source of randomness.

    Returns:
        The points that stay, (n,) rising int64 indices into the N, at least one; their coord (n, 3) float32 with the
        floor at z = 0; their color (n, 3) uint8 or None.
    """
    kept = _kept_points(coord, config, rng)
    moved = coord[kept] - np.array([0, 0, floor], np.float32)
    for granularity, magnitude in config.elastic:
        moved += elastic_displacement(moved, granularity, magnitude, rng)
    moved = _turned_and_scaled(moved, config, rng)
    return kept, moved, None if color is None else _recolored(color[kept], config, rng)


def _kept_points(coord: np.ndarray, config: StrongConfig, rng: np.random.Generator) -> np.ndarray:
    stays = rng.random(len(coord), dtype=np.float32) >= config.point_drop
    if config.block_drop:
        stays &= ~in_dropped_blocks(coord, config.block_drop, config.block_size, rng)
    # A cloud of a few points may lose all of them by chance; it then stays whole, because no batch may be empty.
    return np.flatnonzero(stays) if stays.any() else np.arange(len(coord))


def in_dropped_blocks(coord: np.ndarray, share: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """Which points lie in a dropped block, (N,) bool.

    The blocks are cubes of a lattice placed at random. Of the occupied ones as many are dropped as the share says, so
    that each is with that probability, but never all.

    Args:
        coord: (N, 3) metres.
        share: of the occupied blocks, 0 to less than 1.
        size: edge of a block, metres.
        rng: the only source of randomness.
    """
    low, high = bounding_box(coord)
    phase = rng.random(3)
    extent = ((high - low) / size + phase).astype(np.int64) + 1
    cell = ((coord - low) / size + phase).astype(np.int64)
    block = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    occupied = np.unique(block)
    number = min(int(share * len(occupied) + rng.random()), len(occupied) - 1)
    return np.isin(block, rng.choice(occupied, number, replace=False))


def _turned_and_scaled(coord: np.ndarray, config: StrongConfig, rng: np.random.Generator) -> np.ndarray:
    """About the middle of the cloud at floor level, which stays where it is."""
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
    matrix = rotation(angle) * rng.uniform(1 - config.scale, 1 + config.scale)
    centre = np.append(coord[:, :2].mean(0, dtype=np.float64), 0).astype(np.float32)
    return (coord - centre) @ matrix.T.astype(np.float32) + centre


def _recolored(color: np.ndarray, config: StrongConfig, rng: np.random.Generator) -> np.ndarray:
    """Contrast, shift and jitter, or no colour; colours that were dropped already stay dropped."""
    tint = draw_tint(config.color_contrast, config.color_shift, rng)
    if rng.random() < config.color_drop or not color.any():
        return np.zeros_like(color)
    return tinted(color, tint, config.color_jitter, rng)
