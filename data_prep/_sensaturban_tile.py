"""One tile of SensatUrban: a PLY file of vertices with x, y, z, red, green, blue and, but for the test split, class."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElementParseError, PlyParseError

from data_prep._jobs import RawScene, join_scenes
from data_prep._sensaturban_split import CUT_SHORT
from pointseg.data.classes import SourceId
from pointseg.data.formats.ply_counts import check_ply_counts
from pointseg.data.npy import mapped_slices
from pointseg.errors import InputError

_CLASS = "class"
_BLOCK = 1 << 20
"""Points handled at a time where a temporary copy is needed."""


def read_tile(files: Sequence[Path], *, labels: Mapping[SourceId, int], labelled: bool) -> RawScene:
    """Read a tile whole; see ``read_chunks``."""
    return join_scenes(read_chunks(files, sys.maxsize, labels=labels, labelled=labelled))


def read_chunks(
    files: Sequence[Path], points: int, *, labels: Mapping[SourceId, int], labelled: bool
) -> Iterator[RawScene]:
    """Read a tile in chunks; the last has no points but the facts.

    Args:
        files: The one PLY file.
        points: Of a chunk, at most.
        labels: Number in the tile -> class.
        labelled: Whether the tile must have classes, as those of the train and val splits have.

    Raises:
        InputError: A file that is no PLY, that holds another number of points than its header says, lacks a property,
            or has coordinates, colours or classes out of range.
    """
    (path,) = files
    vertex = _vertices(path)
    names = vertex.dtype.names or ()
    wanted = ["x", "y", "z", "red", "green", "blue", *([_CLASS] if labelled else [])]
    if lacking := [name for name in wanted if name not in names]:
        raise InputError(
            f"{path} has no property {', '.join(lacking)}; it has {', '.join(names)}; a tile needs {', '.join(wanted)}"
        )
    if lists := [name for name in wanted if vertex.dtype[name].kind not in "iuf"]:
        raise InputError(f"{path}: {', '.join(lists)} is a list at each point; it must be one number")
    farthest = np.zeros(3)
    for start, part in mapped_slices(vertex, points):
        coord = _coordinates(path, part, start)
        farthest = np.maximum(farthest, np.abs(coord).max(axis=0))
        yield RawScene(
            coord=coord,
            color=_colors(path, part),
            segment=_classes(path, part, labels) if _CLASS in names else None,
        )
    yield RawScene(np.empty((0, 3)), facts=_facts(vertex.dtype, farthest))


def _vertices(path: Path) -> np.ndarray:
    """(N,) structured, mapped into memory where the file is binary."""
    check_ply_counts(path)
    try:
        ply = PlyData.read(str(path), mmap="c")
        data = ply["vertex"].data
    except PlyElementParseError as error:
        if error.message != "early end-of-file" or error.row is None:
            raise InputError(f"{path} cannot be read ({error}); fetch it again") from error
        published = "the published file itself is cut short; remove it to go on without this tile"
        raise InputError(
            f"{path} is cut short: its header says {error.element.count:,} points, but it holds {error.row:,}; "
            + (published if path.stem in CUT_SHORT else "fetch it again")
        ) from error
    except KeyError as error:
        raise InputError(f"{path} has no element 'vertex'; it is no point cloud") from error
    except (PlyParseError, ValueError, OverflowError) as error:
        raise InputError(f"{path} cannot be read as PLY ({error}); fetch it again") from error
    if isinstance(data, np.memmap) and len(ply.elements) == 1:
        held = (path.stat().st_size - data.offset) / data.itemsize
        if held != len(data):
            raise InputError(
                f"{path} is longer than its header says: {len(data):,} points, but it holds {held:,.1f}; fetch it again"
            )
    return data


def _coordinates(path: Path, vertex: np.ndarray, start: int) -> np.ndarray:
    coord = np.empty((len(vertex), 3))
    for axis, name in enumerate("xyz"):
        coord[:, axis] = vertex[name]
        finite = np.isfinite(coord[:, axis])
        if not finite.all():
            bad = np.flatnonzero(~finite)
            raise InputError(
                f"{path}: {name} is NaN or infinite at {len(bad):,} of {len(vertex):,} points, first at point "
                f"{start + bad[0]}; fetch the tile again"
            )
    return coord


def _colors(path: Path, vertex: np.ndarray) -> np.ndarray:
    color = np.empty((len(vertex), 3), np.uint8)
    for channel, name in enumerate(("red", "green", "blue")):
        values = vertex[name]
        if values.dtype != np.uint8 and not _bytes_only(values):
            raise InputError(
                f"{path}: {name} is {values.dtype.name} and not whole numbers in 0..255, as in the published tiles; "
                "use those, not tiles that another tool has written"
            )
        color[:, channel] = values
    return color


def _bytes_only(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" and (len(values) == 0 or (values.min() >= 0 and values.max() <= 255))


def _classes(path: Path, vertex: np.ndarray, labels: Mapping[SourceId, int]) -> np.ndarray:
    values = vertex[_CLASS]
    segment = np.empty(len(values), np.int16)
    unknown: dict[float, int] = {}
    for start in range(0, len(values), _BLOCK):
        numbers, where = np.unique(values[start : start + _BLOCK], return_inverse=True)
        # A number that compares equal to a whole one is found even if the file stores it as a float.
        table = [labels.get(number) for number in numbers.tolist()]
        counts = np.bincount(where, minlength=len(numbers)).tolist()
        for number, label, count in zip(numbers.tolist(), table, counts, strict=True):
            if label is None:
                unknown[number] = unknown.get(number, 0) + count
        segment[start : start + _BLOCK] = np.array([0 if label is None else label for label in table], np.int16)[where]
    if unknown:
        listed = ", ".join(f"{number} ({count:,} points)" for number, count in sorted(unknown.items())[:10])
        known = ", ".join(str(number) for number in labels)
        raise InputError(
            f"{path} holds the class {listed}{' and more' if len(unknown) > 10 else ''}, but the class file knows "
            f"{known}; fetch the tile again, or add the number to the class file"
        )
    return segment


def _facts(row: np.dtype, farthest: np.ndarray) -> dict[str, Any]:
    """How finely the file itself can tell coordinates: float32 near 400 km has steps of 3 cm."""
    kinds = [(row[name].type, value) for name, value in zip("xyz", farthest, strict=True) if row[name].kind == "f"]
    steps = [np.spacing(kind(value)) for kind, value in kinds]
    return {"coordinates": row["x"].name, "coordinate_step_metres": float(max(steps, default=0))}
