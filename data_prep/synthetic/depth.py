"""What one scanner position sees: a spherical depth map of the first patch each ray meets, and tests against it.

The map is drawn patch by patch with exact ray-plane intersections inside the patch's window of azimuths and
elevations, so a surface has no holes, however sparsely it is sampled later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_prep.synthetic.surfaces import DISC, QUAD, Surfaces

ROWS, COLUMNS = 300, 600
PIXEL = np.pi / ROWS
# Behind the front surface by more than this is hidden; beside its edge, where a pixel's centre and a point's own
# ray may meet different patches of one object, the wider tolerance keeps the object's rim.
TOLERANCE = 0.006
EDGE_TOLERANCE = 0.04


@dataclass(frozen=True)
class DepthMap:
    """The first surface seen in every direction from one position.

    Attributes:
        position: (3,) metres.
        range: (ROWS * COLUMNS,) metres, infinite where nothing is met.
        patch: (ROWS * COLUMNS,) index of the patch met, -1 where none.
    """

    position: np.ndarray
    range: np.ndarray
    patch: np.ndarray


@dataclass(frozen=True)
class PatchFrames:
    """Per patch, what turns a ray into a place on it: normals (M, 3) and dual edges (M, 3)."""

    normal: np.ndarray
    dual_a: np.ndarray
    dual_b: np.ndarray


def patch_frames(surfaces: Surfaces) -> PatchFrames:
    """Normals and dual edges: ``(p - origin) . dual_a`` is s and ``(p - origin) . dual_b`` is t."""
    cross = np.cross(surfaces.a, surfaces.b)
    squared = np.sum(cross**2, axis=1, keepdims=True)
    return PatchFrames(
        normal=cross / np.sqrt(squared),
        dual_a=np.cross(surfaces.b, cross) / squared,
        dual_b=np.cross(cross, surfaces.a) / squared,
    )


def depth_map(surfaces: Surfaces, frames: PatchFrames, position: np.ndarray) -> DepthMap:
    """Draw the depth map of one position, (3,) metres."""
    rays = _rays()
    depth = np.full((ROWS, COLUMNS), np.inf, dtype=np.float32)
    owner = np.full((ROWS, COLUMNS), -1, dtype=np.int32)
    to_origin = surfaces.origin - position
    height = np.sum(frames.normal * to_origin, axis=1)
    drawn = (height < -1e-6) | (surfaces.two_sided & (np.abs(height) > 1e-6))
    windows = _windows(surfaces, to_origin)
    solver = np.stack([frames.normal, frames.dual_a, frames.dual_b], axis=2).astype(np.float32)
    start = np.stack([np.sum(to_origin * frames.dual_a, axis=1), np.sum(to_origin * frames.dual_b, axis=1)], axis=1)
    # Glass lets the pulse through; what answers rarely must not hide what stands behind it.
    for m in np.flatnonzero(drawn & (surfaces.returns > 0.5)):
        row0, row1, first, last = windows[m]
        for column0, column1 in _wrapped(first, last):
            block = rays[row0:row1, column0:column1] @ solver[m]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                t = height[m].astype(np.float32) / block[..., 0]
                inside = _inside(t * block[..., 1] - start[m, 0], t * block[..., 2] - start[m, 1], surfaces.shape[m])
            near = depth[row0:row1, column0:column1]
            hit = inside & (t > 0) & (t < near)
            near[hit] = t[hit]
            owner[row0:row1, column0:column1][hit] = m
    return DepthMap(position=position, range=depth.ravel(), patch=owner.ravel())


def visible(
    view: DepthMap, surfaces: Surfaces, frames: PatchFrames, coord: np.ndarray, patch: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test points against a depth map.

    Args:
        view: The depth map.
        surfaces: Its M patches.
        frames: Their frames.
        coord: (N, 3) metres, points on the patches.
        patch: (N,) the patch each point lies on.

    Returns:
        Whether each point is seen (N,), its range in metres (N,), and the cosine of the angle between ray and surface
        normal (N,).
    """
    ray = coord - view.position
    distance = np.linalg.norm(ray, axis=1)
    ray /= distance[:, None]
    cosine = -np.sum(ray * frames.normal[patch], axis=1)
    pixel = pixel_of(ray)
    front = view.patch[pixel]
    towards = np.where(surfaces.two_sided[patch], np.abs(cosine), cosine) > 0.02
    seen = towards & ((front == patch) | (front < 0))
    rows = np.flatnonzero(towards & ~seen)
    m = front[rows]
    to_origin = surfaces.origin[m] - view.position
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = np.sum(frames.normal[m] * to_origin, axis=1) / np.sum(frames.normal[m] * ray[rows], axis=1)
        there = t[:, None] * ray[rows] - to_origin
        s_, t_ = np.sum(there * frames.dual_a[m], axis=1), np.sum(there * frames.dual_b[m], axis=1)
    within = np.zeros(len(rows), dtype=bool)
    for shape in np.unique(surfaces.shape[m]):
        same = surfaces.shape[m] == shape
        within[same] = _inside(s_[same], t_[same], shape)
    behind_inside = within & (t < distance[rows] - TOLERANCE)
    behind_edge = ~within & (view.range[pixel[rows]] < distance[rows] - EDGE_TOLERANCE)
    seen[rows] = ~(behind_inside | behind_edge)
    return seen, distance, np.abs(cosine)


