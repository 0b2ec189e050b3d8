"""A room being built: its outline, what stands where, and the surfaces so far.

Room frame: the outline's smallest corner at the origin, floor at z = 0, metres. Wall frame: x along the wall, y into
the room, z up; furniture made against a wall is written in it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from data_prep.synthetic.surfaces import Paint, Surfaces, join, patches

Rect = tuple[float, float, float, float]


@dataclass
class Wall:
    """One straight wall seen from inside.

    Attributes:
        start: (2,) metres, its left end seen from outside: the outline runs counter-clockwise.
        length: Metres.
        yaw: Direction of its x axis, radians.
        openings: Holes (x0, x1, z0, z1), metres.
        used: The same for everything that stands against or hangs on it, openings included.
    """

    start: tuple[float, float]
    length: float
    yaw: float
    openings: list[Rect] = field(default_factory=list)
    used: list[Rect] = field(default_factory=list)


class Room:
    """The outline of a rectangular or L-shaped room, the places taken, and its labelled surfaces."""

    def __init__(self, width: float, length: float, height: float, cut: tuple[float, float] | None = None) -> None:
        """Make an empty room.

        Args:
            width: Along x, metres.
            length: Along y, metres.
            height: Floor to ceiling, metres.
            cut: Width and length of the corner taken away from (width, length), which makes the room L-shaped.
        """
        self.width, self.length, self.height, self.cut = width, length, height, cut
        if cut is None:
            corners = [(0.0, 0.0), (width, 0.0), (width, length), (0.0, length)]
        else:
            x, y = width - cut[0], length - cut[1]
            corners = [(0.0, 0.0), (width, 0.0), (width, y), (x, y), (x, length), (0.0, length)]
        self.corners = np.array(corners)
        self.walls = [_wall(p, q) for p, q in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True)]
        self.items: list[tuple[str, Surfaces]] = []
        self.floor_used: list[Rect] = []
        self.ceiling_used: list[Rect] = []

    @property
    def rects(self) -> list[Rect]:
        """The outline as one or two rectangles (x0, y0, x1, y1)."""
        if self.cut is None:
            return [(0.0, 0.0, self.width, self.length)]
        x, y = self.width - self.cut[0], self.length - self.cut[1]
        return [(0.0, 0.0, self.width, y), (0.0, y, x, self.length)]

    def inside(self, rect: Rect) -> bool:
        """Whether the rectangle lies wholly within the outline."""
        if rect[0] < -1e-6 or rect[1] < -1e-6 or rect[2] > self.width + 1e-6 or rect[3] > self.length + 1e-6:
            return False
        if self.cut is None:
            return True
        return rect[2] <= self.width - self.cut[0] + 1e-6 or rect[3] <= self.length - self.cut[1] + 1e-6

    def add(self, name: str, surfaces: Surfaces) -> None:
        """Add one object of a class, in the room frame."""
        self.items.append((name, surfaces))

    def add_at_wall(self, name: str, surfaces: Surfaces, wall: Wall, x: float, z: float = 0.0, y: float = 0.0) -> None:
        """Add one object made in its own frame with its origin at (x, y, z) of the wall's frame."""
        self.add(name, surfaces.moved((x, y, z)).moved((*wall.start, 0.0), wall.yaw))

    def to_room(self, wall: Wall, x: float, y: float) -> np.ndarray:
        """(2,) room position of a point of the wall's frame."""
        c, s = np.cos(wall.yaw), np.sin(wall.yaw)
        return np.array([wall.start[0] + c * x - s * y, wall.start[1] + s * x + c * y])

    def find_wall(
        self,
        rng: np.random.Generator,
        width: float,
        z0: float,
        z1: float,
        depth: float = 0.0,
        margin: float = 0.06,
    ) -> tuple[Wall, float] | None:
        """Find and take a free stretch of wall.

        Args:
            rng: Draws the wall and the place.
            width: Along the wall, metres.
            z0: Lowest height it covers, metres.
            z1: Greatest height it covers, metres.
            depth: Free floor needed in front, metres; 0 for things that only hang.
            margin: Kept free at both sides, metres.

        Returns:
            The wall and the x at which the thing starts, or None when no place was found.
        """
        for _ in range(40):
            wall = self.walls[int(rng.choice(len(self.walls), p=self._wall_weights()))]
            if wall.length < width + 2 * margin:
                continue
            x = float(rng.uniform(margin, wall.length - width - margin))
            place = (x - margin, x + width + margin, z0, z1)
            if any(_overlap(place, other, by_height=True) for other in wall.used):
                continue
            if depth:
                rect = _bounds(self.to_room(wall, x, 0.0), self.to_room(wall, x + width, depth))
                if not self.is_free(rect):
                    continue
                self.floor_used.append(rect)
            wall.used.append(place)
            return wall, x
        return None

    def find_floor(
        self, rng: np.random.Generator, width: float, length: float, margin: float = 0.1
    ) -> tuple[float, float] | None:
        """Find and take a free axis-aligned place on the floor; returns its centre, or None."""
        for _ in range(40):
            x, y = rng.uniform(0, self.width), rng.uniform(0, self.length)
            if self.take_floor((x - width / 2, y - length / 2, x + width / 2, y + length / 2), margin):
                return float(x), float(y)
        return None

    def is_free(self, rect: Rect) -> bool:
        """Whether a rectangle of the floor lies inside and nothing stands on it."""
        return self.inside(rect) and not any(_overlap(rect, other) for other in self.floor_used)

    def take_floor(self, rect: Rect, margin: float = 0.0) -> bool:
        """Take a rectangle of the floor if it is free, with ``margin`` metres around it; says whether it was."""
        if not self.is_free((rect[0] - margin, rect[1] - margin, rect[2] + margin, rect[3] + margin)):
            return False
        self.floor_used.append(rect)
        return True

    def take_ceiling(self, rect: Rect) -> bool:
        """Take a rectangle of the ceiling if it is free; says whether it was."""
        if not self.inside(rect) or any(_overlap(rect, other) for other in self.ceiling_used):
            return False
        self.ceiling_used.append(rect)
        return True

    def add_shell(self, wall: Paint, floor: Paint, ceiling: Paint) -> None:
        """Add floor, ceiling and walls, the walls without their openings."""
        floors = [patches((x0, y0, 0), (x1 - x0, 0, 0), (0, y1 - y0, 0), floor) for x0, y0, x1, y1 in self.rects]
        lids = [
            patches((x0, y0, self.height), (0, y1 - y0, 0), (x1 - x0, 0, 0), ceiling) for x0, y0, x1, y1 in self.rects
        ]
        self.add("floor", join(floors))
        self.add("ceiling", join(lids))
        for side in self.walls:
            pieces = [
                patches((x0, 0, z0), (0, 0, z1 - z0), (x1 - x0, 0, 0), wall)
                for x0, x1, z0, z1 in _around(side.openings, side.length, self.height)
            ]
            self.add_at_wall("wall", join(pieces), side, 0.0)

    def _wall_weights(self) -> np.ndarray:
        lengths = np.array([wall.length for wall in self.walls])
        return lengths / lengths.sum()


def _wall(p: np.ndarray, q: np.ndarray) -> Wall:
    step = q - p
    return Wall((float(p[0]), float(p[1])), float(np.hypot(*step)), float(np.arctan2(step[1], step[0])))


def _bounds(p: np.ndarray, q: np.ndarray) -> Rect:
    low, high = np.minimum(p, q), np.maximum(p, q)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _overlap(one: Rect, other: Rect, by_height: bool = False) -> bool:
    if by_height:
        return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(openings: list[Rect], length: float, height: float) -> list[Rect]:
    """Rectangles (x0, x1, z0, z1) that cover a wall without its openings."""
    cuts = sorted({0.0, length, *(x for hole in openings for x in hole[:2])})
    pieces: list[Rect] = []
    for x0, x1 in itertools.pairwise(cuts):
        z = 0.0
        for hole in sorted((hole for hole in openings if hole[0] < x1 and x0 < hole[1]), key=lambda hole: hole[2]):
            if hole[2] > z:
                pieces.append((x0, x1, z, hole[2]))
            z = hole[3]
        if z < height:
            pieces.append((x0, x1, z, height))
    return pieces
