"""What every file format offers to ``cloud.py``: a header, columns in chunks, and writing back with more fields.

A column is a (n,) array of one number (or word) a point. Columns carry the file's own names, except where a format has
to work to make them: scaled LAS coordinates, E57 points in their common frame, unpacked PCD colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np

from pointseg.errors import InputError

VALID = "#valid"
"""Column of bool: False where the file itself says that there is no point in this row."""

OURS = ("pred", "confidence", "entropy")
"""What ``write_predictions`` adds, in this order."""

COMMENT = "pointseg added"
"""Begins the comment in which a header lists the fields that ``write_predictions`` added."""

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Header:
    """What is known of a file before its points are read.

    Attributes:
        num_points: N as the header promises.
        fields: All per-point fields, as the file calls them.
        columns: Name -> dtype of those that hold one value a point.
        crs: Coordinate reference system, WKT or ``EPSG:n``.
        ours: Those of ``fields`` that ``write_predictions`` added.
        mandatory: Columns the format forces on every file; they say nothing as long as they are 0 throughout.
        notes: What was assumed -> how many points it concerns.
    """

    num_points: int
    fields: tuple[str, ...]
    columns: Mapping[str, np.dtype]
    crs: str | None = None
    ours: frozenset[str] = frozenset()
    mandatory: frozenset[str] = frozenset()
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: Such as ``PLY``.
        header: Path -> header. Raises InputError.
        chunks: Path, columns, points a chunk -> the columns of a chunk at a time; raises InputError where the file
            holds fewer points than its header promises.
        write: Source, unfinished target, fields to add (each (N,)): copies the source, adds the fields at the end.
        prefix: Put before the names of the fields that are added.
    """

    name: str
    header: Callable[[Path], Header]
    chunks: Callable[[Path, Sequence[str], int], Iterator[Columns]]
    write: Callable[[Path, Path, Columns], None]
    prefix: str = ""


@contextmanager
def reading(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of a reading library into one sentence that names the file.

    Args:
        path: The file that is read.
        what: Such as ``LAS``.
        errors: Exceptions of the library, beside those any reader may raise.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not isinstance(error, (OSError, ValueError, EOFError, MemoryError, *errors)):
            raise
        if isinstance(error, (PermissionError, MemoryError)):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{path} cannot be read as {what} ({' '.join(reason.split()) or type(error).__name__}); it is damaged, cut "
            "short or of another kind: fetch or export it again"
        ) from error


@contextmanager
def writing(*errors: type[Exception]) -> Iterator[None]:
    """Turn the errors of a writing library into the OSError they come from, such as a full disk.

    Args:
        errors: Exceptions of the library.
    """
    try:
        yield
    except InputError:
        raise
    except errors as error:
        raise OSError(str(error)) from error


def cut_short(path: Path, promised: int, held: int) -> InputError:
    """The error for a file that holds fewer points than its header says."""
    return InputError(
        f"{path} is cut short: its header promises {promised:,} points, the file holds {held:,}; fetch or export it "
        "again"
    )


def no_extra(path: Path, package: str, extra: str) -> InputError:
    """The error for a format whose library is not installed."""
    return InputError(f"{path} needs the package {package}, which is not installed; pip install 'pointseg[{extra}]'")


def ours_in(comments: Sequence[str], names: Sequence[str]) -> frozenset[str]:
    """The fields that a comment of an earlier ``write_predictions`` lists, as far as they still stand at the end."""
    listed = {name for text in comments if text.startswith(COMMENT) for name in text[len(COMMENT) :].split()}
    return frozenset(takewhile(listed.__contains__, reversed(names)))


def extended(dtype: np.dtype, dropped: frozenset[str], added: Columns, order: str = "<") -> np.dtype:
    """A row without the dropped fields and with the added ones at its end, tightly packed."""
    kept = [(name, dtype.fields[name][0]) for name in dtype.names or () if name not in dropped]  # type: ignore[index]
    return np.dtype(kept + [(name, np.dtype(order + values.dtype.str[1:])) for name, values in added.items()])


def extend_rows(rows: np.ndarray, dtype: np.dtype, added: Columns, start: int) -> np.ndarray:
    """Rows of ``extended``'s dtype: what ``rows`` holds, and the added values from row ``start`` on."""
    result = np.empty(len(rows), dtype)
    for name in dtype.names or ():
        result[name] = added[name][start : start + len(rows)] if name in added else rows[name]
    return result
