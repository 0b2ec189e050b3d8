"""A terrestrial scanner in a furnished room: several positions, hidden surfaces, falling density, noise, exposure.

Points are drawn evenly over all surfaces, more than needed, and kept with a probability that follows how many pulses
each position would put there (cosine of incidence over squared range, nothing where the depth map says hidden).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.depth import COLUMNS, DepthMap, depth_map, patch_frames, pixel_of, visible
from data_prep.synthetic.room import Room
from data_prep.synthetic.surfaces import DISC, TRIANGLE, Surfaces, join
from data_prep.synthetic.texture import point_colors
from data_prep.synthetic.writer import CLASS_NAMES

OVERSAMPLING = 2.5
NEAREST = 1.0
BLIND_BELOW = -np.deg2rad(68)
NOISE_FLOOR, NOISE_PER_METRE = 0.0015, 0.0008
MIXED_SHARE = 0.001


@dataclass(frozen=True)
class Scan:
    """A scanned room of N points.

    Attributes:
        coord: (N, 3) float64 metres, room frame.
        color: (N, 3) uint8.
        segment: (N,) int16 index into ``CLASS_NAMES``.
        instance: (N,) int32 which object, in the order the room lists them.
        positions: (S, 3) metres, where the scanner stood.
        scanner: (N,) which position measured the point.
    """

    coord: np.ndarray
    color: np.ndarray
    segment: np.ndarray
    instance: np.ndarray
    positions: np.ndarray
    scanner: np.ndarray


def scan_room(room: Room, rng: np.random.Generator, density: float) -> Scan:
    """Scan a room.

    Args:
        room: Furnished.
        rng: Draws positions, points and noise.
        density: Points per square metre of seen surface, on average over the room.
    """
    surfaces = join([part for _, part in room.items])
    sizes = [len(part) for _, part in room.items]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.array([CLASS_NAMES.index(name) for name, _ in room.items])
    frames = patch_frames(surfaces)
    positions = scanner_positions(room, rng)
    facing = np.zeros(len(surfaces), dtype=bool)
    for position in positions:
        height = np.sum(frames.normal * (position - surfaces.origin), axis=1)
        facing |= surfaces.two_sided | (height > 0)
    patch, st, coord = _sample(rng, surfaces, facing, density * OVERSAMPLING)
    views = [depth_map(surfaces, frames, position) for position in positions]
    weights = np.zeros((len(positions), len(coord)), dtype=np.float32)
    for k, view in enumerate(views):
        seen, distance, cosine = visible(view, surfaces, frames, coord, patch)
        above_tripod = coord[:, 2] - view.position[2] > np.sin(BLIND_BELOW) * distance
        weights[k] = np.where(seen & above_tripod, cosine / np.maximum(distance, NEAREST) ** 2, 0.0)
    keep = _thin(rng, weights.sum(axis=0), surfaces.returns[patch])
    patch, st, coord, weights = patch[keep], st[keep], coord[keep], weights[:, keep]
    share = np.cumsum(weights, axis=0)
    scanner = np.sum(rng.random(len(coord)) * share[-1] >= share, axis=0).clip(0, len(positions) - 1)
    color = point_colors(rng, surfaces, patch, st, coord, frames.normal[patch])
    exposure = rng.normal(1.0, 0.05, (len(positions), 1)) * rng.normal(1.0, 0.015, (len(positions), 3))
    coord = _measure(rng, views, surfaces, frames.normal, scanner, patch, coord)
    return Scan(
        coord=coord,
        color=np.clip(color * exposure[scanner], 0, 255).astype(np.uint8),
        segment=classes[owner[patch]].astype(np.int16),
        instance=owner[patch].astype(np.int32),
        positions=positions,
        scanner=scanner,
    )


def scanner_positions(room: Room, rng: np.random.Generator) -> np.ndarray:
    """(S, 3) metres: over the free floor at eye height, so that no part of the room is far from all of them.

    One position for 8 square metres or 3 metres of length, 2 to 5, and one more in an L-shaped room.
    """
    area = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in room.rects)
    wanted = int(np.clip(round(max(area / 8, max(room.width, room.length) / 3)), 2, 5)) + (room.cut is not None)
    free: list[tuple[float, float]] = []
    clearance = 0.5
    while len(free) < 60:
        x, y = float(rng.uniform(0, room.width)), float(rng.uniform(0, room.length))
        if room.is_free((x - clearance, y - clearance, x + clearance, y + clearance)):
            free.append((x, y))
        clearance *= 0.995
    spots = np.array(free)
    apart = np.linalg.norm(spots[:, None] - spots[None], axis=2)
    nearest = np.full(len(spots), np.inf)
    chosen = []
    for _ in range(wanted):
        best = int(np.argmin(np.minimum(apart, nearest).sum(axis=1)))
        nearest = np.minimum(nearest, apart[best])
        chosen.append(spots[best])
    return np.column_stack([np.array(chosen), rng.uniform(1.45, 1.7, wanted)])


def _sample(
    rng: np.random.Generator, surfaces: Surfaces, facing: np.ndarray, density: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Even random points: patch (N,), place on it (N, 2), metres (N, 3)."""
    expected = np.where(facing, surfaces.area, 0.0) * density
    counts = np.floor(expected + rng.random(len(expected))).astype(np.int64)
    patch = np.repeat(np.arange(len(surfaces)), counts)
    st = rng.random((len(patch), 2))
    shape = surfaces.shape[patch]
    fold = (shape == TRIANGLE) & (st.sum(axis=1) > 1)
    st[fold] = 1 - st[fold]
    round_ = shape == DISC
    angle, radius = 2 * np.pi * st[round_, 0], np.sqrt(st[round_, 1])
    st[round_] = 0.5 + 0.5 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    coord = surfaces.origin[patch] + st[:, :1] * surfaces.a[patch] + st[:, 1:] * surfaces.b[patch]
    return patch, st, coord


