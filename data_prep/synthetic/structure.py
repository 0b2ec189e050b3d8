"""What belongs to the building: doors, windows, boards, columns and beams, each put into a room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.synthetic.palette import Palette
from data_prep.synthetic.room import Rect, Room, Wall
from data_prep.synthetic.surfaces import WOOD, Paint, Surfaces, box, cylinder, join, patches


def add_door(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A framed door in its opening, single or double, shut or standing open into the room."""
    width = float(rng.uniform(0.84, 0.98) if rng.random() < 0.8 else rng.uniform(1.5, 1.7))
    height = float(rng.uniform(2.02, 2.14))
    frame = 0.09
    place = room.find_wall(rng, width + 2 * frame, 0.0, height + frame, depth=0.9)
    if place is None:
        return
    wall, start = place
    x = start + frame
    wall.openings.append((x, x + width, 0.0, height))
    parts = [
        box((-frame, -0.2, 0), (0, 0.04, height + frame), look.trim, omit="d"),
        box((width, -0.2, 0), (width + frame, 0.04, height + frame), look.trim, omit="d"),
        box((0, -0.2, height), (width, 0.04, height + frame), look.trim, omit="we"),
    ]
    if width < 1.2 and rng.random() < 0.3:
        angle = float(rng.uniform(0.9, 1.75))
        parts.append(_leaf(look, width).moved((0.0, 0.0, 0.0), angle))
    elif width < 1.2:
        parts.append(_leaf(look, width).moved((0.0, -0.16, 0.0)))
    else:
        half = width / 2
        parts.append(_leaf(look, half - 0.005).moved((0.0, -0.16, 0.0)))
        parts.append(_leaf(look, half - 0.005, handle_left=True).moved((half + 0.005, -0.16, 0.0)))
    room.add_at_wall("door", join(parts), wall, x)


def _leaf(look: Palette, width: float, handle_left: bool = False) -> Surfaces:
    height = 2.0
    grip = 0.06 if handle_left else width - 0.18
    panel = replace(look.door, color=_shade(look.door, 0.75))
    parts = [
        box((0, 0, 0.01), (width, 0.045, height), look.door),
        box((0.14, 0.045, 0.2), (width - 0.14, 0.055, 0.85), panel, omit="s"),
        box((0.14, 0.045, 1.2), (width - 0.14, 0.055, 1.85), panel, omit="s"),
        box((grip, 0.045, 1.0), (grip + 0.12, 0.1, 1.04), look.metal, omit="s"),
    ]
    return join(parts)


def add_window(room: Room, rng: np.random.Generator, look: Palette, tall: bool = False) -> tuple[Wall, Rect] | None:
    """A window in a recess, with frame, mullion, sill, sparse glass and perhaps a blind.

    Returns:
        The wall and the hole (x0, x1, z0, z1) in it, metres; None when no wall had room for it.
    """
    width = float(rng.uniform(1.1, 2.2))
    low = 0.12 if tall else float(rng.uniform(0.82, 1.0))
    high = min(room.height - 0.45, low + (2.0 if tall else float(rng.uniform(1.1, 1.5))))
    recess = float(rng.uniform(0.18, 0.26))
    place = room.find_wall(rng, width, low, high, margin=0.15)
    if place is None:
        return None
    wall, x = place
    wall.openings.append((x, x + width, low, high))
    h, bar = high - low, 0.07
    parts = [_recess(width, h, recess, look.sash)]
    edges = [0.0, width - bar] if width < 1.5 else [0.0, width / 2 - bar / 2, width - bar]
    for left in edges:
        parts.append(box((left, -recess, 0), (left + bar, -recess + 0.06, h), look.sash, omit="du"))
    for bottom in (0.0, h - bar):
        parts.append(box((0, -recess, bottom), (width, -recess + 0.06, bottom + bar), look.sash, omit="we"))
    parts.append(patches((0, -recess + 0.02, 0), (0, 0, h), (width, 0, 0), look.glass))
    parts.append(box((-0.06, -0.02, -0.05), (width + 0.06, 0.12, 0), look.sash))
    if rng.random() < 0.5:
        drop = float(rng.uniform(0.2, 0.6)) * h
        blind = replace(look.white if rng.random() < 0.6 else look.grey, texture=WOOD, two_sided=True)
        parts.append(patches((0.03, -0.5 * recess, h - drop), (0, 0, drop), (width - 0.06, 0, 0), blind))
    room.add_at_wall("window", join(parts), wall, x, low)
    return wall, (x, x + width, low, high)


