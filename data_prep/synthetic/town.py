"""A made-up piece of town, 64 m square: plots along a road, with a river under a bridge or a railway at the edge.

Everything is patches in the tile's own frame: x and y from 0 to ``SIDE``, z in metres above the street.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.surfaces import DISC, TRIANGLE, Paint, Surfaces, ball, box, cylinder, join, patches, tube

SIDE = 64.0
GROUND, VEGETATION, BUILDING, WALL, BRIDGE, PARKING, RAIL, ROAD, FURNITURE, CAR, FOOTPATH, BIKE, WATER = range(13)

RIVER = (24.0, 36.0)
"""Its banks' feet along x; the banks are 3 m wide."""
BANK = 3.0
_BED = -2.0
_STREET = (28.0, 36.0)
_PATHS = ((26.0, 28.0), (36.0, 38.0))
_RAILWAY = 57.0

Rgb = tuple[float, float, float]
Plot = tuple[float, float, float, float]

_GRASS: list[Rgb] = [(96, 112, 62), (108, 116, 70), (84, 102, 56), (128, 120, 84)]
_BRICK: list[Rgb] = [(150, 96, 78), (168, 120, 96), (186, 172, 152), (206, 200, 188), (134, 104, 92)]
_TILES: list[Rgb] = [(128, 74, 60), (104, 70, 62), (92, 90, 92), (118, 104, 96)]
_CARS: list[Rgb] = [(32, 34, 38), (190, 192, 196), (232, 232, 230), (44, 60, 104), (140, 32, 34), (104, 108, 112)]
_LEAVES: list[Rgb] = [(62, 88, 44), (76, 98, 48), (54, 76, 46), (98, 104, 54)]
_ASPHALT: Rgb = (98, 98, 100)
_PAVING: Rgb = (158, 152, 144)
_METAL: Rgb = (112, 116, 118)
_GLASS: Rgb = (66, 76, 88)
_CONCRETE: Rgb = (172, 168, 160)


@dataclass(frozen=True)
class Item:
    """Something in the town.

    Attributes:
        label: Its class.
        surfaces: Its patches.
        anchor: Where (x, y) it stands: it is lifted as a whole by the terrain there. None = it follows the terrain.
    """

    label: int
    surfaces: Surfaces
    anchor: tuple[float, float] | None = None


def build_town(rng: np.random.Generator, *, river: bool) -> list[Item]:
    """Everything in a tile; with a river and a bridge, or else with a railway. All other classes are in both."""
    if river:
        columns = [(0.0, RIVER[0] - BANK), (RIVER[1] + BANK, SIDE)]
        items, north, gaps = _river(), SIDE, [(0.0, RIVER[0] - 4), (RIVER[1] + 4, SIDE)]
    else:
        columns = [(16.0 * k, 16.0 * (k + 1)) for k in range(4)]
        items, north, gaps = _railway(), _RAILWAY, [(0.0, SIDE)]
    plots = [(x0, y0, x1, y1) for x0, x1 in columns for y0, y1 in ((0.0, _PATHS[0][0]), (_PATHS[1][1], north))]
    kinds = [_house, _car_park, _park, _block]
    kinds += [(_house, _block, _park)[int(rng.integers(3))] for _ in plots[4:]]
    for kind, index in zip(kinds, rng.permutation(len(plots)), strict=True):
        items += kind(rng, plots[index])
    for x0, x1 in gaps:
        items += _street(rng, x0, x1)
    return items


def _river() -> list[Item]:
    x0, x1 = RIVER
    foot = np.array([(x0 - BANK, 0, 0), (x1, 0, _BED)])
    slopes = patches(foot, np.array([(BANK, 0, _BED), (BANK, 0, -_BED)]), (0, SIDE, 0), Paint((122, 112, 82)))
    deck = (x0 - 4, _PATHS[0][0] - 0.5, x1 + 4, _PATHS[1][1] + 0.5)
    sides = [
        box((deck[0], y, 0.0), (deck[2], y + 0.35, 1.1), Paint(_CONCRETE), omit="d") for y in (deck[1], deck[3] - 0.35)
    ]
    top = box((deck[0], deck[1], -0.7), (deck[2], deck[3], 0.1), Paint((120, 118, 116)), omit="d")
    return [
        Item(WATER, _flat((x0, 0, x1, SIDE), Paint((58, 76, 72)), _BED)),
        Item(GROUND, slopes),
        Item(BRIDGE, join([top, *sides]), (x0, _STREET[0])),
    ]


