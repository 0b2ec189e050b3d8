"""What rooms are made of: flat patches (parallelograms, triangles, discs) with an outward side and a paint.

Every solid is a closed set of patches, so a patch seen from behind is never the first thing a ray meets and the
scanner can skip it. Sheets without thickness (glass, leaves, paper) say ``two_sided``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

QUAD, TRIANGLE, DISC = 0, 1, 2
PLAIN, WOOD, TILE, CARPET, BOOKS, PRINT = range(6)

Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Paint:
    """How a patch looks and how well it answers a laser.

    Attributes:
        color: Red, green, blue, 0 to 255.
        texture: One of ``PLAIN``, ``WOOD``, ``TILE``, ``CARPET``, ``BOOKS``, ``PRINT``.
        returns: Share of the laser's pulses that come back, 0 to 1 (glass answers rarely).
        two_sided: Seen and blocking from both sides.
    """

    color: tuple[float, float, float]
    texture: int = PLAIN
    returns: float = 1.0
    two_sided: bool = False


@dataclass(frozen=True)
class Surfaces:
    """M patches; the points of patch m are ``origin + s a + t b`` with ``s, t`` inside its shape.

    Attributes:
        origin: (M, 3) metres.
        a: (M, 3) metres, first edge.
        b: (M, 3) metres, second edge; ``a x b`` points to the outside.
        shape: (M,) ``QUAD`` (s, t in [0, 1]), ``TRIANGLE`` (also s + t <= 1) or ``DISC`` (ellipse in the quad).
        color: (M, 3), 0 to 255.
        texture: (M,).
        returns: (M,) share of pulses that come back.
        two_sided: (M,) bool.
    """

    origin: np.ndarray
    a: np.ndarray
    b: np.ndarray
    shape: np.ndarray
    color: np.ndarray
    texture: np.ndarray
    returns: np.ndarray
    two_sided: np.ndarray

    def __len__(self) -> int:
        return len(self.origin)

    @property
    def area(self) -> np.ndarray:
        """(M,) square metres."""
        full = np.linalg.norm(np.cross(self.a, self.b), axis=1)
        return full * np.array([1.0, 0.5, np.pi / 4])[self.shape]

    def turned(self, matrix: np.ndarray) -> Surfaces:
        """The same patches after a rotation, (3, 3), about the origin."""
        turned = {name: getattr(self, name) @ matrix.T for name in ("origin", "a", "b")}
        return Surfaces(**{**vars(self), **turned})

    def moved(self, offset: Vector, yaw: float = 0.0) -> Surfaces:
        """The same patches turned by ``yaw`` radians about the vertical axis, then shifted by ``offset`` metres."""
        turned = self.turned(about_z(yaw)) if yaw else self
        return Surfaces(**{**vars(turned), "origin": turned.origin + np.asarray(offset, dtype=float)})


def about_z(angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about the vertical axis, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def about_x(angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about the x axis, radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def patches(origin: Vector, a: Vector, b: Vector, paint: Paint, shape: int = QUAD) -> Surfaces:
    """Patches that share a paint; origin, a and b are (M, 3) or (3,) metres."""
    rows = np.broadcast_arrays(*(np.atleast_2d(np.asarray(part, dtype=float)) for part in (origin, a, b)))
    m = len(rows[0])
    return Surfaces(
        origin=rows[0].copy(),
        a=rows[1].copy(),
        b=rows[2].copy(),
        shape=np.full(m, shape, dtype=np.int8),
        color=np.tile(np.asarray(paint.color, dtype=float), (m, 1)),
        texture=np.full(m, paint.texture, dtype=np.int8),
        returns=np.full(m, paint.returns),
        two_sided=np.full(m, paint.two_sided),
    )


def join(parts: Sequence[Surfaces]) -> Surfaces:
    """All patches of all parts, in order."""
    return Surfaces(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Surfaces)})


def box(low: Vector, high: Vector, paint: Paint, omit: str = "") -> Surfaces:
    """An axis-aligned box.

    Args:
        low: Smallest corner, metres.
        high: Largest corner, metres.
        paint: Its paint.
        omit: Faces to leave out because something solid covers them, from the letters ``w e s n d u``
            (-x, +x, -y, +y, down, up).
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    w, d, h = (x1 - x0, 0, 0), (0, y1 - y0, 0), (0, 0, z1 - z0)
    faces = {
        "w": ((x0, y0, z0), h, d),
        "e": ((x1, y0, z0), d, h),
        "s": ((x0, y0, z0), w, h),
        "n": ((x0, y1, z0), h, w),
        "d": ((x0, y0, z0), d, w),
        "u": ((x0, y0, z1), w, d),
    }
    kept = [face for name, face in faces.items() if name not in omit]
    corner, a, b = (np.array([face[part] for face in kept], dtype=float) for part in range(3))
    return patches(corner, a, b, paint)