def _recess(width: float, height: float, depth: float, paint: Paint) -> Surfaces:
    """The four sides of a hole in a wall, facing into the hole."""
    return join(
        [
            patches((0, -depth, 0), (width, 0, 0), (0, depth, 0), paint),
            patches((0, -depth, height), (0, depth, 0), (width, 0, 0), paint),
            patches((0, -depth, 0), (0, depth, 0), (0, 0, height), paint),
            patches((width, -depth, 0), (0, 0, height), (0, depth, 0), paint),
        ]
    )


def add_board(room: Room, rng: np.random.Generator, look: Palette, bulletin: bool = False) -> None:
    """A framed panel on the wall: white, chalk or (``bulletin``) cork; writing boards have a tray."""
    width, height = float(rng.uniform(1.4, 2.4)), float(rng.uniform(1.0, 1.2))
    low = float(rng.uniform(0.85, 1.0))
    thick = float(rng.uniform(0.06, 0.075))
    place = room.find_wall(rng, width, low - 0.1, low + height, margin=0.12)
    if place is None:
        return
    surface = look.cork if bulletin else (look.whiteboard if rng.random() < 0.6 else look.chalkboard)
    edge = look.wood if bulletin else look.dark
    bar = 0.05
    parts = [
        box((0, 0, 0), (width, thick, height), surface, omit="s"),
        box((0, 0, 0), (bar, thick + 0.02, height), edge, omit="s"),
        box((width - bar, 0, 0), (width, thick + 0.02, height), edge, omit="s"),
        box((0, 0, height - bar), (width, thick + 0.02, height), edge, omit="s"),
        box((0, 0, -0.02), (width, thick + (0.02 if bulletin else 0.1), 0.02), edge, omit="s"),
    ]
    wall, x = place
    room.add_at_wall("board", join(parts), wall, x, low)


def add_column(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A column on a base: free (square or round) where the floor has room for it, else half sunk into a wall."""
    size, base = float(rng.uniform(0.36, 0.5)), 0.05
    wide = size + 2 * base
    spot = room.find_floor(rng, wide, wide, margin=0.4) if rng.random() < 0.6 else None
    if spot is None:
        _sunk_column(room, rng, look, size, base)
        return
    h, w = size / 2, wide / 2
    if rng.random() < 0.6:
        shaft = cylinder((0, 0, 0), h, room.height, look.column, sides=14, omit="du")
        foot = cylinder((0, 0, 0), w, 0.16, look.grey, sides=14, omit="d")
    else:
        shaft = box((-h, -h, 0), (h, h, room.height), look.column, omit="du")
        foot = box((-w, -w, 0), (w, w, 0.16), look.grey, omit="d")
    room.add("column", join([shaft, foot]).moved((*spot, 0.0)))
    room.take_ceiling((spot[0] - h, spot[1] - h, spot[0] + h, spot[1] + h))


def _sunk_column(room: Room, rng: np.random.Generator, look: Palette, size: float, base: float) -> None:
    out = float(rng.uniform(0.28, 0.4))
    place = room.find_wall(rng, size, 0.0, room.height, depth=out + base, margin=0.12)
    if place is None:
        return
    wall, x = place
    shaft = box((0, 0, 0), (size, out, room.height), look.column, omit="sdu")
    foot = box((-base, 0, 0), (size + base, out + base, 0.16), look.grey, omit="sd")
    room.add_at_wall("column", join([shaft, foot]), wall, x)
    corner, opposite = room.to_room(wall, x, 0.0), room.to_room(wall, x + size, out)
    low, high = np.minimum(corner, opposite), np.maximum(corner, opposite)
    room.take_ceiling((float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def add_beam(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A beam under the ceiling from wall to wall, across the shorter way."""
    x0, y0, x1, y1 = room.rects[0]
    wide, deep = float(rng.uniform(0.24, 0.36)), float(rng.uniform(0.26, 0.4))
    z0, z1 = room.height - deep, room.height
    across_x = x1 - x0 < y1 - y0
    length = (y1 - y0) if across_x else (x1 - x0)
    for _ in range(20):
        at = float(rng.uniform(0.5, length - 0.5 - wide))
        rect = (x0, y0 + at, x1, y0 + at + wide) if across_x else (x0 + at, y0, x0 + at + wide, y1)
        if room.take_ceiling(rect):
            ends = "we" if across_x else "sn"
            beam = box((rect[0], rect[1], z0), (rect[2], rect[3], z1), look.beam, omit=ends + "u")
            room.add("beam", beam)
            return


def _shade(paint: Paint, factor: float) -> tuple[float, float, float]:
    r, g, b = paint.color
    return r * factor, g * factor, b * factor