def _railway() -> list[Item]:
    parts = [_flat((0, _RAILWAY, SIDE, SIDE), Paint((128, 116, 106)), 0.0)]
    for track in (_RAILWAY + 1.9, _RAILWAY + 5.1):
        for x in np.arange(0.2, SIDE - 0.3, 0.65):
            parts.append(box((x, track - 1.2, 0), (x + 0.25, track + 1.2, 0.08), Paint((96, 88, 80)), omit="d"))
        for y in (track - 0.75, track + 0.7):
            parts.append(box((0, y, 0), (SIDE, y + 0.07, 0.2), Paint((112, 84, 66)), omit="d"))
    return [Item(RAIL, join(parts))]


def _street(rng: np.random.Generator, x0: float, x1: float) -> list[Item]:
    """A stretch of the road with footpaths, lamps, bins, parked bikes and cars under way."""
    middle = sum(_STREET) / 2
    dashes = [
        _flat((x, middle - 0.1, x + 2, middle + 0.1), Paint((216, 216, 210)), 0.01) for x in np.arange(x0, x1 - 2, 5)
    ]
    items = [Item(ROAD, join([_flat((x0, _STREET[0], x1, _STREET[1]), Paint(_ASPHALT), 0.0), *dashes]))]
    for y0, y1 in _PATHS:
        items.append(Item(FOOTPATH, box((x0, y0, -0.1), (x1, y1, 0.12), Paint(_PAVING), omit="dwe")))
    for x in np.arange(x0 + 3, x1 - 1, 16):
        items.append(_lamp((float(x), _PATHS[0][0] + 0.4)))
        items.append(_bin((float(x) + 5, _PATHS[1][1] - 0.4)))
    for k in range(4):
        items.append(_bike(rng, (x0 + 5 + 0.7 * k, _PATHS[1][0] + 1.3)))
    for x in np.arange(x0 + 6, x1 - 5, 11):
        lane, turn = ((_STREET[0] + 2, 0.0), (_STREET[1] - 2, np.pi))[int(rng.integers(2))]
        items.append(_car(rng, (float(x + rng.uniform(-2, 2)), lane), turn + rng.normal(0, 0.03)))
    return items


def _house(rng: np.random.Generator, plot: Plot) -> list[Item]:
    """A house with a gable roof in a garden that walls enclose on three sides."""
    x0, y0, x1, y1 = plot
    wide, deep, eaves = rng.uniform(8, 9.5), rng.uniform(7, 9), rng.uniform(4.5, 6)
    x, y = (x0 + x1 - wide) / 2, y0 + rng.uniform(0.3, 0.6) * (y1 - y0 - deep)
    ridge, over = eaves + rng.uniform(0.3, 0.45) * deep, 0.4
    wall, tile = Paint(_pick(rng, _BRICK)), Paint(_pick(rng, _TILES))
    low, top = eaves - over * (ridge - eaves) / (deep / 2), ridge - eaves
    run = deep / 2 + over
    rise = ridge - low
    roof = patches(
        np.array([(x - over, y - over, low), (x + wide + over, y + deep + over, low)]),
        np.array([(wide + 2 * over, 0, 0), (-wide - 2 * over, 0, 0)]),
        np.array([(0, run, rise), (0, -run, rise)]),
        tile,
    )
    gables = patches(
        np.array([(x, y + deep, eaves), (x + wide, y, eaves)]),
        np.array([(0, -deep, 0), (0, deep, 0)]),
        np.array([(0, -deep / 2, top), (0, deep / 2, top)]),
        wall,
        TRIANGLE,
    )
    stack = box((x + 1, y + deep / 2 - 0.4, eaves), (x + 1.7, y + deep / 2 + 0.4, ridge + 1), wall, omit="d")
    walls = box((x, y, -0.5), (x + wide, y + deep, eaves), wall, omit="du")
    house = join([walls, roof, gables, stack, _windows((x, y, x + wide, y + deep), eaves)])
    height, stone = rng.uniform(1.2, 1.8), Paint(_pick(rng, _BRICK))
    fences = [
        box((x0 + 0.2, y0 + 0.5, -0.3), (x0 + 0.5, y1 - 0.5, height), stone, omit="d"),
        box((x1 - 0.5, y0 + 0.5, -0.3), (x1 - 0.2, y1 - 0.5, height), stone, omit="d"),
        box((x0 + 0.5, y0 + 0.3, -0.3), (x0 + 0.65 * (x1 - x0), y0 + 0.6, height), stone, omit="d"),
    ]
    return [
        Item(GROUND, _flat(plot, Paint(_pick(rng, _GRASS)), 0.0)),
        Item(BUILDING, house, (x + wide / 2, y + deep / 2)),
        Item(WALL, join(fences)),
        _tree(rng, (x0 + 2.5, y1 - 3.0)),
        _tree(rng, (x1 - 2.5, y0 + 3.0)),
    ]


