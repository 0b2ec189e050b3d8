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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes
from pointseg.data.formats.convert import RawCloud, make_plan
from pointseg.data.formats.fields import find_fields, iter_fields
from pointseg.data.formats.ply import PLY
from pointseg.data.formats.ply_layout import read_layout
from pointseg.data.formats.roles import find_roles
from pointseg.data.normals import unit_normals
from pointseg.errors import InputError
from pointseg.untrusted import parse_json, shown
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import check_classes, class_colors, colorize
from pointseg.viewing.fields import LABEL_FIELDS
from pointseg.viewing.position import FARTHEST, FLOAT32_STEP, placed, warn_if_coarse

logger = logging.getLogger(__name__)

_TAG = "pointseg "
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
    """Read a cloud written by :func:`write_ply`, or any PLY file whose vertices have coordinates.

    Coordinates, colours, normals and labels are found by their names as in every other cloud file, so labels also under
    ``scalar_`` names. Coordinates come back relative to the offset the file states, else to the floor of their smallest
    values when they are too large for float32.

    Returns:
        The cloud; its name is the one in the file, else the file's name.

    Raises:
        InputError: if the file is absent, is not a PLY file, is cut short, holds no points or no coordinates, or labels
            that are none.
    """
    path = Path(path)
    fields = find_fields(path, tuple(label for label in LABEL_FIELDS if label != "error"))
    fields = {label: name for label, name in fields.items() if is_ours(label, fields)}
    points, columns = _vertices_of(path, tuple(fields.values()))
    notes = _notes(path)
    coord, offset = placed(path, points.coord, _offset(notes["offset"], path) if "offset" in notes else None)
    labels = {label: _label(columns[name], LABEL_FIELDS[label][0], path, name) for label, name in fields.items()}
    try:
        cloud = Cloud(
            coord=coord,
            color=None if "colors" in notes else points.color,
            normal=None if points.normal is None else unit_normals(points.normal)[0],
            name=str(notes.get("name") or path.stem),
            offset=(float(offset[0]), float(offset[1]), float(offset[2])),
            **labels,
        )
    except InputError as error:
        raise InputError(f"{path}: {str(error).removesuffix('.')}: correct or remove such points.") from error
    warn_if_coarse(path, cloud)
    return cloud


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
    notes = _notes(path)
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


def _vertices(cloud: Cloud, shift: np.ndarray, classes: Classes | None, bake: str) -> tuple[np.ndarray, str | None]:
    """The structured array of the file, and what the colours stand for when they are not the cloud's own."""
    coord = cloud.coord.astype(np.float64) + shift
    far = np.float32(np.abs(coord).max()) if len(coord) else np.float32(0)
    number = "<f8" if np.spacing(far) > FLOAT32_STEP else "<f4"
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


def _vertices_of(path: Path, more: tuple[str, ...]) -> tuple[RawCloud, dict[str, np.ndarray]]:
    """All points of a file with colours and normals, and ``more`` of its properties, (N,) each."""
    header = PLY.header(path)
    # A file's own classes are shown only where they are asked for, so they may hold anything.
    roles = replace(find_roles(path, header.columns, None), label=None, other_labels=(), intensity=None)
    names = tuple(dict.fromkeys([*roles.columns, *more]))
    columns = next(iter_fields(path, names, chunk_points=header.num_points))
    return make_plan(path, header, roles, [columns]).cloud(columns, 0), columns


def _notes(path: Path) -> dict[str, Any]:
    """Our comments as {key: value}; the key "class" collects a list."""
    notes: dict[str, Any] = {}
    for line in read_layout(path).lines:
        comment = line.decode("utf-8", "replace").strip().removeprefix("comment ")
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
    if not numbers or not all(abs(v) <= FARTHEST for v in value):
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
