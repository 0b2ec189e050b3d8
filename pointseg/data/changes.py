"""The single changes that augmentation is made of, for both views. Everything is drawn from the given generator."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

NOISE_NODES = 32
"""Nodes an axis of the elastic noise lattice, which repeats itself beyond them: its cost stays that of a small room."""


def rotation(angle: float) -> np.ndarray:
    """The matrix (3, 3) of a turn by ``angle`` radians about the vertical axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def tilting(about_x: float, about_y: float) -> np.ndarray:
    """The matrix (3, 3) of a turn about the x axis and then one about the y axis, radians."""
    cos_x, sin_x, cos_y, sin_y = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    turn_x = np.array([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
    return np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]]) @ turn_x


def elastic_displacement(
    coord: np.ndarray, granularity: float, magnitude: float, rng: np.random.Generator
) -> np.ndarray:
    """The displacement of each point by a field of smooth noise, (N, 3) float32 metres.

    Normal noise on the nodes of a lattice is averaged twice over 3 x 3 x 3 nodes and interpolated linearly in between,
    as in the elastic distortion of the published sparse-convolution recipes, whose settings therefore carry over. Here
    the lattice has a fixed number of nodes and repeats itself (every 6.4 m for a granularity of 0.2 m), so that its
    cost does not grow with the cloud, and no noise is lost at its border.

    Args:
        coord: (N, 3) float32 metres.
        granularity: distance of the nodes, metres.
        magnitude: factor on the averaged noise, metres.
        rng: the only source of randomness.
    """
    noise = rng.standard_normal((3, NOISE_NODES, NOISE_NODES, NOISE_NODES), dtype=np.float32)
    for _ in range(2):
        noise = ndimage.uniform_filter(noise, size=(1, 3, 3, 3), mode="wrap")
    place = (coord / np.float32(granularity)).T
    moves = [ndimage.map_coordinates(axis, place, order=1, mode="grid-wrap", output=np.float32) for axis in noise]
    return np.stack(moves, axis=1) * np.float32(magnitude)


def draw_tint(contrast: float, shift: float, rng: np.random.Generator) -> tuple[np.float32, np.ndarray]:
    """How a cloud's colours change as a whole.

    Args:
        contrast: largest relative change of the colours' distance from their mean.
        shift: largest shift of a channel, as a share of the full range.
        rng: the only source of randomness.

    Returns:
        The factor on that distance, and the shift of each channel, (3,) float32 in 0..255.
    """
    factor = np.float32(rng.uniform(1 - contrast, 1 + contrast))
    return factor, (255 * rng.uniform(-shift, shift, size=3)).astype(np.float32)


def tinted(
    color: np.ndarray, tint: tuple[np.float32, np.ndarray], jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Colours with their contrast and channels changed, and noise on each point's channels.

    Args:
        color: (N, 3) uint8.
        tint: of ``draw_tint``.
        jitter: standard deviation of the noise, as a share of the full range.
        rng: the only source of randomness.
    """
    factor, shift = tint
    mean = color.mean(0, dtype=np.float64).astype(np.float32)
    changed = (color - mean) * factor + (mean + shift)
    if jitter:
        changed += rng.standard_normal(color.shape, dtype=np.float32) * np.float32(255 * jitter)
    return np.rint(changed).clip(0, 255).astype(np.uint8)
