"""Tables, chairs, sofas and bookcases.

Every maker returns surfaces in its own frame: x along the width from 0, y from the back (0) to the front, z up from
the floor, metres. Things that are seen from all sides are centred on x and y instead, as their docstrings say.
"""

from __future__ import annotations

import itertools

import numpy as np

from data_prep.synthetic.palette import Palette
from data_prep.synthetic.surfaces import Surfaces, about_x, box, cylinder, join, tube


def table(rng: np.random.Generator, look: Palette, width: float, depth: float, height: float) -> Surfaces:
    """A table: a top on four legs, or (desk-high ones) on side panels, with or without a modesty panel."""
    top = 0.035 + 0.02 * rng.random()
    parts = [box((0, 0, height - top), (width, depth, height), look.table)]
    under = height - top
    kind = "legs" if height < 0.6 else str(rng.choice(["legs", "panels", "desk"], p=[0.5, 0.25, 0.25]))
    if kind == "legs":
        leg, inset = 0.05, 0.03
        for x in (inset, width - inset - leg):
            for y in (inset, depth - inset - leg):
                parts.append(box((x, y, 0), (x + leg, y + leg, under), look.metal, omit="du"))
    else:
        for x in (0.02, width - 0.06):
            parts.append(box((x, 0.04, 0), (x + 0.04, depth - 0.04, under), look.table, omit="du"))
    if kind == "desk":
        parts.append(box((0.06, 0.08, 0.25), (width - 0.06, 0.1, under), look.table, omit="weu"))
    return join(parts)


def round_table(rng: np.random.Generator, look: Palette, radius: float, height: float) -> Surfaces:
    """A round top on a foot, centred on x and y."""
    return join(
        [
            cylinder((0, 0, height - 0.04), radius, 0.04, look.table, sides=16),
            tube((0, 0, 0.03), (0, 0, height - 0.04), 0.05 + 0.03 * rng.random(), look.metal),
            cylinder((0, 0, 0), 0.55 * radius, 0.03, look.metal, omit="d"),
        ]
    )


def conference_table(rng: np.random.Generator, look: Palette, width: float, depth: float) -> Surfaces:
    """A long top on two or three broad feet, centred on x and y."""
    height, feet = 0.74, 2 if width < 2.6 else 3
    parts = [box((-width / 2, -depth / 2, height - 0.05), (width / 2, depth / 2, height), look.table)]
    for x in np.linspace(-width / 2 + 0.45, width / 2 - 0.45, feet):
        parts.append(
            box((x - 0.08, -depth * 0.28, 0.0), (x + 0.08, depth * 0.28, height - 0.05), look.table, omit="du")
        )
    return join(parts)


