"""One S3DIS room: which annotation files it has, what they say, and the prepared scene made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep._s3dis_text import parse_points
from pointseg.data.classes import Classes, SourceId
from pointseg.data.scene import PreparedScene, add_grids, open_scene, write_scene
from pointseg.errors import InputError

KNOWN_DEFECTS: dict[str, int] = {
    "Area_5/hallway_6/Annotations/ceiling_1.txt": 180389,
    "Area_5/office_19/Annotations/ceiling_1.txt": 323474,
}
"""Annotation files of the published releases (1.2 and its aligned version) with a stray byte, and its line."""

_COPY = re.compile(r"(?P<original>.+?) \([0-9]+\)")
_NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>[0-9]+)")


@dataclass(frozen=True)
class RoomTask:
    """What it takes to prepare one room; sent to worker processes.

    Attributes:
        raw: Folder of the areas.
        out: Root of the prepared scenes.
        area: Split, such as ``Area_5``.
        room: Such as ``hallway_6``.
        dataset: Written to the scene's ``meta.json``.
        classes: Of the root.
        voxel_sizes: Grids to store, metres.
    """

    raw: Path
    out: Path
    area: str
    room: str
    dataset: str
    classes: Classes
    voxel_sizes: tuple[float, ...]

    @property
    def name(self) -> str:
        """``Area_5/hallway_6``."""
        return f"{self.area}/{self.room}"

    @property
    def annotations(self) -> Path:
        """The folder of the room's annotation files."""
        return self.raw / self.area / self.room / "Annotations"


@dataclass(frozen=True)
class RoomResult:
    """What became of a room.

    Attributes:
        name: ``Area_5/hallway_6``.
        status: ``written``, ``kept`` (it was up to date) or ``failed``.
        points: N, 0 if it failed.
        repairs: What was mended or left out in reading it.
        error: Why it failed, else "".
    """

    name: str
    status: str
    points: int = 0
    repairs: tuple[Mapping[str, Any], ...] = ()
    error: str = ""


def prepare_room(task: RoomTask) -> RoomResult:
    """Prepare a room unless its scene is there, whole, and made from the same files.

    Bad input does not raise: it is the result's ``error``, so that the other rooms go on.
    """
    try:
        files = annotation_files(task.annotations)
        scene = _up_to_date(task, files)
        if scene is not None:
            add_grids(scene, task.voxel_sizes)
            return RoomResult(task.name, "kept", scene.num_points, tuple(scene.meta["repairs"]))
        return _write(task, files)
    except InputError as error:
        return RoomResult(task.name, "failed", error=str(error))
    except (OSError, MemoryError) as error:
        return RoomResult(task.name, "failed", error=f"{type(error).__name__}: {error}")


def annotation_files(folder: Path) -> list[Path]:
    """The room's annotation files, in natural order (``wall_2`` before ``wall_10``); hidden and other files are not.

    Raises:
        InputError: There are none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; a room needs its annotation files there")
    files = [p for p in folder.iterdir() if p.suffix == ".txt" and not p.name.startswith(".")]
    if not files:
        raise InputError(f"{folder} holds no annotation files such as wall_1.txt; fetch the room again")
    return sorted(files, key=_natural)


def class_of(path: Path, labels: Mapping[SourceId, int]) -> int:
    """The class of an annotation file, from the word before the number in its name.

    Args:
        path: Such as ``wall_3.txt``.
        labels: Source word -> class.

    Raises:
        InputError: No class has that word.
    """
    numbered = _NUMBERED.fullmatch(path.stem)
    word = numbered["name"] if numbered else path.stem
    if word not in labels:
        known = ", ".join(sorted(map(str, labels)))
        raise InputError(
            f"{path}: no class has the source name {word!r}; the class file knows {known}; add it to the 'source' of a "
            "class there"
        )
    return labels[word]


def _up_to_date(task: RoomTask, files: Sequence[Path]) -> PreparedScene | None:
    folder = task.out / task.area / task.room
    if not folder.exists():
        return None
    try:
        scene = open_scene(folder)
    except InputError:
        return None
    if scene.meta["dataset"] != task.dataset:
        raise InputError(
            f"{folder} was prepared from {scene.meta['dataset']}, not {task.dataset}; choose another --out folder"
        )
    recorded = {entry["name"]: entry for entry in scene.meta.get("sources", [])}
    names = {_source_name(task, path): path for path in files}
    if set(recorded) != set(names):
        return None
    return scene if all(_unchanged(path, recorded[name]) for name, path in names.items()) else None


def _unchanged(path: Path, recorded: Mapping[str, Any]) -> bool:
    stat = path.stat()
    if stat.st_size != recorded["bytes"]:
        return False
    return stat.st_mtime_ns == recorded["mtime_ns"] or _sha256(path.read_bytes()) == recorded["sha256"]


def _write(task: RoomTask, files: Sequence[Path]) -> RoomResult:
    labels = task.classes.labels_by_source()
    coords: list[np.ndarray] = []
    colors: list[np.ndarray] = []
    segments: list[np.ndarray] = []
    instances: list[np.ndarray] = []
    sources: list[dict[str, Any]] = []
    repairs: list[dict[str, Any]] = []
    for path in files:
        name, stat, data = _source_name(task, path), path.stat(), path.read_bytes()
        sources.append({"name": name, "bytes": len(data), "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(data)})
        copy = _COPY.fullmatch(path.stem)
        if copy and path.with_name(f"{copy['original']}.txt") in files:
            repairs.append({"file": name, "kind": "duplicate", "what": f"skipped, a copy of {copy['original']}.txt"})
            continue
        label = class_of(path.with_name(f"{copy['original']}.txt") if copy else path, labels)
        points = parse_points(path, data)
        repairs += [
            {"file": name, "kind": "stray bytes", "known": KNOWN_DEFECTS.get(name) == mended.line, **vars(mended)}
            for mended in points.mended
        ]
        if len(points.coord) == 0:
            repairs.append({"file": name, "kind": "empty", "what": "skipped, it holds no points"})
            continue
        instances.append(np.full(len(points.coord), len(coords), dtype=np.int32))
        segments.append(np.full(len(points.coord), label, dtype=np.int16))
        coords.append(points.coord)
        colors.append(points.color)
    if not coords:
        raise InputError(f"{task.annotations} holds no points at all; fetch the room again")
    coord = np.concatenate(coords)
    write_scene(
        task.out,
        task.area,
        task.room,
        coord=coord,
        color=np.concatenate(colors),
        segment=np.concatenate(segments),
        instance=np.concatenate(instances),
        dataset=task.dataset,
        sources=sources,
        repairs=repairs,
        voxel_sizes=task.voxel_sizes,
    )
    return RoomResult(task.name, "written", len(coord), tuple(repairs))


def _source_name(task: RoomTask, path: Path) -> str:
    return path.relative_to(task.raw).as_posix()


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.stem)]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
