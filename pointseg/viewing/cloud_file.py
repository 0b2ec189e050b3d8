"""Any cloud file as a cloud to view: labels under the names that ``pointseg`` writes, memory bounded for huge files."""

from __future__ import annotations

from collections import defaultdict
from itertools import repeat
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes
from pointseg.data.formats import RawCloud, inspect_cloud, iter_cloud
from pointseg.data.formats.fields import find_fields, iter_fields
from pointseg.data.formats.format import Columns
from pointseg.errors import InputError
from pointseg.viewing.cloud import IGNORED, Cloud
from pointseg.viewing.ply import needed_offset, unit_normals
from pointseg.viewing.thinning import even_steps, short_count

MAX_HELD = 20_000_000
"""Points of a cloud held at a time; of a larger one an even share is read."""

_IDS = ("pred", "gt", "pseudo", "annotated")
_FLOATS = ("confidence", "entropy")


def read_view(
    path: str | Path, *, label_field: str | None = None, classes: Classes | None = None, max_points: int = MAX_HELD
) -> Cloud:
    """Read a cloud file of any format with what ``pointseg`` has written back into it.

    ``pred``, ``gt``, ``pseudo``, ``annotated``, and beside a prediction ``confidence`` and ``entropy``, are found under
    these names, with ``scalar_`` or a prefix before them. A file's own classification is the ground truth only if
    ``label_field`` names it: scanners' and vendors' classes are often neither true nor of the same class file.

    Args:
        path: The file.
        label_field: The field to take as ground truth.
        classes: Their source ids say which class a value of ``label_field`` is; None = the values are the ids.
        max_points: Of a larger file an even share of so many points is read, chunk by chunk, and the name says so.

    Raises:
        InputError: As ``iter_cloud``; label values that are no class ids, or that ``classes`` does not know.
    """
    path = Path(path)
    info = inspect_cloud(path, label_field=label_field)
    fields = find_fields(path, (*_IDS, *_FLOATS))
    if "pred" not in fields:
        # Scanners store a confidence of their own; only beside a prediction is it the probability of one.
        fields = {part: name for part, name in fields.items() if part not in _FLOATS}
    if label_field is not None:
        fields.pop("gt", None)
    names = tuple(fields.values())
    more = iter_fields(path, names) if names else repeat({})
    pieces: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    offset: np.ndarray | None = None
    seen = 0
    for chunk, columns in zip(iter_cloud(path, label_field=label_field), more, strict=False):
        keep = _share(seen, len(chunk.coord), info.num_points, max_points)
        seen += len(chunk.coord)
        offset = needed_offset(chunk.coord) if offset is None else offset
        pieces["coord"].append((chunk.coord[keep] - offset).astype(np.float32))
        for part, values in _parts(path, chunk, columns, fields, keep).items():
            pieces[part].append(values)
        if label_field is not None and chunk.label is not None:
            pieces["gt"].append(_classes(path, chunk.label[keep], classes, label_field))
    assert offset is not None  # a file without points has been refused
    name = path.stem
    if seen > max_points:
        name += f" ({short_count(max_points)} of {short_count(seen)} points read)"
    parts = {part: np.concatenate(pieces.pop(part)) for part in list(pieces)}
    return Cloud(**parts, name=name, offset=(float(offset[0]), float(offset[1]), float(offset[2])))


def _share(first: int, count: int, total: int, max_points: int) -> np.ndarray | slice:
    """The rows of a chunk to keep: its even part of ``max_points``."""
    if total <= max_points:
        return slice(None)
    return even_steps(count, (first + count) * max_points // total - first * max_points // total)


def _parts(
    path: Path, chunk: RawCloud, columns: Columns, fields: dict[str, str], keep: np.ndarray | slice
) -> dict[str, np.ndarray]:
    """Everything but coordinates and a named ground truth of the kept rows."""
    parts: dict[str, np.ndarray] = {}
    if chunk.color is not None:
        parts["color"] = chunk.color[keep]
    if chunk.normal is not None:
        parts["normal"] = unit_normals(chunk.normal[keep])
    for part, name in fields.items():
        values = columns[name][keep]
        parts[part] = values.astype(np.float32) if part in _FLOATS else _whole(path, values, name)
    return parts


def _whole(path: Path, values: np.ndarray, name: str) -> np.ndarray:
    """A column of class ids as int64; other tools write them back as floats."""
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.rint(values)):
        raise InputError(f"{path}: the field {name} holds values that are not whole numbers, so it is no class id.")
    return values.astype(np.int64)


def _classes(path: Path, label: np.ndarray, classes: Classes | None, field: str) -> np.ndarray:
    """(n,) int64 classes of a file's own labels (n,)."""
    if classes is None:
        if label.dtype.kind == "U":
            raise InputError(f"{path}: {field} holds words; say with --classes which class each of them is.")
        return label.astype(np.int64)
    known = classes.labels_by_source()
    ids, inverse = np.unique(label, return_inverse=True)
    unknown = [value for value in ids.tolist() if value not in known]
    if unknown:
        raise InputError(
            f"{path}: {field} holds {', '.join(map(str, unknown[:5]))}, which is no source id of the "
            f"{classes.num_classes} classes of {classes.dataset!r}; add it to a class or to 'ignore' of the class file."
        )
    return np.array([known[value] for value in ids.tolist()], np.int64)[inverse]


def held(num_points: int, annotated: np.ndarray | None, max_points: int = MAX_HELD) -> np.ndarray | None:
    """The points (M,) of a large scene to hold: an even share and every annotated one; None = all.

    Args:
        num_points: N.
        annotated: (N,) class, -1 where not annotated.
        max_points: The share.
    """
    if num_points <= max_points:
        return None
    even = even_steps(num_points, max_points)
    return even if annotated is None else np.union1d(even, np.flatnonzero(annotated != IGNORED))
