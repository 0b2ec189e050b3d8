"""Rooms by type: the shell, the building's parts, then furniture and clutter where they belong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_prep.synthetic import clutter, groups
from data_prep.synthetic.palette import Palette
from data_prep.synthetic.plan import SIZES, RoomPlan
from data_prep.synthetic.room import Room
from data_prep.synthetic.structure import add_beam, add_board, add_column, add_door, add_window


def build_room(plan: RoomPlan, rng: np.random.Generator, look: Palette) -> Room:
    """Build a furnished room.

    Args:
        plan: What it is to be.
        rng: The room's generator.
        look: Its paints.

    Returns:
        The room with all its labelled surfaces.
    """
    room = _outline(plan, rng)
    if plan.kind == "conferenceRoom":
        groups.meeting_table(room, rng, look)
    for _ in range(_doors(plan.kind, rng)):
        add_door(room, rng, look)
    for _ in range(plan.columns):
        add_column(room, rng, look)
    for _ in range(plan.boards):
        add_board(room, rng, look, bulletin=plan.kind in ("hallway", "copyRoom") or rng.random() < 0.2)
    _windows(room, plan.kind, rng, look)
    for _ in range(plan.beams):
        add_beam(room, rng, look)
    for _ in range(plan.sofas):
        groups.sofa_group(room, rng, look)
    FURNISH[plan.kind](room, rng, look)
    groups.ceiling_lights(room, rng, look)
    room.add_shell(look.wall, look.floor, look.ceiling)
    return room


def _outline(plan: RoomPlan, rng: np.random.Generator) -> Room:
    short, long = (float(rng.uniform(*bounds)) for bounds in SIZES[plan.kind])
    height = float(rng.uniform(2.75 if plan.beams else 2.4, 3.0 if plan.kind not in ("lobby", "lounge") else 3.6))
    if not plan.l_shaped:
        return Room(short, long, height) if rng.random() < 0.5 else Room(long, short, height)
    if plan.kind == "hallway":
        width, length = float(rng.uniform(4.2, 6.0)), float(rng.uniform(4.2, 6.0))
        return Room(width, length, height, (width - short, length - short))
    width, length = short * 1.15, long * 1.1
    return Room(width, length, height, (width * float(rng.uniform(0.3, 0.45)), length * float(rng.uniform(0.3, 0.45))))


def _doors(kind: str, rng: np.random.Generator) -> int:
    low, high = {"hallway": (3, 5), "lobby": (2, 3)}.get(kind, (1, 2))
    return int(rng.integers(low, high + 1))


def _windows(room: Room, kind: str, rng: np.random.Generator, look: Palette) -> None:
    odds = {"hallway": (0, 1), "storage": (0, 1), "copyRoom": (0, 1)}.get(kind, (1, 2))
    for _ in range(int(rng.integers(odds[0], odds[1] + 1))):
        tall = kind in ("lobby", "lounge") and rng.random() < 0.5
        place = add_window(room, rng, look, tall)
        if place is not None and place[1][2] > 0.75 and rng.random() < 0.6:
            groups.radiator(room, rng, look, *place)


def _office(room: Room, rng: np.random.Generator, look: Palette) -> None:
    for _ in range(int(rng.integers(2, 5))):
        groups.desk(room, rng, look)
    for _ in range(int(rng.integers(1, 3))):
        groups.bookcase(room, rng, look)
    if rng.random() < 0.6:
        groups.cabinet(room, rng, look)
    for _ in range(int(rng.integers(0, 3))):
        groups.freely(room, rng, "chair", groups.chair(rng, look), 0.75, 0.75)
    groups.small_things(room, rng, look, "bpxltx", int(rng.integers(3, 7)))


def _conference(room: Room, rng: np.random.Generator, look: Palette) -> None:
    if rng.random() < 0.6:
        groups.bookcase(room, rng, look)
    if rng.random() < 0.5:
        groups.cabinet(room, rng, look)
    if rng.random() < 0.4:
        groups.desk(room, rng, look)
    groups.small_things(room, rng, look, "bpxlt", int(rng.integers(2, 5)))


def _hallway(room: Room, rng: np.random.Generator, look: Palette) -> None:
    if rng.random() < 0.6:
        groups.pipe(room, rng, look)
    if rng.random() < 0.4:
        groups.cabinet(room, rng, look)
    if rng.random() < 0.4:
        groups.bookcase(room, rng, look)
    if rng.random() < 0.5:
        groups.freely(room, rng, "chair", groups.chair(rng, look), 0.75, 0.75)
    groups.small_things(room, rng, look, "bpetx", int(rng.integers(4, 8)))


def _lounge(room: Room, rng: np.random.Generator, look: Palette) -> None:
    for _ in range(int(rng.integers(1, 4))):
        groups.round_group(room, rng, look)
    for _ in range(int(rng.integers(1, 3))):
        groups.bookcase(room, rng, look)
    for _ in range(int(rng.integers(0, 3))):
        groups.freely(room, rng, "chair", groups.chair(rng, look), 0.75, 0.75)
    groups.small_things(room, rng, look, "bpltpx", int(rng.integers(3, 7)))


def _storage(room: Room, rng: np.random.Generator, look: Palette) -> None:
    for _ in range(int(rng.integers(2, 4))):
        groups.bookcase(room, rng, look)
    for _ in range(int(rng.integers(1, 3))):
        groups.cabinet(room, rng, look)
    if rng.random() < 0.6:
        groups.desk(room, rng, look)
    groups.pipe(room, rng, look)
    groups.small_things(room, rng, look, "xxxb", int(rng.integers(3, 7)))


def _copy_room(room: Room, rng: np.random.Generator, look: Palette) -> None:
    for _ in range(int(rng.integers(1, 3))):
        groups.against_wall(room, rng, "clutter", clutter.copier(rng, look), (0.9, 0.7, 1.15))
    groups.desk(room, rng, look)
    groups.bookcase(room, rng, look)
    if rng.random() < 0.6:
        groups.cabinet(room, rng, look)
    groups.small_things(room, rng, look, "bxte", int(rng.integers(2, 5)))


def _pantry(room: Room, rng: np.random.Generator, look: Palette) -> None:
    width = float(rng.uniform(1.6, 2.6))
    groups.against_wall(room, rng, "clutter", clutter.counter(rng, look, width), (width, 0.7, 1.2))
    groups.against_wall(room, rng, "clutter", clutter.fridge(rng, look), (0.67, 0.75, 1.85))
    for _ in range(int(rng.integers(1, 3))):
        groups.round_group(room, rng, look)
    groups.small_things(room, rng, look, "bptx", int(rng.integers(2, 6)))


FURNISH: dict[str, Callable[[Room, np.random.Generator, Palette], None]] = {
    "office": _office,
    "conferenceRoom": _conference,
    "hallway": _hallway,
    "lobby": _lounge,
    "lounge": _lounge,
    "storage": _storage,
    "copyRoom": _copy_room,
    "pantry": _pantry,
}
