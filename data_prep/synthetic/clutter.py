"""Clutter: everything that is none of the other twelve classes, from a mug's size to a photocopier's.

Frames as in ``furniture``: y = 0 is the back, or the thing is centred on x and y where its docstring says so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.synthetic.palette import ACCENTS, Palette
from data_prep.synthetic.surfaces import BOOKS, PRINT, Paint, Surfaces, ball, box, cylinder, disc, join, patches, tube


def monitor(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A screen on its foot, centred on x, its screen looking along +y."""
    width = rng.uniform(0.42, 0.6)
    return join(
        [
            box((-width / 2, 0.05, 0.12), (width / 2, 0.1, 0.14 + 0.6 * width), look.dark),
            box((-0.04, 0.02, 0.02), (0.04, 0.05, 0.3), look.dark, omit="d"),
            box((-0.12, -0.05, 0), (0.12, 0.15, 0.02), look.dark, omit="d"),
        ]
    )


def desk_object(rng: np.random.Generator, look: Palette) -> Surfaces:
    """One of the small things on desks, centred on x and y."""
    kind = rng.choice(["books", "laptop", "lamp", "box", "papers", "pot"])
    if kind == "books":
        w, d, h = rng.uniform(0.15, 0.24), rng.uniform(0.2, 0.3), rng.uniform(0.08, 0.28)
        return box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), replace(look.books, texture=BOOKS), omit="d")
    if kind == "laptop":
        lid = patches((-0.17, -0.1, 0.02), (0.34, 0, 0), (0, -0.08, 0.23), replace(look.dark, two_sided=True))
        return join([box((-0.17, -0.1, 0), (0.17, 0.13, 0.02), look.dark, omit="d"), lid])
    if kind == "lamp":
        reach = rng.uniform(0.1, 0.2)
        shade = tube((reach, 0, 0.42), (reach, 0, 0.52), 0.11, look.accent, end_radius=0.04)
        arm = tube((0, 0, 0.02), (reach, 0, 0.5), 0.015, look.metal, sides=5)
        return join([cylinder((0, 0, 0), 0.09, 0.02, look.metal, omit="d"), arm, shade])
    if kind == "box":
        w, d, h = rng.uniform(0.15, 0.35, 3)
        return box((-w / 2, -d / 2, 0), (w / 2, d / 2, h), _any(rng, look), omit="d")
    if kind == "papers":
        return box((-0.11, -0.15, 0), (0.11, 0.15, rng.uniform(0.02, 0.12)), look.paper, omit="d")
    return join([cylinder((0, 0, 0), 0.08, 0.14, look.accent, omit="d"), _foliage(rng, look, 0.14, 0.16, 10)])


