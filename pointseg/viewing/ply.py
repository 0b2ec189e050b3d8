"""Labelled PLY files: written for CloudCompare, MeshLab and Python alike, and read back without loss.

CloudCompare's PLY filter takes a vertex property of any number type as a scalar field by itself only when its name
holds "scal", and drops a leading ``scalar_`` from the name it shows; a property whose name holds "red" (as "pred"
does) it takes for the red channel when no colour came before it. The labels are therefore named ``scalar_pred``,
``scalar_gt``, ``scalar_error``, ``scalar_confidence``, ``scalar_entropy``, ``scalar_pseudo`` and ``scalar_annotated``,
and every file has colours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.data.formats.ply_counts import check_ply_counts
from pointseg.errors import InputError
from pointseg.untrusted import parse_json, shown
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import check_classes, class_colors, colorize
from pointseg.viewing.fields import LABEL_FIELDS

logger = logging.getLogger(__name__)

_TAG = "pointseg "
_FLOAT32_SPACING = 1e-4  # metres: coarser than this, x y z are written as float64
_FARTHEST = 1e12  # metres; far beyond it float32 has no numbers
_GREY = 170
_NORMALS = ("nx", "ny", "nz")
_COLORS = ("red", "green", "blue")
_ADDED = "added"  # the comment of a file that predictions were written into


def write_ply(
    path: str | Path,
    cloud: Cloud,
    classes: Classes | None = None,
    offset: tuple[float, float, float] | None = None,
    *,
    bake: str = "",
) -> Path:
    """Write ``cloud`` as one binary little-endian PLY file with its labels as scalar fields.

    x, y, z are in the scan's own coordinates (offset added back), as float32 where that keeps a tenth of a
    millimetre and as float64 where it does not. A cloud without colours gets its classes' colours (or grey), and a
    comment says so. Class names, class colours, the scene's name and the offset are kept in comments.

    Args:
        path: the file; written under a temporary name and renamed.
        cloud: N points.
        classes: names and colours of the class ids.
        offset: metres to add to ``cloud.coord``; ``cloud.offset`` if None.
        bake: a colouring whose colours the file gets instead of the cloud's own; needs ``classes``.

    Returns:
        The path written.

    Raises:
        InputError: if the folder is absent, ``classes`` does not cover the cloud's ids, or the cloud cannot be shown
            in that colouring.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} of the PLY file {path.name} does not exist; make it first.")
    if classes is not None:
        check_classes(cloud, classes)
    shift = np.asarray(cloud.offset if offset is None else offset, dtype=np.float64)
    vertex, color_from = _vertices(cloud, shift, classes, bake)
    comments = [f"{_TAG}name {json.dumps(cloud.name)}", f"{_TAG}offset {json.dumps(shift.tolist())}"]
    if color_from is not None:
        comments.append(f"{_TAG}colors {json.dumps(color_from)}")
    if classes is not None:
        comments.append(f"{_TAG}dataset {json.dumps(classes.dataset)}")
        for k, name in enumerate(classes.names):
            comments.append(f"{_TAG}class {json.dumps([k, name, classes.colors[k].tolist()])}")
    data = PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<", comments=comments)
    with replacing_file(path) as unfinished:
        data.write(str(unfinished))
    return path


