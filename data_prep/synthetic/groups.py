"""Things that belong together, put where the room has a place for them: a desk with its chair, a sofa with its table.

Every function takes its places from the room and does nothing where there is none left.
"""

from __future__ import annotations

import numpy as np

from data_prep.synthetic import clutter, furniture
from data_prep.synthetic.palette import Palette
from data_prep.synthetic.room import Rect, Room, Wall
from data_prep.synthetic.surfaces import Surfaces


def radiator(room: Room, rng: np.random.Generator, look: Palette, wall: Wall, window: Rect) -> None:
    """A radiator below a window, unless something already hangs there."""
    x0, x1, sill, _ = window
    size = min(x1 - x0, 1.2)
    start = (x0 + x1 - size) / 2
    place = (start, start + size, 0.0, sill - 0.1)
    if all(place[1] <= used[0] or used[1] <= place[0] or used[2] >= place[3] for used in wall.used):
        wall.used.append(place)
        room.add_at_wall("clutter", clutter.radiator(rng, look, size), wall, start)


def against_wall(
    room: Room, rng: np.random.Generator, name: str, thing: Surfaces, size: tuple[float, float, float]
) -> tuple[Wall, float] | None:
    """Put a thing of (width, depth, height) metres with its back to a wall, if there is a place."""
    place = room.find_wall(rng, size[0], 0.0, size[2], depth=size[1])
    if place is not None:
        room.add_at_wall(name, thing, place[0], place[1], y=0.02)
    return place


def freely(room: Room, rng: np.random.Generator, name: str, thing: Surfaces, width: float, length: float) -> None:
    """Put a centred thing anywhere on the free floor, turned at random, if there is a place."""
    spot = room.find_floor(rng, width, length)
    if spot is not None:
        room.add(name, thing.moved((*spot, 0.0), float(rng.uniform(0, 2 * np.pi))))


def chair(rng: np.random.Generator, look: Palette) -> Surfaces:
    maker = furniture.office_chair if rng.random() < 0.55 else furniture.plain_chair
    return maker(rng, look)


def desk(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A desk at the wall with a chair before it and the usual things on it."""
    width, depth, height = float(rng.uniform(1.2, 1.8)), float(rng.uniform(0.65, 0.85)), float(rng.uniform(0.71, 0.76))
    place = room.find_wall(rng, width, 0.0, height + 0.05, depth=depth + 0.7)
    if place is None:
        return
    wall, x = place
    room.add_at_wall("table", furniture.table(rng, look, width, depth, height), wall, x, y=0.02)
    seat = chair(rng, look).moved((0, 0, 0), np.pi + float(rng.normal(0, 0.5)))
    beside, away = width * float(rng.uniform(0.35, 0.65)), depth + float(rng.uniform(0.1, 0.35))
    room.add_at_wall("chair", seat, wall, x + beside, y=away)
    if rng.random() < 0.85:
        screen = clutter.monitor(rng, look)
        room.add_at_wall("clutter", screen, wall, x + width * float(rng.uniform(0.4, 0.6)), z=height, y=0.2)
    for spot in (0.14, 0.86):
        if rng.random() < 0.75:
            thing = clutter.desk_object(rng, look).moved((0, 0, 0), float(rng.normal(0, 0.3)))
            room.add_at_wall("clutter", thing, wall, x + width * spot, z=height, y=depth * float(rng.uniform(0.4, 0.6)))


def meeting_table(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A long table in the middle with chairs around it."""
    x0, y0, x1, y1 = room.rects[0]
    along_x = x1 - x0 > y1 - y0
    long, short = (x1 - x0, y1 - y0) if along_x else (y1 - y0, x1 - x0)
    length, depth = min(long - 2.4, float(rng.uniform(2.0, 3.6))), min(short - 2.4, float(rng.uniform(1.0, 1.3)))
    if length < 1.2 or depth < 0.7:
        return
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2, 0.0])
    yaw = 0.0 if along_x else np.pi / 2
    hx, hy = (length / 2 + 0.5, depth / 2 + 0.6) if along_x else (depth / 2 + 0.6, length / 2 + 0.5)
    if not room.take_floor((centre[0] - hx, centre[1] - hy, centre[0] + hx, centre[1] + hy)):
        return
    room.add("table", furniture.conference_table(rng, look, length, depth).moved(centre, yaw))
    maker = furniture.office_chair if rng.random() < 0.6 else furniture.plain_chair
    for x in np.arange(-length / 2 + 0.4, length / 2 - 0.3, 0.78):
        for side in (-1.0, 1.0):
            if rng.random() < 0.85:
                turn = (0.0 if side < 0 else np.pi) + float(rng.normal(0, 0.25))
                away = depth / 2 + float(rng.uniform(0.05, 0.35))
                seat = maker(rng, look).moved((float(x), side * away, 0.0), turn)
                room.add("chair", seat.moved(centre, yaw))
    for x in rng.uniform(-0.4, 0.4, int(rng.integers(0, 3))):
        thing = clutter.desk_object(rng, look).moved((float(x) * length, float(rng.uniform(-0.2, 0.2)), 0.74))
        room.add("clutter", thing.moved(centre, yaw))