def boxes(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A stack of one to three cartons, centred on x and y, within 0.6 m."""
    cardboard = Paint((168, 134, 96)) if rng.random() < 0.6 else _any(rng, look)
    parts, z = [], 0.0
    for _ in range(int(rng.integers(1, 4))):
        w, d = rng.uniform(0.34, 0.58, 2)
        h = rng.uniform(0.25, 0.42)
        parts.append(box((-w / 2, -d / 2, z), (w / 2, d / 2, z + h), cardboard, omit="d" if z == 0 else ""))
        z += h
    return join(parts)


def bin_(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A waste bin, open at the top, centred on x and y."""
    height, radius = rng.uniform(0.3, 0.65), rng.uniform(0.14, 0.2)
    paint = _any(rng, look)
    bottom = disc((0, 0, 0.7 * height), 0.85 * radius, paint)
    return join([tube((0, 0, 0), (0, 0, height), 0.8 * radius, paint, sides=9, end_radius=radius), bottom])


def plant(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A potted plant, 1.0 to 1.7 m high, centred on x and y."""
    pot = tube((0, 0, 0), (0, 0, 0.32), 0.15, look.accent, end_radius=0.2)
    soil = disc((0, 0, 0.3), 0.19, Paint((70, 54, 44)))
    stem = tube((0, 0, 0.3), (0, 0, 0.7), 0.02, look.wood, sides=5)
    return join([pot, soil, stem, _foliage(rng, look, 0.55, rng.uniform(0.3, 0.42), 60).moved((0, 0, 0))])


def floor_lamp(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A lamp on a pole, centred on x and y."""
    height = rng.uniform(1.4, 1.75)
    shade = tube((0, 0, height - 0.28), (0, 0, height), 0.2, _any(rng, look), end_radius=0.13)
    pole = tube((0, 0, 0.03), (0, 0, height - 0.28), 0.02, look.metal, sides=5)
    return join([cylinder((0, 0, 0), 0.16, 0.03, look.metal, omit="d"), pole, shade])


def cabinet(rng: np.random.Generator, look: Palette, width: float, height: float) -> Surfaces:
    """A closed cabinet, 0.42 m deep, with a plinth, a door seam and handles."""
    paint = _any(rng, look)
    parts = [
        box((0, 0, 0.06), (width, 0.42, height), paint),
        box((0.03, 0.02, 0), (width - 0.03, 0.38, 0.06), look.dark, omit="du"),
    ]
    for x in (width / 2 - 0.06, width / 2 + 0.03):
        parts.append(box((x, 0.42, 0.5 * height), (x + 0.03, 0.45, 0.5 * height + 0.16), look.metal, omit="s"))
    parts.append(box((width / 2 - 0.006, 0.42, 0.08), (width / 2 + 0.006, 0.424, height - 0.02), look.dark, omit="s"))
    return join(parts)


def copier(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A photocopier: as high as a table, but solid, 0.65 m wide and 0.6 m deep."""
    height = rng.uniform(0.78, 0.98)
    body = look.white if rng.random() < 0.6 else look.grey
    return join(
        [
            box((0, 0.02, 0.04), (0.65, 0.6, height), body),
            box((0.02, 0.06, height), (0.6, 0.5, height + 0.14), look.dark, omit="d"),
            box((0.65, 0.15, 0.45), (0.85, 0.45, 0.5), body, omit="w"),
        ]
    )


def counter(rng: np.random.Generator, look: Palette, width: float) -> Surfaces:
    """A kitchen counter with closed fronts and a tap, 0.6 m deep: table-like, but clutter."""
    front = _any(rng, look)
    parts = [
        box((0, 0, 0.08), (width, 0.58, 0.86), front, omit="u"),
        box((0, 0, 0.86), (width, 0.6, 0.9), look.grey),
        box((0, 0, 0.9), (width, 0.03, 1.0), look.grey, omit="d"),
        tube((0.5 * width, 0.12, 0.9), (0.5 * width, 0.12, 1.15), 0.02, look.metal, sides=5),
        tube((0.5 * width, 0.12, 1.15), (0.5 * width, 0.3, 1.12), 0.02, look.metal, sides=5),
    ]
    for x in np.arange(0.55, width - 0.1, 0.55):
        parts.append(box((x, 0.58, 0.12), (x + 0.02, 0.585, 0.84), look.dark, omit="s"))
    return join(parts)


def fridge(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A fridge with two doors and a handle, 0.65 m wide and deep."""
    height = rng.uniform(1.5, 1.85)
    paint = look.white if rng.random() < 0.6 else look.metal
    return join(
        [
            box((0, 0.03, 0.03), (0.65, 0.66, 0.62 * height), paint, omit="u"),
            box((0, 0.03, 0.62 * height + 0.01), (0.65, 0.66, height), paint, omit="d"),
            box((0.05, 0.66, 0.66 * height), (0.08, 0.7, 0.8 * height), look.metal, omit="s"),
        ]
    )


def radiator(rng: np.random.Generator, look: Palette, width: float) -> Surfaces:
    """A ribbed radiator standing off the wall."""
    return join(
        [box((x, 0.04, 0.12), (x + 0.06, 0.14, 0.68), look.white) for x in np.arange(0, width - 0.06, 0.085)]
        + [box((0, 0.07, 0.2), (width, 0.11, 0.26), look.white, omit="we")]
    )


def poster(rng: np.random.Generator, look: Palette, width: float, height: float) -> Surfaces:
    """A framed print on the wall, 2 cm thick."""
    color = ACCENTS[int(rng.integers(len(ACCENTS)))]
    return box((0, 0, 0), (width, 0.02, height), Paint(color, PRINT), omit="s")


def extinguisher(rng: np.random.Generator, look: Palette) -> Surfaces:
    """A fire extinguisher on the wall, centred on x."""
    red = Paint((176, 44, 40))
    body = cylinder((0, 0.1, 0), 0.075, 0.45, red, sides=8)
    return join([body, tube((0, 0.1, 0.45), (0, 0.1, 0.55), 0.025, look.dark, sides=5)])


def ceiling_light(rng: np.random.Generator, look: Palette, length: float, width: float, drop: float) -> Surfaces:
    """A lamp body hanging ``drop`` metres under z = 0, centred on x and y."""
    x, y = length / 2, width / 2
    body = box((-x, -y, -drop), (x, y, -drop + 0.07), Paint((246, 244, 236)))
    if drop < 0.2:
        return body
    rods = [tube((s * 0.7 * x, 0, -drop + 0.07), (s * 0.7 * x, 0, 0), 0.01, look.metal, sides=4) for s in (-1, 1)]
    return join([body, *rods])


def _foliage(rng: np.random.Generator, look: Palette, base: float, radius: float, leaves: int) -> Surfaces:
    direction = rng.normal(size=(leaves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction[:, 2] = np.abs(direction[:, 2]) * 1.6
    side = np.cross(direction, rng.normal(size=(leaves, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    start = np.array([0, 0, base]) + direction * radius * rng.uniform(0.1, 0.5, (leaves, 1))
    size = radius * rng.uniform(0.35, 0.6, (leaves, 1))
    return patches(start, direction * size, side * size * 0.5, look.leaf)


def wall_pipe(rng: np.random.Generator, look: Palette, height: float) -> Surfaces:
    """A pipe up the wall, with a joint."""
    radius = rng.uniform(0.04, 0.06)
    paint = look.metal if rng.random() < 0.5 else look.wall
    joint = rng.uniform(0.3, 0.7) * height
    return join(
        [
            tube((0, radius + 0.03, 0), (0, radius + 0.03, height), radius, paint),
            cylinder((0, radius + 0.03, joint), radius + 0.02, 0.08, paint, sides=8),
        ]
    )


def globe_light(rng: np.random.Generator, look: Palette, drop: float) -> Surfaces:
    """A hanging ball lamp under z = 0, centred on x and y."""
    radius = rng.uniform(0.12, 0.18)
    cord = tube((0, 0, -drop), (0, 0, 0), 0.012, look.dark, sides=4)
    return join([cord, ball((0, 0, -drop - radius), (radius,) * 3, Paint((240, 236, 220)))])


def _any(rng: np.random.Generator, look: Palette) -> Paint:
    return [look.dark, look.grey, look.white, look.accent, look.metal][int(rng.integers(5))]