def read_ply(path: str | Path) -> Cloud:
    """Read a cloud written by :func:`write_ply`, or any PLY file whose vertices have x, y, z (and colours).

    Labels are found under their own names and under ``scalar_`` names. Coordinates come back relative to the offset
    the file states, else to the floor of their smallest values when they are too large for float32.

    Returns:
        The cloud; its name is the one in the file, else the file's name.

    Raises:
        InputError: if the file is absent, is not a PLY file, is cut short or has no x, y, z.
    """
    path = Path(path)
    data = _parse(path)
    if "vertex" not in data:
        raise InputError(f"{path} has no element 'vertex', only {[e.name for e in data.elements]}.")
    vertex = data["vertex"].data
    names = tuple(name for name in vertex.dtype.names or () if vertex.dtype[name].kind != "O")  # lists are objects
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise InputError(f"{path} has no vertex property {', '.join(missing)}; it has {', '.join(names) or 'none'}.")
    notes = _notes(data.comments)
    coord = np.stack([vertex[axis].astype(np.float64) for axis in "xyz"], axis=1)
    far = np.abs(coord).max(initial=0)
    if far > _FARTHEST:
        raise InputError(f"{path} has coordinates up to {far:g}; they must be metres: export it again in those.")
    offset = _offset(notes["offset"], path) if "offset" in notes else needed_offset(coord)
    parts: dict[str, np.ndarray] = {}
    known = {name.removeprefix("scalar_") for name in names}
    for label in (label for label in LABEL_FIELDS if label != "error"):
        if not is_ours(label, known):
            continue
        field = f"scalar_{label}" if f"scalar_{label}" in names else label
        if field in names:
            parts[label] = _label(vertex[field], LABEL_FIELDS[label][0], path, field)
    return Cloud(
        coord=coord - offset,
        color=None if "colors" in notes else _read_color(vertex, names),
        normal=unit_normals(np.stack([vertex[n] for n in _NORMALS], axis=1)) if set(_NORMALS) <= set(names) else None,
        name=str(notes.get("name") or path.stem),
        offset=(float(offset[0]), float(offset[1]), float(offset[2])),
        **parts,
    )


def is_ours(label: str, known: Collection[str]) -> bool:
    """Whether a field is what its name says to us, beside the other ``known`` names of a file.

    Scanners store a confidence of their own; only beside a prediction is it the probability of one.
    """
    beside = {"confidence": {"pred"}, "entropy": {"pred", "pseudo"}}.get(label)
    return beside is None or not beside.isdisjoint(known)


def read_ply_classes(path: str | Path) -> Classes | None:
    """The classes :func:`write_ply` kept in the file's comments, or None where there are none.

    Raises:
        InputError: if the file is absent or is not a PLY file.
    """
    path = Path(path)
    notes = _notes(_parse(path).comments)
    if "class" not in notes:
        return None
    try:
        entries = sorted(notes["class"])
        ids, names = [entry[0] for entry in entries], tuple(str(entry[1]) for entry in entries)
        colors = np.array([entry[2] for entry in entries], dtype=np.uint8).reshape(len(entries), 3)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: its class names cannot be read ({error}); give the class file.") from error
    if ids != list(range(len(ids))):
        raise InputError(f"{path} names classes {ids}; they must be 0, 1, 2 ... without a gap; give the class file.")
    return Classes(
        dataset=str(notes.get("dataset", path.stem)),
        names=names,
        colors=colors,
        source_ids=tuple((k,) for k in ids),
    )


def unit_normals(normal: np.ndarray) -> np.ndarray:
    """Normals (N, 3) of any length as float32 of length 1; 0 where they are 0 or not finite."""
    normal = np.where(np.isfinite(normal).all(axis=1, keepdims=True), normal, 0).astype(np.float64)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return (normal / np.where(length > 0, length, 1)).astype(np.float32)


def needed_offset(coord: np.ndarray) -> np.ndarray:
    """Zero, or the floor of the smallest coordinates where float32 would lose a tenth of a millimetre."""
    finite = coord[np.isfinite(coord).all(axis=1)]
    if len(finite) == 0 or np.spacing(np.float32(np.abs(finite).max())) <= _FLOAT32_SPACING:
        return np.zeros(3)
    return np.floor(finite.min(axis=0))


