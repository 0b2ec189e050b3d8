"""S3DIS's annotation text, ``x y z r g b`` a line: parsed strictly and whole, mended only where it must be.

A few of the published files hold a stray control byte. The strict parse refuses those; the line is then mended from the
table of known defects or else by the rule of ``mend_line``, the file parsed again, and every mended line reported. A
comma-separated table or any other format is not mended.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep._s3dis_defects import stray_byte
from pointseg.errors import InputError

COLUMNS = 6
MAX_MENDED_LINES = 10
"""The published files have at most one defective line each; a file with many is in another format."""

_ALLOWED = b"0123456789+-.eE \t\r\n"
_STRAY = re.compile(rb"[^0-9+\-.eE \t\r\n]+")
_BETWEEN_INTEGERS = re.compile(rb"(?<![^ \t])([+-]?[0-9]+)[^0-9+\-.eE \t\r\n]+([0-9]+)(?![^ \t\r])")
_PRINTABLE = re.compile(rb"[!-~]")
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", ":": "colons"}
_NOT_FINITE = re.compile(rb"nan|inf", re.IGNORECASE)
_FLIPPED_BIT = 0x20
_WITHOUT_FLIP = bytes.maketrans(*(bytes(b ^ f for b in b" +.0123456789") for f in (_FLIPPED_BIT, 0)))
"""Control byte -> the character it was before one bit of it changed; all known defects are of this kind."""


@dataclass(frozen=True)
class MendedLine:
    """A line that was changed before it could be read.

    Attributes:
        line: Its number, from 1.
        before: What the file holds, unprintable bytes escaped.
        after: What was read instead.
        known: Whether the table of known defects has it, and it now reads as it says there.
    """

    line: int
    before: str
    after: str
    known: bool


@dataclass(frozen=True)
class Points:
    """The points of one annotation file.

    Attributes:
        coord: (N, 3) float64 metres.
        color: (N, 3) uint8.
        mended: The lines that were changed.
    """

    coord: np.ndarray
    color: np.ndarray
    mended: tuple[MendedLine, ...]


def parse_points(path: Path, data: bytes) -> Points:
    """Parse one annotation file.

    Args:
        path: The file.
        data: Its content; blank lines are passed over, and there may be no points at all.

    Returns:
        The points.

    Raises:
        InputError: A line that is not six numbers and cannot be mended, a coordinate that is not finite, or a colour
            that is not a whole number in 0..255; the message names the file and the line.
    """
    mended: tuple[MendedLine, ...] = ()
    source: Path | io.StringIO = path
    if data.translate(None, _ALLOWED):
        data, mended = _mend(path, data)
        source = io.StringIO(data.decode("ascii"), newline=None)
    if not data.strip():
        return Points(np.empty((0, 3)), np.empty((0, 3), np.uint8), mended)
    try:
        table = np.loadtxt(source, comments=None, ndmin=2)
    except ValueError as error:
        raise InputError(_explain(path, data, error)) from error
    if table.shape[1] != COLUMNS:
        raise InputError(_explain(path, data, None))
    _check_values(path, data, table)
    return Points(table[:, :3], table[:, 3:].astype(np.uint8), mended)


def mend_line(line: bytes) -> bytes | None:
    """A line of six good numbers made from one with stray bytes; None if neither way leads to one.

    First, each stray byte is taken for a character of which one bit changed (``-9.1<0x16>0`` was ``-9.160``). If that
    does not make six good numbers, the bytes become a space where they stand between two complete integers of a row
    that otherwise has five columns (``185<byte>187``: a lost separator), and are deleted elsewhere.
    """
    restored = line.translate(_WITHOUT_FLIP)
    if not _STRAY.search(restored) and _is_row(restored):
        return restored
    # Not bytes.split(): it takes some control bytes for white space.
    if len(re.findall(rb"[^ \t\r]+", line)) == COLUMNS - 1:
        line = _BETWEEN_INTEGERS.sub(rb"\1 \2", line, count=1)
    without = _STRAY.sub(b"", line)
    return without if _is_row(without) else None


def _mend(path: Path, data: bytes) -> tuple[bytes, tuple[MendedLine, ...]]:
    pieces: list[bytes] = []
    mended: list[MendedLine] = []
    done = 0
    while (stray := _STRAY.search(data, done)) is not None:
        start = data.rfind(b"\n", 0, stray.start()) + 1
        end = data.find(b"\n", stray.start())
        end = len(data) if end < 0 else end
        number = data.count(b"\n", 0, start) + 1
        before = data[start:end].rstrip(b"\r")
        shown = ascii(before)[2:-1]
        _check_mendable(path, number, before, shown)
        defect = stray_byte(path, number)
        after = before.replace(defect.holds, defect.reads) if defect else before
        if _STRAY.search(after):
            after = mend_line(before) or b""
        if not _is_row(after):
            raise InputError(
                f"{path}, line {number}: '{shown}' is not six good numbers 'x y z r g b' and cannot be repaired; "
                "correct it or fetch the file again"
            )
        if len(mended) == MAX_MENDED_LINES:
            raise InputError(
                f"{path}, line {number}: '{shown}' is the {MAX_MENDED_LINES + 1}th line with bytes that no number has; "
                "the file is in another format than 'x y z r g b', or badly damaged"
            )
        mended.append(MendedLine(number, shown, after.decode("ascii"), bool(defect and defect.reads in after)))
        pieces += [data[done:start], after]
        done = start + len(before)
    return b"".join([*pieces, data[done:]]), tuple(mended)


def _check_mendable(path: Path, number: int, line: bytes, shown: str) -> None:
    """Refuse lines whose foreign bytes are no damage but meant: text, and tables of another format."""
    if _NOT_FINITE.search(line):
        raise InputError(f"{path}, line {number}: '{shown}' holds NaN or infinity; remove or correct the line")
    foreign = b"".join(_STRAY.findall(line))
    if (printable := _PRINTABLE.search(foreign)) is not None:
        character = printable[0].decode("ascii")
        if character in _SEPARATORS:
            raise InputError(
                f"{path}, line {number}: '{shown}' holds {_SEPARATORS[character]}, but S3DIS's lines are 'x y z r g b' "
                "with spaces between and points in the numbers; convert the file, or use 'pointseg prepare cloud'"
            )
        raise InputError(
            f"{path}, line {number}: '{shown}' is not six numbers 'x y z r g b' and cannot be repaired, for "
            f"{character!r} is in no number; correct it or fetch the file again"
        )
    if len(_STRAY.findall(line)) > 1:
        raise InputError(
            f"{path}, line {number}: '{shown}' has bytes that no number has in several places and cannot be repaired; "
            "the file is in another format than 'x y z r g b' in ASCII, or badly damaged"
        )


def _is_row(line: bytes) -> bool:
    """Whether a line is six finite numbers, the last three of them colours."""
    values = _numbers(line)
    return len(values) == COLUMNS and all(0 <= value <= 255 and value.is_integer() for value in values[3:])


def _numbers(line: bytes) -> list[float]:
    """The finite numbers of a line; none if a part of it is not one."""
    try:
        values = [float(token) for token in line.split()]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _explain(path: Path, data: bytes, error: ValueError | None) -> str:
    """The first line that is not six numbers, in words."""
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip() and len(_numbers(line)) != COLUMNS:
            return (
                f"{path}, line {number}: '{ascii(line)[2:-1]}' is not six finite numbers 'x y z r g b'; correct it or "
                "fetch the file again"
            )
    return f"{path} cannot be read as 'x y z r g b' lines ({error}); fetch the file again"


def _check_values(path: Path, data: bytes, table: np.ndarray) -> None:
    color = table[:, 3:]
    good = np.isfinite(table).all(axis=1) & ((color >= 0) & (color <= 255) & (color == np.rint(color))).all(axis=1)
    if good.all():
        return
    row = int(np.flatnonzero(~good)[0])
    lines = [(n, line) for n, line in enumerate(data.splitlines(), start=1) if line.strip()]
    number, line = lines[row]
    what = "colours must be whole numbers in 0..255" if np.isfinite(table[row]).all() else "numbers must be finite"
    raise InputError(
        f"{path}, line {number}: '{ascii(line)[2:-1]}' is out of range: {what}; correct or remove the line"
    )
