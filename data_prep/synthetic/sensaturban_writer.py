"""Made-up tiles of a town in SensatUrban's native layout, about as photogrammetry from a drone would give them.

They stand in for SensatUrban where it is not at hand: for demonstrations and tests, not as a benchmark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from data_prep._sensaturban_split import OFFICIAL, official_split
from data_prep.synthetic.surfaces import DISC, TRIANGLE, Surfaces, join
from data_prep.synthetic.town import BANK, BRIDGE, GROUND, RIVER, SIDE, VEGETATION, WATER, Item, build_town
from pointseg.atomic import replacing_file
from pointseg.errors import InputError

ORIGIN = (405_000.0, 287_000.0, 112.0)
"""South-west corner of the first tile, metres in a national grid: float32 has steps of 3 cm there."""

NAMES = tuple(sorted((t for tiles in OFFICIAL.values() for t in tiles), key=lambda t: (t[0], int(t.rsplit("_", 1)[1]))))
"""The tiles in the order they are made; among the first three are one of each split."""

_SUN = np.array([-0.45, -0.35, 0.82]) / np.linalg.norm([-0.45, -0.35, 0.82])
_SIDEWAYS = 0.45
"""Points on a wall for one on a roof of the same area: the camera mostly looks down."""


def write_sensaturban(out: str | Path, *, tiles: int, seed: int, density: float) -> list[Path]:
    """Write ``out/train/<tile>.ply`` and ``out/test/<tile>.ply``; those of the test split have no classes.

    Every class occurs in the first two tiles. A tile depends on the seed, its place and the density only.

    Args:
        out: Folder that receives the two folders; files there under the same names are replaced.
        tiles: How many, 1 to 43; each is 64 m square.
        seed: At least 0.
        density: Points per square metre of surface seen from above; the published tiles have a few hundred.

    Returns:
        The files.

    Raises:
        InputError: A number is out of its range.
    """
    if not 1 <= tiles <= len(NAMES):
        raise InputError(f"the number of tiles is {tiles}, but must be 1 to {len(NAMES)}, as many as SensatUrban has")
    if seed < 0 or not 0.5 <= density <= 2000:
        raise InputError(f"seed {seed} and density {density}, but the seed must be 0 or more, the density 0.5 to 2000")
    paths = []
    for index, name in enumerate(NAMES[:tiles]):
        split = official_split(name)
        path = Path(out) / ("test" if split == "test" else "train") / f"{name}.ply"
        path.parent.mkdir(parents=True, exist_ok=True)
        coord, color, label = make_tile(index, seed, density)
        with replacing_file(path) as unfinished:
            _write_ply(unfinished, coord, color, None if split == "test" else label)
        paths.append(path)
    return paths


def make_tile(index: int, seed: int, density: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One tile in memory: coordinates (N, 3) float64 metres, colours (N, 3) uint8, classes (N,) uint8.

    Args:
        index: Its place in the row of tiles; odd ones have a river and a bridge, even ones a railway.
        seed: Of the data set.
        density: Points per square metre of surface seen from above.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    river = index % 2 == 1
    items = build_town(rng, river=river)
    surfaces = join([item.surfaces for item in items])
    sizes = [len(item.surfaces) for item in items]
    label_of = np.repeat(np.array([item.label for item in items], np.uint8), sizes)
    patch, coord, normal = _sample(rng, surfaces, density)
    label = label_of[patch]
    wave = rng.uniform(0, 2 * np.pi, 2)
    coord[:, 2] += _terrain(_standing(items, sizes, patch, coord), wave, river)
    coord += rng.normal(0, 1, coord.shape) * np.where(label == VEGETATION, 0.1, 0.02)[:, None]
    inside = ((coord[:, :2] >= 0) & (coord[:, :2] <= SIDE)).all(axis=1)
    # Wide enough that cells without a point are rare: one would look as if nothing stood there.
    cell = max(0.5, 2.6 / density**0.5)
    keep = inside & _seen(rng, coord, normal, label, _terrain(coord, wave, river), cell)
    patch, coord, normal, label = patch[keep], coord[keep], normal[keep], label[keep]
    color = _colors(rng, surfaces.color[patch], coord, normal, label, cell)
    order = rng.permutation(len(coord))
    place = np.add(ORIGIN, (SIDE * (index % 8), SIDE * (index // 8), 0))
    return (coord + place)[order], color[order], label[order]


def _sample(rng: np.random.Generator, surfaces: Surfaces, density: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patch (N,), position (N, 3) and normal (N, 3) of points spread evenly over what faces upwards or sideways."""
    normal = np.cross(surfaces.a, surfaces.b)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal[surfaces.two_sided & (normal[:, 2] < 0)] *= -1
    weight = np.where(normal[:, 2] < -0.3, 0.0, _SIDEWAYS + (1 - _SIDEWAYS) * np.clip(normal[:, 2], 0, 1))
    expected = density * surfaces.area * weight
    patch = np.repeat(np.arange(len(surfaces)), rng.poisson(expected))
    st = rng.uniform(size=(len(patch), 2))
    fold = (surfaces.shape[patch] == TRIANGLE) & (st.sum(axis=1) > 1)
    st[fold] = 1 - st[fold]
    disc = surfaces.shape[patch] == DISC
    radius, angle = 0.5 * np.sqrt(st[disc, 0]), 2 * np.pi * st[disc, 1]
    st[disc] = 0.5 + np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    coord = surfaces.origin[patch] + st[:, :1] * surfaces.a[patch] + st[:, 1:] * surfaces.b[patch]
    return patch, coord, normal[patch]