def _vertices(cloud: Cloud, shift: np.ndarray, classes: Classes | None, bake: str) -> tuple[np.ndarray, str | None]:
    """The structured array of the file, and what the colours stand for when they are not the cloud's own."""
    coord = cloud.coord.astype(np.float64) + shift
    far = np.float32(np.abs(coord).max()) if len(coord) else np.float32(0)
    number = "<f8" if np.spacing(far) > _FLOAT32_SPACING else "<f4"
    present = [label for label in LABEL_FIELDS if getattr(cloud, label) is not None]
    fields = [(axis, number) for axis in "xyz"] + [(c, "u1") for c in _COLORS]
    if cloud.normal is not None:
        fields += [(axis, "<f4") for axis in _NORMALS]
    fields += [(f"scalar_{label}", "<" + LABEL_FIELDS[label][0]) for label in present]
    vertex = np.empty(len(coord), dtype=fields)
    for i, axis in enumerate("xyz"):
        vertex[axis] = coord[:, i]
    color, color_from = cloud.color, None
    if bake:
        if classes is None:
            raise InputError(f"the colouring {bake!r} needs the classes; give the class file.")
        color, color_from = colorize(cloud, bake, classes), bake
    elif color is None:
        ids = cloud.pred if cloud.pred is not None else cloud.gt
        if ids is not None and classes is not None:
            color, color_from = class_colors(ids, classes), "pred" if cloud.pred is not None else "gt"
        else:
            color, color_from = np.full((len(coord), 3), _GREY, dtype=np.uint8), "grey"
    for i, channel in enumerate(_COLORS):
        vertex[channel] = color[:, i]
    if cloud.normal is not None:
        for i, axis in enumerate(_NORMALS):
            vertex[axis] = cloud.normal[:, i]
    for label in present:
        vertex[f"scalar_{label}"] = getattr(cloud, label)
    return vertex, color_from


def _parse(path: Path) -> PlyData:
    if not path.is_file():
        raise InputError(f"there is no PLY file {path}.")
    try:
        check_ply_counts(path)
        return PlyData.read(str(path))
    except InputError:
        raise
    except (PlyParseError, ValueError, OverflowError, EOFError) as error:
        raise InputError(f"{path} cannot be read as PLY ({error}); export it again as binary PLY.") from error


def _notes(comments: list[str]) -> dict[str, Any]:
    """Our comments as {key: value}; the key "class" collects a list."""
    notes: dict[str, Any] = {}
    for comment in comments:
        key, _, text = comment.removeprefix(_TAG).partition(" ")
        if not comment.startswith(_TAG) or key == _ADDED:
            continue
        try:
            value = parse_json(text)
        except ValueError:
            logger.warning("ignored the PLY comment %r: its value cannot be read", comment)
            continue
        if key == "class":
            notes.setdefault("class", []).append(value)
        else:
            notes[key] = value
    return notes


def _offset(value: Any, path: Path) -> np.ndarray:
    numbers = isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
    if not numbers or not all(abs(v) <= _FARTHEST for v in value):
        raise InputError(f"{path} states the offset {shown(value)}; it must be three numbers: export it again.")
    return np.array(value, dtype=np.float64)


def _label(values: np.ndarray, kind: str, path: Path, field: str) -> np.ndarray:
    """A label column as its own type; other tools write class ids back as floats."""
    if kind == "f4":
        return values.astype(np.float32)
    with np.errstate(invalid="ignore"):
        ids = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.array_equal(ids, values):
        raise InputError(f"{path}: the property {field} holds numbers that are not whole, so it is no class id.")
    return ids


def _read_color(vertex: np.ndarray, names: tuple[str, ...]) -> np.ndarray | None:
    channels = [vertex[c] for c in _COLORS if c in names]
    if len(channels) < 3:
        return None
    color = np.stack(channels, axis=1)
    if color.dtype == np.uint8:
        return color
    if color.dtype.kind == "f":
        scale = 255.0 if color.size == 0 or color.max() <= 1 else 1.0
        return np.clip(np.rint(color * scale), 0, 255).astype(np.uint8)
    return (color.astype(np.int64) >> (8 if color.size and color.max() > 255 else 0)).clip(0, 255).astype(np.uint8)
