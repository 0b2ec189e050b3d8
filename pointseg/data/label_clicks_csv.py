"""Reading a person's clicks: text of one row a click, x, y, z and class, and the scene where there are several."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from pointseg.data.classes import Classes
from pointseg.errors import InputError

COLUMNS = ("x", "y", "z", "class")
"""What the header must name, in any order; ``scene`` is the one other column allowed."""

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""What may stand between columns."""


@dataclass(frozen=True)
class Click:
    """One annotated position.

    Attributes:
        line: Where in the file it is, from 1.
        coord: x, y, z in the source's coordinates, metres.
        label: Its class, 0..K-1.
        scene: As written; None if the file has no such column.
    """

    line: int
    coord: tuple[float, float, float]
    label: int
    scene: str | None


def read_clicks(path: Path, classes: Classes) -> list[Click]:
    """Read a file of clicks.

    The first line is the header and decides the delimiter. A class is one of the classes' names, or else its number,
    counted from 0. Lines without any text are passed over.

    Args:
        path: The file, UTF-8.
        classes: Of the root.

    Raises:
        InputError: The file cannot be read, or its header or a line is not as described; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the clicks {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save the clicks as a CSV file") from error
    header = text.split("\n", 1)[0]
    rows = _rows(text, _delimiter(header, path), path)
    columns = [field.lower() for field in rows[0][1]] if rows else []
    if not set(COLUMNS) <= set(columns) <= {*COLUMNS, "scene"} or len(set(columns)) != len(columns):
        raise InputError(
            f"{path.name} begins with {header.strip()[:80]!r}; its first line must name the columns "
            f"{', '.join(COLUMNS)} once each, and only 'scene' beside them"
        )
    clicks = [_click(columns, row, f"{path.name}, line {line}", line, classes) for line, row in rows[1:]]
    if not clicks:
        raise InputError(f"{path.name} holds no clicks below its first line; write one line a click")
    return clicks


def _delimiter(header: str, path: Path) -> str:
    found = [delimiter for delimiter in DELIMITERS if delimiter in header]
    if len(found) != 1:
        what = " and ".join(DELIMITERS[delimiter] for delimiter in found) or "no delimiter"
        raise InputError(
            f"{path.name} has {what} in its first line {header.strip()[:80]!r}; write x,y,z,class there, with commas, "
            "semicolons or tabs throughout"
        )
    return found[0]


def _rows(text: str, delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path.name}, line {reader.line_num}: {error}; write one line a click") from error
    return [(line, row) for line, row in rows if any(row)]


def _click(columns: list[str], row: list[str], where: str, line: int, classes: Classes) -> Click:
    if len(row) != len(columns):
        raise InputError(f"{where} has {len(row)} columns; the first line has {len(columns)}; write one value for each")
    fields = dict(zip(columns, row, strict=True))
    if fields.get("scene") == "":
        raise InputError(f"{where} names no scene; write <scene> or <split>/<scene>")
    x, y, z = (_number(fields[axis], axis, where) for axis in "xyz")
    return Click(line, (x, y, z), _class(fields["class"], where, classes), fields.get("scene"))


def _number(text: str, axis: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {axis} is {text!r}; it must be a number of metres with a decimal point")
    return value


def _class(text: str, where: str, classes: Classes) -> int:
    if text in classes.names:
        return classes.names.index(text)
    if text.isascii() and text.isdigit():
        # Compared as text, because Python refuses to read numbers of thousands of digits.
        number = text.lstrip("0") or "0"
        if number in map(str, range(classes.num_classes)):
            return int(number)
    raise InputError(
        f"{where}: there is no class {text!r}; write one of {', '.join(classes.names)}, or a number from 0 to "
        f"{classes.num_classes - 1}"
    )