def office_chair(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A swivel chair on a five-spoke base, centred on x and y, looking along +y."""
    seat = 0.43 + 0.06 * rng.random()
    back_height = 0.42 + 0.16 * rng.random()
    parts = [
        box((-0.24, -0.23, seat - 0.07), (0.24, 0.25, seat), look.chair),
        tube((0, 0, 0.1), (0, 0, seat - 0.07), 0.035, look.dark, sides=6),
        _tilted(box((-0.22, -0.035, 0.1), (0.22, 0.035, 0.1 + back_height), look.chair), 0.12, (0, -0.24, seat)),
        box((-0.04, -0.29, seat - 0.03), (0.04, -0.24, seat + 0.15), look.dark),
    ]
    for angle in 2 * np.pi * np.arange(5) / 5 + rng.random():
        tip = (0.3 * np.cos(angle), 0.3 * np.sin(angle), 0.05)
        parts.append(tube((0, 0, 0.1), tip, 0.025, look.dark, sides=5))
    if rng.random() < 0.7:
        for x in (-0.28, 0.24):
            parts.append(box((x, -0.15, seat + 0.18), (x + 0.05, 0.14, seat + 0.21), look.dark))
            parts.append(box((x, -0.04, seat - 0.04), (x + 0.04, 0.03, seat + 0.18), look.dark, omit="u"))
    return join(parts)


def plain_chair(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A four-legged chair, with or without armrests, centred on x and y, looking along +y."""
    seat, back = 0.43 + 0.04 * rng.random(), 0.36 + 0.12 * rng.random()
    frame = look.metal if rng.random() < 0.6 else look.chair
    parts = [
        box((-0.22, -0.22, seat - 0.04), (0.22, 0.24, seat), look.chair),
        _tilted(box((-0.21, -0.02, 0.06), (0.21, 0.02, 0.06 + back), look.chair), 0.1, (0, -0.21, seat)),
    ]
    for x in (-0.2, 0.17):
        parts.append(box((x, 0.19, 0), (x + 0.03, 0.22, seat - 0.04), frame, omit="du"))
        parts.append(box((x, -0.22, 0), (x + 0.03, -0.19, seat + 0.12), frame, omit="d"))
    if rng.random() < 0.4:
        for x in (-0.25, 0.22):
            parts.append(box((x, -0.2, seat + 0.19), (x + 0.04, 0.18, seat + 0.22), frame))
            parts.append(box((x, 0.15, seat - 0.04), (x + 0.03, 0.18, seat + 0.19), frame, omit="u"))
    return join(parts)


def sofa(rng: np.random.Generator, look: Palette, width: float) -> Surfaces:
    """A sofa with cushions, arms and feet, 0.9 m deep, its back at y = 0."""
    seat, back, depth = 0.4 + 0.05 * rng.random(), 0.76 + 0.1 * rng.random(), 0.88
    arm = 0.16 + 0.06 * rng.random()
    parts = [
        box((0, 0, 0.08), (width, depth, 0.28), look.sofa),
        box((0, 0, 0.28), (width, 0.2, back), look.sofa, omit="d"),
    ]
    for x in (0.0, width - arm):
        parts.append(box((x, 0.2, 0.28), (x + arm, depth - 0.02, seat + 0.18), look.sofa, omit="ds"))
        for y in (0.05, depth - 0.1):
            foot = x + 0.04
            parts.append(box((foot, y, 0), (foot + 0.05, y + 0.05, 0.08), look.dark, omit="du"))
    cushions = 2 if width < 1.9 else 3
    edges = np.linspace(arm, width - arm, cushions + 1)
    for x0, x1 in itertools.pairwise(edges):
        parts.append(box((x0 + 0.01, 0.2, 0.28), (x1 - 0.01, depth + 0.02, seat), look.sofa, omit="d"))
        cushion = box((x0 + 0.02, 0, 0), (x1 - 0.02, 0.14, back - seat + 0.06), look.sofa)
        parts.append(_tilted(cushion, 0.15, (0, 0.2, seat)))
    return join(parts)


def bookcase(rng: np.random.Generator, look: Palette, width: float, height: float) -> Surfaces:
    """An open bookcase, 0.32 m deep, with a back, shelves, and rows of books on most of them."""
    depth, board = 0.32, 0.03
    inside = width - 2 * board
    parts = [
        box((0, 0, 0), (board, depth, height), look.bookcase, omit="d"),
        box((width - board, 0, 0), (width, depth, height), look.bookcase, omit="d"),
        box((board, 0, 0), (width - board, 0.02, height), look.bookcase, omit="wed"),
    ]
    shelves = max(round(height / 0.36), 2)
    levels = np.linspace(0.06, height - board, shelves + 1)
    for level in levels:
        parts.append(box((board, 0.02, level), (width - board, depth - 0.01, level + board), look.bookcase, omit="wes"))
    room = levels[1] - levels[0] - board
    for level in levels[:-1]:
        start = board + 0.01
        while start < width - 0.12:
            run = min(rng.uniform(0.15, 0.45), board + inside - start)
            if rng.random() < 0.8:
                parts.append(_books(rng, look, start, run, level + board, room))
            start += run + 0.02
    return join(parts)


def _books(rng: np.random.Generator, look: Palette, start: float, run: float, base: float, room: float) -> Surfaces:
    reach = rng.uniform(0.18, 0.27)
    paint = look.books if rng.random() < 0.7 else look.paper
    return box((start, 0.02, base), (start + run, reach, base + room * rng.uniform(0.6, 0.92)), paint, omit="ds")


def _tilted(part: Surfaces, angle: float, offset: tuple[float, float, float]) -> Surfaces:
    return part.turned(about_x(angle)).moved(offset)
