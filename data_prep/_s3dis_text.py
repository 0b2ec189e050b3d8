"""S3DIS's annotation text, ``x y z r g b`` a line: parsed strictly and whole, mended only where it must be.

A few of the published files hold a stray control byte. The strict parse refuses those; the file is then mended by one
rule and parsed again, and every mended line is reported. A comma-separated table or any other format is not mended.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.errors import InputError

COLUMNS = 6
MAX_MENDED_LINES = 10
"""The published files have at most one defective line each; a file with many is in another format."""

_ALLOWED = b"0123456789+-.eE \t\r\n"
_STRAY = re.compile(rb"[^0-9+\-.eE \t\r\n]+")
_BETWEEN_INTEGERS = re.compile(rb"(?<![^ \t])([+-]?[0-9]+)[^0-9+\-.eE \t\r\n]+([0-9]+)(?![^ \t\r])")
_NOT_FINITE = re.compile(rb"nan|inf", re.IGNORECASE)


@dataclass(frozen=True)
class MendedLine:
    """A line that was changed before it could be read.

    Attributes:
        line: Its number, from 1.
        before: What the file holds, unprintable bytes escaped.
        after: What was read instead.
    """

    line: int
    before: str
    after: str


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


def mend_line(line: bytes) -> bytes:
    """Take the stray bytes out of a line.

    They become a space where they stand between two complete integers of a row that otherwise has five columns
    (``185<byte>187``: a lost separator), and are deleted elsewhere (``103.0<byte>00000``).
    """
    # Not bytes.split(): it takes some control bytes for white space.
    if len(re.findall(rb"[^ \t\r]+", line)) == COLUMNS - 1:
        line = _BETWEEN_INTEGERS.sub(rb"\1 \2", line, count=1)
    return _STRAY.sub(b"", line)


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
        if _NOT_FINITE.search(before):
            raise InputError(f"{path}, line {number}: '{shown}' holds NaN or infinity; remove or correct the line")
        after = mend_line(before)
        if not _is_row(after):
            raise InputError(
                f"{path}, line {number}: '{shown}' is not six numbers 'x y z r g b' and cannot be repaired; correct it "
                "or fetch the file again"
            )
        if len(mended) == MAX_MENDED_LINES:
            raise InputError(
                f"{path}, line {number}: '{shown}' is the {MAX_MENDED_LINES + 1}th line with bytes that no number has; "
                "the file is in another format than 'x y z r g b', or badly damaged"
            )
        mended.append(MendedLine(number, shown, after.decode("ascii")))
        pieces += [data[done:start], after]
        done = start + len(before)
    return b"".join([*pieces, data[done:]]), tuple(mended)


def _is_row(line: bytes) -> bool:
    tokens = line.split()
    try:
        return len(tokens) == COLUMNS and all(np.isfinite(float(token)) for token in tokens)
    except ValueError:
        return False


def _explain(path: Path, data: bytes, error: ValueError | None) -> str:
    """The first line that is not six numbers, in words."""
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip() and not _is_row(line):
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