def disc(centre: Vector, radius: float, paint: Paint, up: bool = True) -> Surfaces:
    """A horizontal disc facing up or down."""
    corner = np.asarray(centre, dtype=float) - (radius, radius, 0.0)
    x, y = np.array([2 * radius, 0.0, 0.0]), np.array([0.0, 2 * radius, 0.0])
    return patches(corner, x if up else y, y if up else x, paint, DISC)


def tube(
    start: Vector, end: Vector, radius: float, paint: Paint, sides: int = 8, end_radius: float | None = None
) -> Surfaces:
    """The mantle of a (truncated) cone from start to end, without its ends.

    Args:
        start: Centre of the first end, metres.
        end: Centre of the second end, metres.
        radius: At the start, metres.
        paint: Its paint.
        sides: Number of flat strips around.
        end_radius: At the end; the same as ``radius`` when None.
    """
    p, q = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    axis = (q - p) / np.linalg.norm(q - p)
    across = np.array([1.0, 0.0, 0.0]) if abs(axis[2]) > 0.9 else np.array([0.0, 0.0, 1.0])
    u = np.cross(across, axis)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle = np.linspace(0.0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v
    top = radius if end_radius is None else end_radius
    low, high = p + radius * ring, q + top * ring
    if np.isclose(radius, top):
        return patches(low[:-1], low[1:] - low[:-1], high[:-1] - low[:-1], paint)
    lower = patches(low[:-1], low[1:] - low[:-1], high[:-1] - low[:-1], paint, TRIANGLE)
    upper = patches(high[1:], high[:-1] - high[1:], low[1:] - high[1:], paint, TRIANGLE)
    return join([part for part, wide in ((lower, radius), (upper, top)) if wide > 1e-6])


def cylinder(centre: Vector, radius: float, height: float, paint: Paint, sides: int = 10, omit: str = "") -> Surfaces:
    """An upright cylinder standing on ``centre``; ``omit`` may name its ends, ``d`` or ``u``."""
    base = np.asarray(centre, dtype=float)
    top = base + np.array([0.0, 0.0, height])
    parts = [tube(base, top, radius, paint, sides)]
    if "u" not in omit:
        parts.append(disc(top, radius, paint))
    if "d" not in omit:
        parts.append(disc(base, radius, paint, up=False))
    return join(parts)


def ball(centre: Vector, radii: Vector, paint: Paint, sides: int = 8, rings: int = 4) -> Surfaces:
    """An ellipsoid of flat pieces around ``centre``, radii in metres."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    parts = [
        tube((0, 0, np.sin(low)), (0, 0, np.sin(high)), np.cos(low), paint, sides, max(float(np.cos(high)), 0.0))
        for low, high in itertools.pairwise(angle)
    ]
    whole = join(parts)
    scale = np.asarray(radii, dtype=float)
    scaled = {name: getattr(whole, name) * scale for name in ("origin", "a", "b")}
    return Surfaces(**{**vars(whole), **scaled}).moved(centre)
