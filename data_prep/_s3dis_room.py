"""One S3DIS room: which annotation files it has and what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep._jobs import RawScene
from data_prep._normals import estimate_normals
from data_prep._s3dis_defects import skipped_copy
from data_prep._s3dis_text import parse_points
from pointseg.data.classes import SourceId
from pointseg.errors import InputError

_COPY = re.compile(r"(?P<original>.+?) \([0-9]+\)")
_NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>[0-9]+)")


def read_room(
    files: Sequence[Path], *, folder: Path, raw: Path, labels: Mapping[SourceId, int], normals: bool = False
) -> RawScene:
    """Read the annotation files of one room; instances are numbered in the order of the files.

    Args:
        files: As ``annotation_files`` lists them.
        folder: Where they are.
        raw: Folder of the areas; repairs name files relative to it.
        labels: Source word -> class.
        normals: Whether to estimate normals; they are turned towards the middle of the room.

    Raises:
        InputError: No files, or one that is not S3DIS text or of an unknown class; the message names file and line.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; a room needs its annotation files there")
    if not files:
        raise InputError(f"{folder} holds no annotation files such as wall_1.txt; fetch the room again")
    coords: list[np.ndarray] = [np.empty((0, 3))]
    colors: list[np.ndarray] = [np.empty((0, 3), np.uint8)]
    segments: list[np.ndarray] = [np.empty(0, np.int16)]
    repairs: list[dict[str, Any]] = []
    for path in files:
        name = path.relative_to(raw).as_posix()
        copy = _COPY.fullmatch(path.stem)
        if copy and path.with_name(f"{copy['original']}.txt") in files:
            what = skipped_copy(path, path.with_name(f"{copy['original']}.txt"))
            repairs.append({"file": name, "kind": "duplicate", "what": what})
            continue
        label = class_of(path.with_name(f"{copy['original']}.txt") if copy else path, labels)
        points = parse_points(path, path.read_bytes())
        repairs += [{"file": name, "kind": "stray bytes", **vars(mended)} for mended in points.mended]
        if len(points.coord) == 0:
            repairs.append({"file": name, "kind": "empty", "what": "skipped, it holds no points"})
            continue
        segments.append(np.full(len(points.coord), label, dtype=np.int16))
        coords.append(points.coord)
        colors.append(points.color)
    lengths = [len(coord) for coord in coords[1:]]
    coord = np.concatenate(coords)
    return RawScene(
        coord=coord,
        normal=estimate_normals(coord) if normals else None,
        color=np.concatenate(colors),
        segment=np.concatenate(segments),
        instance=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        repairs=tuple(repairs),
    )


def annotation_files(folder: Path) -> list[Path]:
    """A room's annotation files, in natural order (``wall_2`` before ``wall_10``); hidden and other files are not."""
    if not folder.is_dir():
        return []
    files = [p for p in folder.iterdir() if p.suffix == ".txt" and not p.name.startswith(".")]
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


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.stem)]
