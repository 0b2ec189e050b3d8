"""Colours of points on painted patches: the paint, its texture, the room's light, the surface's own noise."""

from __future__ import annotations

import numpy as np

from data_prep.synthetic.surfaces import BOOKS, CARPET, PRINT, TILE, WOOD, Surfaces


def point_colors(
    rng: np.random.Generator,
    surfaces: Surfaces,
    patch: np.ndarray,
    st: np.ndarray,
    coord: np.ndarray,
    normal: np.ndarray,
) -> np.ndarray:
    """Colours before any camera saw them.

    Args:
        rng: Draws the light and the noise.
        surfaces: The room's M patches.
        patch: (N,) patch of each point.
        st: (N, 2) position on its patch, 0 to 1.
        coord: (N, 3) metres.
        normal: (N, 3) unit.

    Returns:
        (N, 3) float, about 0 to 255 and not yet clipped.
    """
    lengths = np.stack([np.linalg.norm(surfaces.a, axis=1), np.linalg.norm(surfaces.b, axis=1)], axis=1)
    uv = st * lengths[patch]
    color = surfaces.color[patch] * _pattern(surfaces, patch, uv)
    color *= _light(rng, coord, normal)[:, None]
    return color + rng.normal(0.0, 7.0, (len(color), 1)) + rng.normal(0.0, 3.0, color.shape)


def _pattern(surfaces: Surfaces, patch: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(N, 3) factors; each texture varies with the place on the patch in metres."""
    factor = np.ones((len(patch), 3))
    texture = surfaces.texture[patch]
    phase = _hash(patch, 0)
    u, v = uv[:, 0], uv[:, 1]
    rows = np.flatnonzero(texture == WOOD)
    grain = np.sin(2 * np.pi * (9 * v[rows] + phase[rows]) + 1.5 * np.sin(3 * u[rows]))
    factor[rows] *= (1 + 0.09 * grain)[:, None]
    rows = np.flatnonzero(texture == TILE)
    seam = (np.abs(u[rows] % 0.6 - 0.3) > 0.285) | (np.abs(v[rows] % 0.6 - 0.3) > 0.285)
    factor[rows] *= np.where(seam, 0.72, 1.0)[:, None]
    rows = np.flatnonzero(texture == CARPET)
    tuft = _hash(np.floor(u[rows] / 0.02), np.floor(v[rows] / 0.02))
    factor[rows] *= (0.85 + 0.3 * tuft)[:, None]
    rows = np.flatnonzero(texture == BOOKS)
    spine = np.floor(u[rows] / 0.04) + 17.0 * patch[rows]
    factor[rows] *= 0.45 + 0.9 * np.stack([_hash(spine, channel) for channel in (1, 2, 3)], axis=1)
    rows = np.flatnonzero(texture == PRINT)
    mark = _hash(np.floor(u[rows] / 0.07) + 31.0 * patch[rows], np.floor(v[rows] / 0.05)) > 0.8
    factor[rows] *= np.where(mark, 0.6, 1.0)[:, None]
    return factor


def _light(rng: np.random.Generator, coord: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N,) brightness: a lamp side, a gradient across the room, darker corners near the floor."""
    toward = rng.normal(size=3)
    toward[2] = abs(toward[2]) + 1.0
    toward /= np.linalg.norm(toward)
    span = np.ptp(coord, axis=0) + 1e-6
    across = (coord - coord.min(axis=0)) / span - 0.5
    slope = rng.normal(0.0, 0.12, 3)
    return rng.uniform(0.82, 1.0) * (0.9 + 0.12 * (normal @ toward) + across @ slope)


def _hash(x: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """A repeatable number in [0, 1) for each pair."""
    raw = np.sin(np.asarray(x) * 12.9898 + np.asarray(y) * 78.233) * 43758.5453
    return raw - np.floor(raw)
