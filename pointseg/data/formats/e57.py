"""E57 through pye57's binding of libE57Format: all scans of a file, one after another, in their common frame.

A scan's pose is applied, and spherical coordinates are turned into Cartesian ones. Rows that the file marks as holding
no point (``cartesianInvalidState`` and ``sphericalInvalidState`` not 0) are left out and counted. A field counts only
if every scan has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pointseg.data.formats.format import VALID, Columns, Format, Header, cut_short, no_extra, reading
from pointseg.errors import InputError

CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
INVALID = ("cartesianInvalidState", "sphericalInvalidState")
PREFIX = "pointseg:"
WHOLE = np.dtype(np.longlong)
"""What whole numbers are read into: the binding takes NumPy's ``int64`` of Linux (C's long) for 32 bits."""
_POSE = (("w", "x", "y", "z"), ("x", "y", "z"))


def binding(path: Path) -> ModuleType:
    """pye57's ``libe57``. (Its class ``E57`` is not used: it may delete a file that it cannot open.)"""
    try:
        from pye57 import libe57
    except ImportError as error:
        raise no_extra(path, "pye57", "e57") from error
    return libe57


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file's tree; everything the library raises inside becomes one sentence."""
    lib = binding(path)
    with reading(path, "E57", lib.E57Exception, RuntimeError):
        image = lib.ImageFile(str(path), "r")
        try:
            yield image
        finally:
            image.close()


def scans_of(lib: ModuleType, image: Any) -> list[Any]:
    """The structures of all scans."""
    if not image.root().isDefined("data3D"):
        return []
    data = lib.VectorNode(image.root().get("data3D"))
    return [lib.StructureNode(data.get(i)) for i in range(data.childCount())]


def points_of(lib: ModuleType, scan: Any) -> Any:
    """The compressed vector of a scan's points."""
    return lib.CompressedVectorNode(scan.get("points"))


def children(structure: Any) -> dict[str, Any]:
    """Name -> node."""
    nodes = [structure.get(i) for i in range(structure.childCount())]
    return {node.elementName(): node for node in nodes}


def is_valid(scan: Columns) -> np.ndarray | None:
    """(n,) bool from a scan's state fields; None if it has none."""
    states = [scan[name] for name in INVALID if name in scan]
    return np.logical_and.reduce([state == 0 for state in states]) if states else None


def _fields(lib: ModuleType, scan: Any) -> dict[str, np.dtype]:
    """The scan's fields; what is stored as a whole number, be it scaled, is read as one or as float64."""
    kinds = {
        lib.NodeType.E57_INTEGER: WHOLE,
        lib.NodeType.E57_SCALED_INTEGER: np.dtype(np.float64),
        lib.NodeType.E57_FLOAT: np.dtype(np.float64),
    }
    prototype = lib.StructureNode(points_of(lib, scan).prototype())
    return {name: kinds.get(node.type(), np.dtype(object)) for name, node in children(prototype).items()}


def _shared(scans: Sequence[dict[str, np.dtype]]) -> dict[str, np.dtype]:
    """Fields that hold numbers in every scan with points."""
    first = scans[0] if scans else {}
    # A field may be stored as whole numbers in one scan and as floats in another.
    return {
        name: kind if all(scan[name] == kind for scan in scans) else np.dtype(np.float64)
        for name, kind in first.items()
        if all(name in scan and scan[name].kind != "O" for scan in scans)
    }


