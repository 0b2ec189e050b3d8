"""Colours: an area has a style, a room varies it, and the same few tones paint several classes.

Walls, ceilings, boards, beams, tables and clutter are all white somewhere; wood is floor, table, door, beam or
bookcase; dark or bright cloth is chair, sofa or clutter. Colour alone must not give the class away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.surfaces import BOOKS, CARPET, PLAIN, PRINT, TILE, WOOD, Paint

Rgb = tuple[float, float, float]

WALLS: list[Rgb] = [(222, 220, 212), (214, 204, 184), (196, 200, 202), (204, 214, 208), (226, 216, 196)]
WOODS: list[Rgb] = [(176, 132, 84), (142, 98, 60), (202, 168, 120), (112, 78, 52)]
DARKS: list[Rgb] = [(54, 54, 58), (46, 50, 66), (70, 60, 54), (60, 66, 62)]
GREYS: list[Rgb] = [(150, 150, 148), (124, 126, 130), (172, 168, 160)]
ACCENTS: list[Rgb] = [(150, 60, 52), (62, 88, 138), (84, 118, 74), (178, 140, 60), (110, 72, 110), (60, 120, 124)]
WHITE: Rgb = (228, 228, 224)
GLOSS: Rgb = (240, 242, 246)
CORK: Rgb = (178, 138, 92)
CHALK_GREEN: Rgb = (56, 84, 70)
FOLIAGE: Rgb = (76, 110, 58)


@dataclass(frozen=True)
class Palette:
    """The paints of one room, by what they are used for."""

    wall: Paint
    ceiling: Paint
    floor: Paint
    trim: Paint
    sash: Paint
    wood: Paint
    dark: Paint
    grey: Paint
    white: Paint
    accent: Paint
    metal: Paint
    door: Paint
    column: Paint
    beam: Paint
    table: Paint
    chair: Paint
    sofa: Paint
    bookcase: Paint
    books: Paint
    glass: Paint
    leaf: Paint
    paper: Paint
    cork: Paint
    chalkboard: Paint
    whiteboard: Paint


def room_palette(area_rng: np.random.Generator, rng: np.random.Generator) -> Palette:
    """Draw one room's paints.

    Args:
        area_rng: Generator in the same state for every room of an area: the building's style.
        rng: The room's own generator.
    """
    wall, wood = _pick(area_rng, WALLS), _pick(area_rng, WOODS)
    floor_kind = str(area_rng.choice(["wood", "tile", "carpet"]))
    if rng.random() < 0.4:
        wall = _pick(rng, WALLS)
    if rng.random() < 0.4:
        wood = _pick(rng, WOODS)
    if rng.random() < 0.4:
        floor_kind = str(rng.choice(["wood", "tile", "carpet"]))
    dark, grey, accent = _pick(rng, DARKS), _pick(rng, GREYS), _pick(rng, ACCENTS)
    floors = {
        "wood": Paint(wood, WOOD),
        "tile": Paint(_pick(rng, [*GREYS, *WALLS]), TILE),
        "carpet": Paint(_pick(rng, [*GREYS, *DARKS, accent]), CARPET),
    }
    basic = {
        "wood": Paint(_jitter(rng, wood), WOOD),
        "dark": Paint(_jitter(rng, dark), PLAIN),
        "grey": Paint(_jitter(rng, grey), PLAIN),
        "white": Paint(_jitter(rng, WHITE), PLAIN),
        "wall": Paint(_jitter(rng, wall), PLAIN),
        "accent": Paint(_jitter(rng, accent), PLAIN),
    }

    def one_of(*names: str) -> Paint:
        return basic[str(rng.choice(names))]

    return Palette(
        wall=basic["wall"],
        ceiling=Paint(_jitter(rng, WHITE if rng.random() < 0.6 else wall), TILE if rng.random() < 0.5 else PLAIN),
        floor=floors[floor_kind],
        trim=one_of("grey", "dark", "dark", "wood"),
        sash=one_of("white", "white", "grey"),
        wood=basic["wood"],
        dark=basic["dark"],
        grey=basic["grey"],
        white=basic["white"],
        accent=basic["accent"],
        metal=Paint(_jitter(rng, GREYS[0]), PLAIN),
        door=one_of("wood", "wood", "wood", "wood", "accent"),
        column=one_of("wall", "grey", "grey", "grey"),
        beam=one_of("wall", "white", "grey", "wood"),
        table=one_of("wood", "wood", "wood", "white"),
        chair=one_of("dark", "dark", "dark", "accent"),
        sofa=one_of("dark", "accent", "accent"),
        bookcase=one_of("wood", "wood", "grey"),
        books=Paint(_jitter(rng, accent), BOOKS),
        glass=Paint((150, 170, 186), PLAIN, returns=0.25, two_sided=True),
        leaf=Paint(_jitter(rng, FOLIAGE), CARPET, two_sided=True),
        paper=Paint(_jitter(rng, WHITE), PRINT),
        cork=Paint(_jitter(rng, CORK), PRINT),
        chalkboard=Paint(_jitter(rng, CHALK_GREEN if rng.random() < 0.5 else dark), PRINT),
        whiteboard=Paint(_jitter(rng, GLOSS), PRINT),
    )


def _pick(rng: np.random.Generator, colors: list[Rgb]) -> Rgb:
    return colors[int(rng.integers(len(colors)))]


def _jitter(rng: np.random.Generator, color: Rgb) -> Rgb:
    shifted = np.clip(np.asarray(color) * rng.uniform(0.92, 1.08) + rng.normal(0, 4, 3), 5, 250)
    return float(shifted[0]), float(shifted[1]), float(shifted[2])
