"""Read any cloud file, whole or in chunks, and write predictions back into its format.

    cloud = read_cloud("tile.laz")
    write_predictions("tile.laz", "tile_pred.laz", pred, confidence=confidence)

Colours are 8 bit. Integer colours are taken as 16 bit, and divided by 256, if any value of the file is above 255; float
colours are taken as 0..1 if none is above 1. Every such decision is made for the whole file and stated in ``notes``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pointseg.atomic import replacing_file
from pointseg.data.formats.convert import RawCloud, make_plan
from pointseg.data.formats.e57 import E57
from pointseg.data.formats.format import OURS, VALID, Columns, Format, Header, reading
from pointseg.data.formats.las import LAS
from pointseg.data.formats.numpy_array import NPY
from pointseg.data.formats.numpy_zip import NPZ
from pointseg.data.formats.pcd import PCD
from pointseg.data.formats.ply import PLY
from pointseg.data.formats.roles import Roles, find_roles
from pointseg.data.formats.survey import surveyed
from pointseg.data.formats.text import TEXT
from pointseg.data.npy import mapped_slices
from pointseg.errors import InputError

FORMATS: dict[str, Format] = {
    ".ply": PLY,
    ".las": LAS,
    ".laz": LAS,
    ".e57": E57,
    ".pcd": PCD,
    ".xyz": TEXT,
    ".csv": TEXT,
    ".txt": TEXT,
    ".npy": NPY,
    ".npz": NPZ,
}
SUFFIXES = tuple(FORMATS)
"""Endings of the files that can be read; case does not matter."""

CHUNK_POINTS = 1_000_000


@dataclass(frozen=True)
class CloudInfo:
    """What a cloud file holds, without having read its points.

    Attributes:
        path: The file.
        format: Such as ``LAS``.
        num_points: N; in an E57 file this includes rows that are marked as holding no point.
        fields: All per-point fields, as the file calls them.
        label_field: The field to read labels from; ``RawCloud`` names another where this one is 0 throughout in LAS.
        crs: The coordinate reference system as the file states it: WKT, or ``EPSG:n``.
    """

    path: Path
    format: str
    num_points: int
    fields: tuple[str, ...]
    label_field: str | None
    crs: str | None


def inspect_cloud(path: str | Path, *, label_field: str | None = None) -> CloudInfo:
    """Read a file's header. (Text has none: its lines are counted.)

    Args:
        path: The file; its ending says what it is.
        label_field: The field that holds the class ids; None = the first with a usual name.

    Raises:
        InputError: No such file, an unknown ending, a damaged or empty file, no coordinates, no such label field.
    """
    path = Path(path)
    known, header, roles = _open(path, label_field)
    return CloudInfo(path, known.name, header.num_points, header.fields, roles.label, header.crs)


def iter_cloud(
    path: str | Path, *, label_field: str | None = None, chunk_points: int = CHUNK_POINTS
) -> Iterator[RawCloud]:
    """Read a file a chunk at a time, in its order.

    Memory is bounded by the chunk for LAS, LAZ, text, NPY, and PLY and PCD unless named below. Held whole while chunks
    are handed out: PLY with list properties in or before its vertices, compressed PCD, NPZ arrays in Fortran order.
    The columns that decide something for the whole file (16-bit colours, fields every LAS file has) are read twice.

    Args:
        path: The file; its ending says what it is.
        label_field: The field that holds the class ids; None = the first with a usual name.
        chunk_points: Points in a chunk.

    Yields:
        Clouds of at most ``chunk_points`` points, all with the same parts; notes about the file are in the first.

    Raises:
        InputError: As ``inspect_cloud``, and for a file cut short, coordinates that are not finite (with the row), rows
            of another number of columns (with the line), colours or labels that are none.
    """
    path = Path(path)
    if chunk_points < 1:
        raise InputError(f"chunk_points is {chunk_points}; it must be at least 1")
    known, header, roles = _open(path, label_field)
    names = surveyed(path, header, roles)
    plan = make_plan(path, header, roles, known.chunks(path, names, chunk_points) if names else ())
    pending, first, found = dict(plan.notes), 0, 0
    for columns in known.chunks(path, plan.roles.columns, chunk_points):
        cloud = plan.cloud(columns, first)
        first += len(columns[plan.roles.coord[0]])
        found += len(cloud.coord)
        pending = dict(Counter(pending) + Counter(cloud.notes))
        if len(cloud.coord):
            yield replace(cloud, notes=pending)
            pending = {}
    if found == 0:
        raise InputError(f"{path} holds no points; there is nothing to do with it")


def read_cloud(path: str | Path, *, label_field: str | None = None) -> RawCloud:
    """Read a whole file: the chunks of ``iter_cloud``, one after another.

    Args:
        path: The file; its ending says what it is.
        label_field: The field that holds the class ids; None = the first with a usual name.

    Raises:
        InputError: As ``iter_cloud``.
    """
    chunks = list(iter_cloud(path, label_field=label_field))
    notes: Counter[str] = Counter()
    for chunk in chunks:
        notes.update(chunk.notes)

    def joined(part: str) -> np.ndarray | None:
        values = [getattr(chunk, part) for chunk in chunks]
        return None if values[0] is None else np.concatenate(values)

    coord = np.concatenate([chunk.coord for chunk in chunks])
    parts = {part: joined(part) for part in ("color", "intensity", "normal", "label")}
    return RawCloud(coord, **parts, label_field=chunks[0].label_field, notes=dict(notes))


def check_target(source: Path, target: Path) -> None:
    """Refuse to write a cloud over itself, or in another format."""
    endings = {source.suffix.lower(), target.suffix.lower()}
    if len(endings) > 1 and endings != {".las", ".laz"}:
        raise InputError(
            f"{target} does not end in {source.suffix} as {source} does; predictions are written in the format of the "
            "cloud"
        )
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the source itself; give another file to write to")


def write_predictions(
    source: str | Path,
    target: str | Path,
    pred: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    entropy: np.ndarray | None = None,
) -> None:
    """Copy a cloud file and add the predictions as further fields of its points.

    Everything else stays: all fields and their values, order, scale and offset, reference system, comments, other
    elements. The fields are ``pred``, ``confidence`` and ``entropy``; ``scalar_pred`` ... in PLY, where CloudCompare
    takes a plain ``pred`` for red, and ``pointseg:pred`` ... in E57, which wants a prefix. Those of an earlier call in
    the source are left out (text and NumPy files cannot say whose a field is: there it is refused). Text without a
    header line gets further columns and no names; text gets six digits. A LAS header's bounds are computed anew, and a
    cloud-optimised (COPC) file becomes a plain LAZ file.

    Args:
        source: The cloud that was predicted.
        target: The file to write, under a temporary name and renamed; of the source's format (LAS and LAZ are one).
        pred: (N,) whole numbers, for the points ``read_cloud`` gave, in its order. Rows of an E57 file that hold no
            point get -1 (confidence and entropy 0).
        confidence: (N,) floats.
        entropy: (N,) floats.

    Raises:
        InputError: Another format or number of points, a field of that name that is the source's own, a source or
            target that cannot be read or written.
    """
    source, target = Path(source), Path(target)
    known, header, _ = _open(source, None)
    check_target(source, target)
    added = _added(pred, confidence, entropy)
    if VALID not in header.columns and len(added["pred"]) != header.num_points:
        raise InputError(f"{len(added['pred']):,} predictions for the {header.num_points:,} points of {source}")
    added = {known.prefix + name: values for name, values in added.items()}
    clash = [name for name in added if name in header.fields and name not in header.ours]
    if clash:
        raise InputError(
            f"{source} has a field {', '.join(clash)} of its own, which would be lost; rename it there, or start from "
            "the file as it was before"
        )
    try:
        with replacing_file(target) as unfinished:
            known.write(source, unfinished, added)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def _open(path: Path, label_field: str | None) -> tuple[Format, Header, Roles]:
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(f"{path} ends in {path.suffix!r}; files that can be read end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with reading(path, known.name):
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); fetch or export it again")
        header = known.header(path)
    if header.num_points == 0:
        raise InputError(f"{path} holds no points; there is nothing to do with it")
    roles = find_roles(path, header.columns, label_field)
    words = [name for name in roles.columns if header.columns[name].kind == "U" and name != roles.label]
    if words:
        raise InputError(f"{path}: {', '.join(words)} must be numbers, but the first row has a word there; correct it")
    return known, header, roles


def _added(pred: np.ndarray, confidence: np.ndarray | None, entropy: np.ndarray | None) -> Columns:
    # Nothing is copied, and arrays of other kinds stay theirs: mapped ones can be larger than memory.
    pred = np.asanyarray(pred)
    limits = np.iinfo(np.int32)
    low, high = _range(pred) if pred.ndim == 1 and pred.dtype.kind in "iu" else (limits.min - 1, 0)
    if low < limits.min or high > limits.max:
        raise InputError(f"pred is {pred.dtype} of shape {pred.shape}; it must be 32-bit whole numbers of shape (N,)")
    small = low >= -(2**15) and high < 2**15
    added = {OURS[0]: pred.astype(np.int16 if small else np.int32, copy=False)}
    for name, values in zip(OURS[1:], (confidence, entropy), strict=True):
        if values is None:
            continue
        values = np.asanyarray(values)
        if values.shape != pred.shape or values.dtype.kind != "f":
            raise InputError(
                f"{name} is {values.dtype} of shape {values.shape}; it must be floats of shape {pred.shape}"
            )
        added[name] = values.astype(np.float32, copy=False)
    return added


def _range(values: np.ndarray) -> tuple[int, int]:
    """The lowest and the highest of some whole numbers; 0 and 0 of none."""
    ends = [(int(part.min()), int(part.max())) for _, part in mapped_slices(values, CHUNK_POINTS)]
    return min((low for low, _ in ends), default=0), max((high for _, high in ends), default=0)