def _thin(rng: np.random.Generator, weight: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Indices kept, so that the seen surface gets the asked density on average and the near gets more than the far."""
    seen = np.flatnonzero(weight > 0)
    sample = weight[seen[:: max(len(seen) // 20000, 1)]].astype(np.float64)
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        if np.mean(-np.expm1(-middle * sample)) < 1 / OVERSAMPLING:
            low = middle
        else:
            high = middle
    probability = -np.expm1(-low * weight[seen]) * returns[seen]
    return seen[rng.random(len(seen)) < probability]


def _measure(
    rng: np.random.Generator,
    views: list[DepthMap],
    surfaces: Surfaces,
    normal: np.ndarray,
    scanner: np.ndarray,
    patch: np.ndarray,
    coord: np.ndarray,
) -> np.ndarray:
    """Coordinates as measured: range noise along each ray, and a few ranges mixed with the background at edges.

    Args:
        rng: Draws the noise.
        views: The S depth maps.
        surfaces: The room's M patches.
        normal: (M, 3) their normals.
        scanner: (N,) which position measured the point.
        patch: (N,) the patch it lies on.
        coord: (N, 3) metres, exact.
    """
    position = np.array([view.position for view in views])[scanner]
    ray = coord - position
    distance = np.linalg.norm(ray, axis=1)
    ray /= distance[:, None]
    shift = np.clip(rng.normal(0.0, 1.0, len(coord)) * (NOISE_FLOOR + NOISE_PER_METRE * distance), -0.02, 0.02)
    tried = np.flatnonzero(rng.random(len(coord)) < MIXED_SHARE * 20)
    step = rng.choice([-1, 1, -COLUMNS, COLUMNS], len(tried))
    beside = (pixel_of(ray[tried]) + step) % len(views[0].patch)
    behind = np.stack([view.patch for view in views])[scanner[tried], beside]
    # The beam's other half meets the neighbouring pixel's patch: its plane bounds how far the range can slip.
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.sum(normal[behind] * (surfaces.origin[behind] - position[tried]), axis=1)
        gap = reach / np.sum(normal[behind] * ray[tried], axis=1) - distance[tried]
    # Behind glass the map shows what lies outside the room's outline or nothing: only opaque edges mix.
    opaque = surfaces.returns[patch[tried]] > 0.5
    at_edge = opaque & (behind >= 0) & (behind != patch[tried]) & np.isfinite(gap) & (gap > 0.15)
    mixed = np.flatnonzero(at_edge)[: int(MIXED_SHARE * len(coord))]
    shift[tried[mixed]] = rng.random(len(mixed)) * np.minimum(gap[mixed], 0.6)
    return position + ray * (distance + shift)[:, None]