def _terrain(coord: np.ndarray, wave: np.ndarray, river: bool) -> np.ndarray:
    """(N,) height of the ground, metres: gentle waves, level along a river."""
    x, y = coord[:, 0], coord[:, 1]
    height = 0.5 * np.sin(2 * np.pi * x / 90 + wave[0]) + 0.35 * np.sin(2 * np.pi * y / 75 + wave[1])
    if river:
        away = np.maximum(RIVER[0] - BANK - x, x - RIVER[1] - BANK)
        height *= np.clip(away / 12, 0, 1)
    return height


def _standing(items: list[Item], sizes: list[int], patch: np.ndarray, coord: np.ndarray) -> np.ndarray:
    """(N, 2) where the terrain lifts a point: at the anchor of its item, or where it is itself."""
    anchor = np.repeat(np.array([item.anchor or (np.nan, np.nan) for item in items]), sizes, axis=0)[patch]
    return np.where(np.isnan(anchor), coord[:, :2], anchor)


def _seen(
    rng: np.random.Generator, coord: np.ndarray, normal: np.ndarray, label: np.ndarray, ground: np.ndarray, size: float
) -> np.ndarray:
    """(N,) which points pictures from above and aslant would show: little under trees, nothing under roofs."""
    cell, columns = _cells(coord, size)
    order = np.lexsort((coord[:, 2], cell))
    last = np.flatnonzero(np.diff(cell[order], append=-1))
    top = np.zeros(columns * columns, np.int64)
    top[cell[order[last]]] = order[last]
    above = top[cell]
    covered = coord[above, 2] - coord[:, 2] > 0.6
    leaves = label[above] == VEGETATION
    keep = ~covered | (np.abs(normal[:, 2]) < 0.3) | (leaves & (rng.random(len(coord)) < 0.3))
    buried = (coord[:, 2] < ground - 0.1) & ~np.isin(label, (GROUND, WATER, BRIDGE))
    return keep & ~buried


def _colors(
    rng: np.random.Generator, base: np.ndarray, coord: np.ndarray, normal: np.ndarray, label: np.ndarray, size: float
) -> np.ndarray:
    """(N, 3) uint8: paint, patches of different growth and wear, sun and cast shadow, the camera's noise."""
    x, y = coord[:, 0], coord[:, 1]
    mottle = np.zeros(len(coord))
    for length in (17.0, 6.0, 2.1):
        turn, phase = rng.uniform(0, 2 * np.pi, 2)
        mottle += np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / length + phase) * np.sin(
            2 * np.pi * (y * np.cos(turn) - x * np.sin(turn)) / length + 2 * phase
        )
    grown = np.isin(label, (GROUND, VEGETATION))
    light = np.where(_shadow(coord, size), 0.5, 0.62 + 0.5 * np.clip(normal @ _SUN, 0, 1))
    color = base * (light * (1 + np.where(grown, 0.07, 0.025) * mottle))[:, None]
    color += rng.normal(0, 6, (len(coord), 1)) * np.where(grown, 1.6, 1.0)[:, None] + rng.normal(0, 3, color.shape)
    return np.clip(np.rint(color), 0, 255).astype(np.uint8)


def _shadow(coord: np.ndarray, size: float) -> np.ndarray:
    """(N,) whether something stands between a point and the sun, on a raster of the highest points."""
    cell, columns = _cells(coord, size)
    height = np.full(columns * columns, -np.inf)
    np.maximum.at(height, cell, coord[:, 2])
    dark = np.zeros(len(coord), bool)
    for distance in np.arange(1.0, 22.0, 0.7):
        on_ray = coord + distance * _SUN
        inside = ((on_ray[:, :2] >= 0) & (on_ray[:, :2] < SIDE)).all(axis=1)
        dark[inside] |= height[_cells(on_ray[inside], size)[0]] > on_ray[inside, 2] + 0.4
    return dark


def _cells(coord: np.ndarray, size: float) -> tuple[np.ndarray, int]:
    columns = int(np.ceil(SIDE / size)) + 1
    index = np.clip(np.floor(coord[:, :2] / size), 0, columns - 1).astype(np.int64)
    return index[:, 0] * columns + index[:, 1], columns


def _write_ply(path: Path, coord: np.ndarray, color: np.ndarray, label: np.ndarray | None) -> None:
    names = ["x", "y", "z", "red", "green", "blue", *(["class"] if label is not None else [])]
    vertex = np.empty(len(coord), [(name, "<f8" if name in "xyz" else "u1") for name in names])
    for name, values in zip(names, [*coord.T, *color.T, label], strict=False):
        vertex[name] = values
    PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(str(path))