def _header(path: Path) -> Header:
    lib = binding(path)
    with opened(path) as image:
        scans = scans_of(lib, image)
        counts = [points_of(lib, scan).childCount() for scan in scans]
        each = [_fields(lib, scan) for scan, count in zip(scans, counts, strict=True) if count]
        root = image.root()
        crs = lib.StringNode(root.get("coordinateMetadata")).value() if root.isDefined("coordinateMetadata") else ""
    fields = tuple(dict.fromkeys(name for scan in each for name in scan))
    for number, scan in enumerate(each):
        if not set(CARTESIAN) <= set(scan) and not set(SPHERICAL) <= set(scan):
            raise InputError(f"{path}: scan {number} has no coordinates; its fields are {', '.join(scan)}")
    kinds = {name: kind for name, kind in _shared(each).items() if name not in (*CARTESIAN, *SPHERICAL, *INVALID)}
    kinds |= dict.fromkeys("xyz", np.dtype(np.float64))
    if any(name in scan for scan in each for name in INVALID):
        kinds[VALID] = np.dtype(bool)
    notes = {}
    partial = [name for name in fields if not all(name in scan for scan in each)]
    if set(partial) - {*CARTESIAN, *SPHERICAL, *INVALID}:
        notes[f"fields not in every scan, so not read: {', '.join(partial)}"] = sum(counts)
    ours = frozenset(name for name in fields if name.startswith(PREFIX))
    return Header(sum(counts), fields, kinds, crs=crs or None, ours=ours, notes=notes)


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    lib = binding(path)
    with opened(path) as image:
        for scan in scans_of(lib, image):
            fields, promised, held = _fields(lib, scan), points_of(lib, scan).childCount(), 0
            if not promised:
                continue
            axes = CARTESIAN if set(CARTESIAN) <= set(fields) else SPHERICAL
            states = [name for name in INVALID if name in fields]
            own = [name for name in wanted if name not in "xyz"]
            needed = dict.fromkeys([*(axes if len(own) < len(wanted) else ()), *own, *states])
            for columns in scan_chunks(lib, image, scan, {n: fields[n] for n in needed}, min(chunk_points, promised)):
                valid = is_valid(columns)
                count = len(next(iter(columns.values())))
                held += count
                result = {name: columns[name] for name in own}
                if len(own) < len(wanted):
                    result |= dict(
                        zip("xyz", _coordinates(lib, scan, [columns[a] for a in axes], axes, valid), strict=True)
                    )
                yield result | {VALID: np.ones(count, bool) if valid is None else valid}
            if held < promised:
                raise cut_short(path, promised, held)


def scan_chunks(
    lib: ModuleType, image: Any, scan: Any, fields: dict[str, np.dtype], chunk_points: int, *, scaled: bool = True
) -> Iterator[Columns]:
    """A scan's fields, some points at a time; scaled integers as their values, or as they are stored."""
    arrays = {name: np.empty(chunk_points, kind) for name, kind in fields.items()}
    buffers = lib.VectorSourceDestBuffer()
    for name, array in arrays.items():
        buffers.append(lib.SourceDestBuffer(image, name, array, chunk_points, True, scaled))
    reader = points_of(lib, scan).reader(buffers)
    while count := reader.read():
        yield {name: array[:count].copy() for name, array in arrays.items()}
    reader.close()


def _coordinates(
    lib: ModuleType, scan: Any, values: list[np.ndarray], axes: tuple[str, ...], valid: np.ndarray | None
) -> np.ndarray:
    """(3, n) float64 in the frame of the file."""
    if axes is SPHERICAL:
        reach, azimuth, elevation = values
        flat = reach * np.cos(elevation)
        values = [flat * np.cos(azimuth), flat * np.sin(azimuth), reach * np.sin(elevation)]
    xyz = np.stack(values)
    if valid is not None:
        xyz[:, ~valid] = 0  # whatever stands there, it is no point
    if not scan.isDefined("pose"):
        return xyz
    pose = lib.StructureNode(scan.get("pose"))
    if pose.isDefined("rotation"):
        node = lib.StructureNode(pose.get("rotation"))
        w, x, y, z = (lib.FloatNode(node.get(axis)).value() for axis in _POSE[0])
        xyz = _rotation(w, x, y, z) @ xyz
    if pose.isDefined("translation"):
        node = lib.StructureNode(pose.get("translation"))
        xyz = xyz + np.array([[lib.FloatNode(node.get(axis)).value()] for axis in _POSE[1]])
    return xyz


def _rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """The matrix of a quaternion, which need not have length 1."""
    length = np.sqrt(w * w + x * x + y * y + z * z)
    if length == 0:
        return np.eye(3)
    w, x, y, z = np.array([w, x, y, z]) / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _write(source: Path, target: Path, added: Columns) -> None:
    from pointseg.data.formats.e57_copy import copy_with  # which imports this module

    copy_with(source, target, added)


E57 = Format("E57", _header, _chunks, _write, prefix=PREFIX)
