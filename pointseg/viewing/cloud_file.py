"""Any cloud file as a cloud to view: labels under the names that ``pointseg`` writes, memory bounded for huge files."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path

import numpy as np

from pointseg.data.classes import Classes
from pointseg.data.formats import RawCloud, inspect_cloud, iter_cloud
from pointseg.data.formats.fields import find_fields, iter_fields
from pointseg.data.formats.format import Columns
from pointseg.data.normals import unit_normals
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.holding import MAX_HELD, Holding
from pointseg.viewing.ply import is_ours
from pointseg.viewing.position import placed, warn_if_coarse

_IDS = ("pred", "gt", "pseudo", "annotated")
_FLOATS = {"confidence": 1.0, "entropy": float(np.finfo(np.float32).max)}  # the largest value that each can have


def read_view(
    path: str | Path, *, label_field: str | None = None, classes: Classes | None = None, max_points: int = MAX_HELD
) -> Cloud:
    """Read a cloud file of any format with what ``pointseg`` has written back into it.

    ``pred``, ``gt``, ``pseudo``, ``annotated``, and beside a prediction ``confidence``, beside that or pseudo-labels
    ``entropy``, are found under these names, with ``scalar_`` or a prefix before them. A file's own classification is
    the ground truth only if ``label_field`` names it: scanners' and vendors' classes are often neither true nor of the
    same class file.

    Args:
        path: The file.
        label_field: The field to take as ground truth.
        classes: Their source ids say which class a value of ``label_field`` is; None = the values are the ids.
        max_points: Of a larger file an even share of so many points is held, with annotated and wrong ones (see
            ``Holding``), and the name says so; counts and scores stay those of the file.

    Raises:
        InputError: As ``iter_cloud``; label values that are no class ids, or that ``classes`` does not know; a
            confidence or entropy that is none.
    """
    path = Path(path)
    info = inspect_cloud(path, label_field=label_field)
    found = find_fields(path, (*_IDS, *_FLOATS))
    fields = {part: name for part, name in found.items() if is_ours(part, found)}
    if label_field is not None:
        fields.pop("gt", None)
    names = tuple(fields.values())
    more = iter_fields(path, names) if names else repeat({})
    offset: np.ndarray | None = None
    kept, read = Holding(info.num_points, max_points), 0
    for chunk, columns in zip(iter_cloud(path, label_field=label_field), more, strict=False):
        coord, offset = placed(path, chunk.coord, offset)
        parts = {"coord": coord} | _parts(path, chunk, columns, fields, read)
        read += len(chunk.coord)
        if label_field is not None and chunk.label is not None:
            parts["gt"] = _classes(path, chunk.label, classes, label_field)
        kept.add(parts)
    assert offset is not None  # a file without points has been refused
    x, y, z = offset.tolist()
    cloud = Cloud(**kept.parts(), name=path.stem + kept.note, offset=(x, y, z), whole=kept.whole)
    warn_if_coarse(path, cloud)
    return cloud


def _parts(path: Path, chunk: RawCloud, columns: Columns, fields: dict[str, str], first: int) -> dict[str, np.ndarray]:
    """Everything but coordinates and a named ground truth, of the points from ``first`` on."""
    parts: dict[str, np.ndarray] = {}
    if chunk.color is not None:
        parts["color"] = chunk.color
    if chunk.normal is not None:
        parts["normal"] = unit_normals(chunk.normal)[0]
    for part, name in fields.items():
        values = columns[name]
        parts[part] = _sureness(path, values, name, part, first) if part in _FLOATS else _whole(path, values, name)
    return parts


def _sureness(path: Path, values: np.ndarray, name: str, part: str, first: int) -> np.ndarray:
    """A column of confidences or entropies as float32; other tools write "no value" as NaN."""
    values = values.astype(np.float32)
    bad = np.flatnonzero(~((values >= 0) & (values <= _FLOATS[part])))
    if len(bad):
        allowed = "0 to 1" if part == "confidence" else "0 or more, in nats"
        raise InputError(
            f"{path}: point {first + bad[0]} (the first is 0) has {name} = {values[bad[0]]:g}; allowed is {allowed}: "
            "give such points a value or remove them, or rename the field if it is something else."
        )
    return values


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