def _block(rng: np.random.Generator, plot: Plot) -> list[Item]:
    """Flats or offices with a flat roof."""
    x0, y0, x1, y1 = plot
    a, b = (x0 + 2.0, y0 + 3.0), (min(x1 - 2.0, x0 + 18.0), y1 - 4.0)
    height = 3.1 * int(rng.integers(3, 6))
    wall, roof = Paint(_pick(rng, _BRICK)), Paint(_pick(rng, [_CONCRETE, (122, 122, 124), (146, 138, 130)]))
    parts = [
        box((*a, -0.5), (*b, height), wall, omit="du"),
        _flat((*a, *b), roof, height - 0.4),
        _windows((*a, *b), height),
    ]
    for _ in range(3):
        x, y = rng.uniform(a[0] + 1, b[0] - 3), rng.uniform(a[1] + 1, b[1] - 3)
        parts.append(
            box((x, y, height - 0.4), (x + 1.8, y + 1.4, height + rng.uniform(0.4, 1.6)), Paint(_METAL), omit="d")
        )
    return [
        Item(GROUND, _flat(plot, Paint(_pick(rng, [*_GRASS, (150, 142, 130)])), 0.0)),
        Item(BUILDING, join(parts), ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)),
        _tree(rng, (x1 - 1.5, y1 - 2.0), 0.7),
        _bin((x0 + 1.0, y1 - 2.0)),
    ]


def _car_park(rng: np.random.Generator, plot: Plot) -> list[Item]:
    x0, y0, x1, y1 = plot
    parts = [_flat((x0 + 1, y0 + 1, x1 - 1, y1), Paint((112, 110, 110)), 0.0)]
    items: list[Item] = []
    for x in np.arange(x0 + 1.5, x1 - 3.5, 2.6):
        for y in (y0 + 1.2, y1 - 6.2):
            parts.append(_flat((x, y, x + 0.1, y + 5), Paint((206, 206, 200)), 0.01))
            if rng.random() < 0.65:
                items.append(_car(rng, (float(x) + 1.35, y + 2.5), np.pi / 2 + rng.normal(0, 0.04)))
    hedge = box((x0 + 1, y0, 0), (x1 - 1, y0 + 0.9, 1.1), Paint(_pick(rng, _LEAVES)), omit="d")
    edges = [(x0, y0, x0 + 1, y1), (x1 - 1, y0, x1, y1), (x0 + 1, y0, x1 - 1, y0 + 1)]
    return [
        Item(PARKING, join(parts)),
        Item(GROUND, join([_flat(edge, Paint(_pick(rng, _GRASS)), 0.0) for edge in edges])),
        Item(VEGETATION, hedge),
        _lamp(((x0 + x1) / 2, (y0 + y1) / 2)),
        *items,
    ]


def _park(rng: np.random.Generator, plot: Plot) -> list[Item]:
    """Grass and trees on both sides of a path with benches."""
    x0, y0, x1, y1 = plot
    path = ((x0 + x1) / 2 - 1, (x0 + x1) / 2 + 1)
    grass = Paint(_pick(rng, _GRASS))
    items = [
        Item(FOOTPATH, _flat((path[0], y0, path[1], y1), Paint((176, 160, 130)), 0.0)),
        Item(GROUND, join([_flat((x0, y0, path[0], y1), grass, 0.0), _flat((path[1], y0, x1, y1), grass, 0.0)])),
    ]
    for x in ((x0 + path[0]) / 2, (path[1] + x1) / 2):
        for y in np.arange(y0 + 3.5, y1 - 3, 6.5):
            if rng.random() < 0.8:
                items.append(_tree(rng, (x + rng.normal(0, 0.5), float(y) + rng.normal(0, 0.6))))
    for y in (y0 + 5, y1 - 5):
        seat = box((path[0] + 0.1, y, 0.38), (path[0] + 0.6, y + 1.8, 0.5), Paint((118, 92, 66)))
        back = box((path[0] + 0.1, y, 0.5), (path[0] + 0.18, y + 1.8, 0.95), Paint((118, 92, 66)), omit="d")
        items.append(Item(FURNITURE, join([seat, back]), (path[0], y)))
    return items