def pixel_of(ray: np.ndarray) -> np.ndarray:
    """Index into a flat depth map for unit directions (N, 3)."""
    row = np.minimum((np.arcsin(np.clip(ray[:, 2], -1.0, 1.0)) + np.pi / 2) / PIXEL, ROWS - 1).astype(np.int64)
    column = ((np.arctan2(ray[:, 1], ray[:, 0]) + np.pi) / (2 * np.pi) * COLUMNS).astype(np.int64) % COLUMNS
    return row * COLUMNS + column


@lru_cache(maxsize=1)
def _rays() -> np.ndarray:
    elevation = (np.arange(ROWS) + 0.5) * PIXEL - np.pi / 2
    azimuth = (np.arange(COLUMNS) + 0.5) / COLUMNS * 2 * np.pi - np.pi
    cos_e = np.cos(elevation)[:, None]
    parts = (cos_e * np.cos(azimuth), cos_e * np.sin(azimuth), np.repeat(np.sin(elevation)[:, None], COLUMNS, axis=1))
    return np.stack(parts, axis=-1).astype(np.float32)


def _windows(surfaces: Surfaces, to_origin: np.ndarray) -> np.ndarray:
    """(M, 4) first row, last row + 1, first column, last column + 1 (beyond COLUMNS: it wraps) around each patch."""
    corners = to_origin[:, None] + np.stack(
        [np.zeros_like(surfaces.a), surfaces.a, surfaces.a + surfaces.b, surfaces.b], axis=1
    )
    far = np.linalg.norm(corners[..., :2], axis=2).max(axis=1)
    near, around = _footprint_distance(corners[..., :2])
    z0, z1 = corners[..., 2].min(axis=1), corners[..., 2].max(axis=1)
    low = np.arctan2(z0, np.where(z0 < 0, near, far))
    high = np.arctan2(z1, np.where(z1 > 0, near, far))
    azimuth = np.arctan2(corners[..., 1], corners[..., 0])
    turned = np.mod(azimuth - azimuth[:, :1] + np.pi, 2 * np.pi) - np.pi
    first = azimuth[:, 0] + turned.min(axis=1)
    last = azimuth[:, 0] + turned.max(axis=1)
    scale = COLUMNS / (2 * np.pi)
    row0 = np.clip(np.floor((low + np.pi / 2) / PIXEL - 0.5), 0, ROWS)
    row1 = np.clip(np.ceil((high + np.pi / 2) / PIXEL + 0.5), 0, ROWS)
    column0 = np.floor((first + np.pi) * scale - 0.5)
    column1 = np.ceil((last + np.pi) * scale + 0.5)
    column0 = np.where(around, 0, column0)
    column1 = np.where(around, COLUMNS, np.minimum(column1, column0 + COLUMNS))
    shift = np.floor(column0 / COLUMNS) * COLUMNS
    return np.stack([row0, row1, column0 - shift, column1 - shift], axis=1).astype(np.int64)


def _footprint_distance(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Horizontal distance (M,) from the scanner to each footprint (M, 4, 2), and whether it stands on the footprint."""
    start, end = corners, np.roll(corners, -1, axis=1)
    edge = end - start
    along = -np.sum(start * edge, axis=2) / np.maximum(np.sum(edge**2, axis=2), 1e-18)
    nearest = start + np.clip(along, 0, 1)[..., None] * edge
    distance = np.linalg.norm(nearest, axis=2).min(axis=1)
    side = edge[..., 0] * -start[..., 1] - edge[..., 1] * -start[..., 0]
    around = (np.all(side >= 0, axis=1) | np.all(side <= 0, axis=1)) & (np.abs(side).max(axis=1) > 1e-9)
    return np.where(around, 0.0, distance), around


def _wrapped(first: int, last: int) -> list[tuple[int, int]]:
    return [(first, last)] if last <= COLUMNS else [(first, COLUMNS), (0, last - COLUMNS)]


def _inside(s: np.ndarray, t: np.ndarray, shape: int) -> np.ndarray:
    if shape == DISC:
        return (2 * s - 1) ** 2 + (2 * t - 1) ** 2 <= 1
    inside = (s >= 0) & (t >= 0)
    return inside & (s <= 1) & (t <= 1) if shape == QUAD else inside & (s + t <= 1)
