"""The benchmark's voxels: the surfaces of one furnished room."""

import numpy as np

ROOM = np.array([4.6, 3.7, 2.4])
NOISE = 0.004
DROPPED = 0.03
TOLERANCE, ATTEMPTS = 0.02, 20


def room_voxels(count: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """About ``count`` distinct int32 voxels (V, 4) of a room in random row order, and the voxel size in metres.

    Floor, ceiling, walls, 25 boxes and 25 spheres with 4 mm of noise. About 60 k voxels come out at 4 cm. All counts
    show the same furniture, in finer and finer voxels.
    """
    size = 0.04 * (60_000 / count) ** 0.5
    voxels = _voxels(_points(size, seed), size, seed)
    for _ in range(ATTEMPTS):
        if abs(len(voxels) / count - 1) < TOLERANCE:
            break
        size *= (len(voxels) / count) ** 0.4
        voxels = _voxels(_points(size, seed), size, seed)
    return voxels, size


def drawn_rows(count: int, draw: int) -> np.ndarray:
    """The rows of a scene that a draw keeps: about 97 %, as new coordinates for each training step."""
    return np.flatnonzero(np.random.default_rng(draw).random(count) >= DROPPED)


def _points(size: float, seed: int) -> np.ndarray:
    # The furniture is drawn before any point, so that it is the same at every voxel size.
    furniture, rng = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    per_area = 12 / size**2
    # A whole number of voxels: a wall on the boundary of two layers would fill both, and the count jump with the size.
    room = np.round(ROOM / size) * size
    parts = [_box(rng, np.zeros(3), room, per_area)]
    for _ in range(25):
        extent = furniture.uniform(0.1, 0.5, 3)
        parts.append(_box(rng, furniture.uniform(0, 1, 3) * (room - extent), extent, per_area))
    for _ in range(25):
        radius = furniture.uniform(0.05, 0.2)
        centre = furniture.uniform(radius, room - radius)
        direction = rng.normal(size=(int(4 * np.pi * radius**2 * per_area), 3))
        parts.append(centre + direction * radius / np.linalg.norm(direction, axis=1, keepdims=True))
    points = np.concatenate(parts)
    # Half a voxel off, so that walls lie inside of voxels.
    return points + size / 2 + rng.normal(scale=NOISE, size=points.shape)


def _box(rng: np.random.Generator, corner: np.ndarray, extent: np.ndarray, per_area: float) -> np.ndarray:
    faces = []
    for axis in range(3):
        u, v = (a for a in range(3) if a != axis)
        for side in (0.0, extent[axis]):
            face = rng.uniform(0, 1, (int(extent[u] * extent[v] * per_area), 3)) * extent
            face[:, axis] = side
            faces.append(corner + face)
    return np.concatenate(faces)


def _voxels(points: np.ndarray, size: float, seed: int) -> np.ndarray:
    cells = np.floor(points / size).astype(np.int64) + 64
    extent = cells.max(axis=0) + 1
    keys = np.unique((cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2])
    keys = np.random.default_rng(seed).permutation(keys)
    xy, z = np.divmod(keys, extent[2])
    x, y = np.divmod(xy, extent[1])
    return np.stack((np.zeros_like(x), x, y, z), axis=1).astype(np.int32)