def _tree(rng: np.random.Generator, place: tuple[float, float], size: float = 1.0) -> Item:
    height, reach = size * rng.uniform(5, 10), size * rng.uniform(1.6, 2.8)
    parts = [tube((0, 0, -0.3), (0, 0, 0.55 * height), 0.2, Paint((92, 76, 60)), 6)]
    tint = np.array(_pick(rng, _LEAVES))
    for _ in range(int(rng.integers(5, 9))):
        centre = (*rng.normal(0, 0.35 * reach, 2), rng.uniform(0.45, 0.85) * height)
        radii = reach * rng.uniform(0.45, 0.7, 3) * (1, 1, 1.1)
        red, green, blue = tint * rng.uniform(0.85, 1.15) + rng.normal(0, 4, 3)
        parts.append(ball(centre, radii, Paint((red, green, blue)), 8, 5))
    return Item(VEGETATION, join(parts).moved((*place, 0.0)), place)


def _car(rng: np.random.Generator, place: tuple[float, float], yaw: float) -> Item:
    paint, glass = Paint(_pick(rng, _CARS)), Paint((44, 48, 54))
    body = box((-2.15, -0.88, 0.25), (2.15, 0.88, 0.95), paint, omit="d")
    cabin = box((-1.5, -0.78, 0.95), (0.9, 0.78, 1.45), glass, omit="du")
    roof = _flat((-1.5, -0.78, 0.9, 0.78), paint, 1.45)
    return Item(CAR, join([body, cabin, roof]).moved((*place, 0.0), yaw), place)


def _bike(rng: np.random.Generator, place: tuple[float, float]) -> Item:
    """Two wheels and a frame, at about the detail that aerial pictures leave of it."""
    paint = Paint(_pick(rng, _CARS), two_sided=True)
    wheels = patches(np.array([(-0.85, 0, 0), (0.17, 0, 0)]), (0.68, 0, 0), (0, 0, 0.68), paint, DISC)
    frame = patches((-0.5, 0, 0.35), (1.0, 0, 0), (0, 0, 0.6), paint)
    bar = box((0.35, -0.28, 0.95), (0.45, 0.28, 1.05), paint)
    return Item(BIKE, join([wheels, frame, bar]).moved((*place, 0.12), np.pi / 2 + rng.normal(0, 0.1)), place)


def _lamp(place: tuple[float, float]) -> Item:
    post = cylinder((*place, 0.0), 0.1, 6.5, Paint(_METAL), 6, omit="d")
    arm = box((place[0] - 0.15, place[1], 6.3), (place[0] + 0.15, place[1] + 1.6, 6.5), Paint(_METAL))
    return Item(FURNITURE, join([post, arm]), place)


def _bin(place: tuple[float, float]) -> Item:
    return Item(FURNITURE, cylinder((*place, 0.1), 0.35, 1.1, Paint((62, 82, 66)), 8, omit="d"), place)


def _windows(plan: Plot, height: float) -> Surfaces:
    """Panes on the four walls of a building, a centimetre in front of them, one row a storey of 3 m."""
    x0, y0, x1, y1 = plan
    parts: list[Surfaces] = []
    for z in np.arange(1.0, height - 1.5, 3.0):
        xs, ys = np.arange(x0 + 1, x1 - 1.6, 2.7), np.arange(y0 + 1, y1 - 1.6, 2.7)
        for y, along in ((y0 - 0.01, 1.3), (y1 + 0.01, -1.3)):
            corner = np.column_stack([xs - min(along, 0), np.full(len(xs), y), np.full(len(xs), z)])
            parts.append(patches(corner, (along, 0, 0), (0, 0, 1.4), Paint(_GLASS)))
        for x, along in ((x0 - 0.01, -1.3), (x1 + 0.01, 1.3)):
            corner = np.column_stack([np.full(len(ys), x), ys - min(along, 0), np.full(len(ys), z)])
            parts.append(patches(corner, (0, along, 0), (0, 0, 1.4), Paint(_GLASS)))
    return join(parts)


def _flat(area: Sequence[float], paint: Paint, z: float) -> Surfaces:
    x0, y0, x1, y1 = area
    return patches((x0, y0, z), (x1 - x0, 0, 0), (0, y1 - y0, 0), paint)


def _pick(rng: np.random.Generator, colors: Sequence[Rgb]) -> Rgb:
    return colors[int(rng.integers(len(colors)))]
