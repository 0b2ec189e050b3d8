"""What a prepared root holds, from its ``meta.json`` files and one small array a scene."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.check import CHUNK, draw_names, scene_folders
from pointseg.data.classes import Classes, load_classes
from pointseg.data.scene import PreparedScene, open_scene
from pointseg.data.scene_reader import ARRAYS
from pointseg.data.sparse_labels import open_labels
from pointseg.errors import InputError


@dataclass(frozen=True)
class SplitInfo:
    """One split: its name, scenes, raw points and, by the size of the stored grids, voxels."""

    name: str
    scenes: int
    points: int
    voxels: dict[str, int]


@dataclass(frozen=True)
class GridInfo:
    """The voxel grids of one size over all scenes.

    Attributes:
        size: Edge of a voxel as ``meta.json`` spells it, metres.
        scenes: How many scenes have it.
        voxels: In all of them.
        points_per_voxel: Mean over those scenes.
    """

    size: str
    scenes: int
    voxels: int
    points_per_voxel: float


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the largest value over scenes."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class DrawInfo:
    """Stored sparse labels; ``rule`` is that of a draw, or where imported ones are from, such as ``from clicks``."""

    name: str
    rule: str
    scenes: int
    labels: int
    share_of_points: float


@dataclass(frozen=True)
class RootInfo:
    """A prepared root.

    Attributes:
        root: Its folder.
        datasets: Names of the data sets its scenes are from.
        splits: One entry a split.
        grids: One entry a voxel size, the smallest first.
        extent: Of the scenes along x, y and z, metres, to within a voxel of the coarsest grid; None without scenes.
        spacing: 1 / sqrt(points per square metre of surface), metres, estimated as voxel edge / sqrt(points per voxel)
            of the coarsest grid; points scattered at random are half as far from their nearest neighbour on average.
            None where its voxels hold less than 2 points.
        classes: Points by class name, in label order.
        ignored: Points of class -1.
        unlabelled_scenes: Scenes without ground truth.
        arrays: Array name -> how many scenes have it.
        crs: Reference system -> scenes, by its name.
        offset: Least and largest offset that was subtracted, metres along x, y and z; None without scenes.
        repairs: What was mended, mapped or left out, and in how many scenes.
        draws: One entry a draw.
        damaged: Scenes and draws that cannot be opened, a sentence each; they count nowhere else.
    """

    root: str
    datasets: tuple[str, ...]
    splits: tuple[SplitInfo, ...]
    grids: tuple[GridInfo, ...]
    extent: tuple[Spread, Spread, Spread] | None
    spacing: float | None
    classes: dict[str, int]
    ignored: int
    unlabelled_scenes: int
    arrays: dict[str, int]
    crs: dict[str, int]
    offset: tuple[list[float], list[float]] | None
    repairs: tuple[int, int]
    draws: tuple[DrawInfo, ...]
    damaged: tuple[str, ...]

    @property
    def points(self) -> int:
        """Raw points of all scenes."""
        return sum(split.points for split in self.splits)

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return sum(split.scenes for split in self.splits)


def describe_root(root: str | Path, *, watch: Callable[[Sequence[Path]], Iterable[Path]] = iter) -> RootInfo:
    """Sum up a prepared root.

    Args:
        root: Folder of prepared scenes.
        watch: Is given the scene folders and hands them back one by one, so that a caller can show progress.

    Raises:
        InputError: No such folder, no scenes in it, or no class file.
    """
    folders = scene_folders(root)
    if not folders:
        raise InputError(f"{root} holds no prepared scenes; make some with 'pointseg prepare'")
    classes = load_classes(Path(root) / "classes.yaml")
    scenes: list[PreparedScene] = []
    extents: list[np.ndarray] = []
    damaged: list[str] = []
    for folder in watch(folders):
        try:
            scene = open_scene(folder)
            extents.append(_extent(scene))
            scenes.append(scene)
        except InputError as error:
            damaged.append(str(error))
    draws, bad_draws = _draws(root)
    counts = Counter[int]()
    for scene in scenes:
        counts.update({int(label): count for label, count in scene.meta["counts"].items()})
    grids = _grids(scenes)
    return RootInfo(
        root=str(root),
        datasets=tuple(sorted({scene.meta["dataset"] for scene in scenes})),
        splits=_splits(scenes),
        grids=grids,
        extent=_spreads(extents) if extents else None,
        spacing=_spacing(grids),
        classes=_named(counts, classes),
        ignored=counts[-1],
        unlabelled_scenes=sum("segment" not in scene.meta["arrays"] for scene in scenes),
        arrays={name: sum(name in scene.meta["arrays"] for scene in scenes) for name in ARRAYS},
        crs=dict(Counter(crs_name(str(s.meta["facts"]["crs"])) for s in scenes if s.meta.get("facts", {}).get("crs"))),
        offset=_offsets(scenes) if scenes else None,
        repairs=(
            sum(len(scene.meta.get("repairs", [])) for scene in scenes),
            sum(bool(scene.meta.get("repairs")) for scene in scenes),
        ),
        draws=draws,
        damaged=(*damaged, *bad_draws),
    )


def crs_name(text: str) -> str:
    """The name of a reference system: the first quoted words of well-known text, or the text itself.

    Args:
        text: ``PROJCS["RGF93 / Lambert-93", ...]`` or ``EPSG:2154``.
    """
    named = re.match(r'\s*[A-Z0-9_]+\s*\[\s*"([^"]+)"', text)
    return named[1] if named else text


def _extent(scene: PreparedScene) -> np.ndarray:
    """(3,) metres along each axis: from the coarsest stored grid, which is small, else from the points."""
    if scene.voxel_sizes:
        grid = scene.grid(max(scene.voxel_sizes))
        return (np.ptp(grid.coord, axis=0).astype(np.float64) + 1) * grid.voxel_size
    parts = [scene.coord[start : start + CHUNK] for start in range(0, scene.num_points, CHUNK)]
    low, high = np.min([p.min(axis=0) for p in parts], axis=0), np.max([p.max(axis=0) for p in parts], axis=0)
    return (high - low).astype(np.float64)


def _spreads(extents: Sequence[np.ndarray]) -> tuple[Spread, Spread, Spread]:
    least, median, most = np.min(extents, axis=0), np.median(extents, axis=0), np.max(extents, axis=0)
    x, y, z = (Spread(float(least[axis]), float(median[axis]), float(most[axis])) for axis in range(3))
    return x, y, z


def _splits(scenes: Sequence[PreparedScene]) -> tuple[SplitInfo, ...]:
    result = []
    for split in sorted({scene.split for scene in scenes}):
        inside = [scene for scene in scenes if scene.split == split]
        result.append(SplitInfo(split, len(inside), sum(scene.num_points for scene in inside), _voxels(inside)))
    return tuple(result)


def _grids(scenes: Sequence[PreparedScene]) -> tuple[GridInfo, ...]:
    result = []
    for size, voxels in _voxels(scenes).items():
        having = [scene for scene in scenes if size in scene.meta["grids"]]
        points = sum(scene.num_points for scene in having)
        result.append(GridInfo(size, len(having), voxels, points / voxels))
    return tuple(result)


def _voxels(scenes: Sequence[PreparedScene]) -> dict[str, int]:
    total = Counter[str]()
    for scene in scenes:
        total.update({size: entry["num_voxels"] for size, entry in scene.meta["grids"].items()})
    return dict(sorted(total.items(), key=lambda entry: float(entry[0])))


def _spacing(grids: Sequence[GridInfo]) -> float | None:
    """Where voxels hold fewer than two points, their size bounds the spacing no better than from below."""
    if not grids or grids[-1].points_per_voxel < 2:
        return None
    return float(grids[-1].size) / float(np.sqrt(grids[-1].points_per_voxel))


def _named(counts: Counter[int], classes: Classes) -> dict[str, int]:
    """Points by class; a class that the class file does not know gets its number for a name."""
    unknown = sorted(label for label in counts if label >= classes.num_classes)
    known = {name: counts[label] for label, name in enumerate(classes.names)}
    return known | {f"class {label} (unknown)": counts[label] for label in unknown}


def _offsets(scenes: Sequence[PreparedScene]) -> tuple[list[float], list[float]]:
    offsets = np.array([scene.offset for scene in scenes])
    return offsets.min(axis=0).tolist(), offsets.max(axis=0).tolist()


def _draws(root: str | Path) -> tuple[tuple[DrawInfo, ...], list[str]]:
    draws: list[DrawInfo] = []
    damaged: list[str] = []
    for name in draw_names(root):
        try:
            spec: dict[str, Any] = open_labels(root, name).spec
        except InputError as error:
            damaged.append(str(error))
            continue
        labels, points = spec["num_labels"], spec["num_points"]
        rule = spec["rule"] or f"from {spec['source']['kind']}"
        draws.append(DrawInfo(name, rule, len(spec["scenes"]), labels, labels / points))
    return tuple(draws), damaged