def round_group(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A round table with two to four chairs."""
    radius = float(rng.uniform(0.4, 0.55))
    spot = room.find_floor(rng, 2 * radius + 1.1, 2 * radius + 1.1)
    if spot is None:
        return
    room.add("table", furniture.round_table(rng, look, radius, 0.74).moved((*spot, 0.0)))
    seats = int(rng.integers(2, 5))
    for angle in 2 * np.pi * np.arange(seats) / seats + rng.random():
        away = radius + float(rng.uniform(0.05, 0.2))
        seat = furniture.plain_chair(rng, look).moved((0, -away, 0)).moved((*spot, 0.0), float(angle))
        room.add("chair", seat)


def sofa_group(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """A sofa at the wall, perhaps with a low table before it."""
    width = float(rng.uniform(1.5, 2.2))
    thing = furniture.sofa(rng, look, width)
    low_table = rng.random() < 0.6
    place = room.find_wall(rng, width, 0.0, 0.9, depth=2.0 if low_table else 1.2)
    if place is None:
        place, low_table = room.find_wall(rng, width, 0.0, 0.9, depth=1.0), False
    if place is None:
        return
    wall, x = place
    room.add_at_wall("sofa", thing, wall, x, y=0.04)
    if low_table:
        size = float(rng.uniform(0.8, 1.1))
        top = furniture.table(rng, look, size, 0.55, 0.42)
        room.add_at_wall("table", top, wall, x + (width - size) / 2, y=1.3)


def bookcase(room: Room, rng: np.random.Generator, look: Palette) -> None:
    width = float(rng.uniform(0.8, 1.6))
    height = float(rng.uniform(1.7, 2.2)) if rng.random() < 0.75 else float(rng.uniform(0.9, 1.3))
    against_wall(room, rng, "bookcase", furniture.bookcase(rng, look, width, height), (width, 0.45, height))


def cabinet(room: Room, rng: np.random.Generator, look: Palette) -> None:
    width, height = float(rng.uniform(0.8, 1.1)), float(rng.uniform(1.0, 1.9))
    against_wall(room, rng, "clutter", clutter.cabinet(rng, look, width, height), (width, 0.5, height))


def small_things(room: Room, rng: np.random.Generator, look: Palette, kinds: str, count: int) -> None:
    """Things by letter: ``b`` bin, ``p`` plant, ``l`` lamp, ``x`` boxes; on walls ``t`` poster, ``e`` extinguisher."""
    for kind in rng.choice(list(kinds), count):
        if kind == "b":
            freely(room, rng, "clutter", clutter.bin_(rng, look), 0.4, 0.4)
        elif kind == "p":
            freely(room, rng, "clutter", clutter.plant(rng, look), 0.6, 0.6)
        elif kind == "l":
            freely(room, rng, "clutter", clutter.floor_lamp(rng, look), 0.4, 0.4)
        elif kind == "x":
            freely(room, rng, "clutter", clutter.boxes(rng, look), 0.75, 0.75)
        elif kind == "t":
            width, height = float(rng.uniform(0.4, 0.7)), float(rng.uniform(0.5, 0.9))
            place = room.find_wall(rng, width, 1.2, 1.2 + height)
            if place is not None:
                room.add_at_wall("clutter", clutter.poster(rng, look, width, height), *place, z=1.2)
        else:
            place = room.find_wall(rng, 0.2, 0.7, 1.3)
            if place is not None:
                room.add_at_wall("clutter", clutter.extinguisher(rng, look), place[0], place[1] + 0.1, z=0.75)


def pipe(room: Room, rng: np.random.Generator, look: Palette) -> None:
    place = room.find_wall(rng, 0.3, 0.0, room.height, depth=0.25)
    if place is not None:
        pipe = clutter.wall_pipe(rng, look, room.height)
        room.add_at_wall("clutter", pipe, place[0], place[1] + 0.15)


def ceiling_lights(room: Room, rng: np.random.Generator, look: Palette) -> None:
    """Rows of lamps, the same kind all over the room, where no beam or column is."""
    kind = str(rng.choice(["flat", "hanging", "globe"], p=[0.5, 0.3, 0.2]))
    length, width = (0.6, 0.6) if kind == "flat" else (1.2, 0.2)
    if kind == "globe":
        length = width = 0.4
    drop = 0.13 if kind == "flat" else float(rng.uniform(0.3, 0.5))
    for x0, y0, x1, y1 in room.rects:
        for x in np.linspace(x0, x1, max(round((x1 - x0) / 2.2), 1) * 2 + 1)[1::2]:
            for y in np.linspace(y0, y1, max(round((y1 - y0) / 2.2), 1) * 2 + 1)[1::2]:
                if not room.take_ceiling((x - length / 2, y - width / 2, x + length / 2, y + width / 2)):
                    continue
                thing = (
                    clutter.globe_light(rng, look, drop)
                    if kind == "globe"
                    else clutter.ceiling_light(rng, look, length, width, drop)
                )
                room.add("clutter", thing.moved((float(x), float(y), room.height)))
