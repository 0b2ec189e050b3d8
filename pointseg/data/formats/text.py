"""XYZ, CSV and TXT: one point a line, in columns found by a stated rule.

- Lines before the first row that are blank or begin with ``#`` or ``//`` are passed over.
- The delimiter is ``;`` if the first row (or header line) has one, else ``,``, else blanks and tabs.
- A line whose first cell is not a number is the header line. Without one, the last comment line before the rows is,
  if it has as many words as the rows have columns and begins with none that is a number.
- Without any header the columns are x, y, z, then, if there are six, red, green, blue; others are ``column_4`` and so
  on, and read only if they are named as label field.
- A column is of words if its first row is not a number there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from pointseg.data.formats.format import Columns, Format, Header, cut_short, reading
from pointseg.data.formats.rows import RowFormat, is_number, row_chunks, split
from pointseg.errors import InputError

_COMMENTS = ("#", "//")
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class _Layout:
    rows: RowFormat
    header_line: int  # number of the line with the names, 0 if there is none
    comments: int  # lines before it


def _layout(path: Path) -> _Layout:
    with reading(path, "text"), _opened(path) as file:
        comment, comment_line, names_line = "", 0, 0
        names: list[str] = []
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), 1):
            if len(line) >= _LONGEST_LINE or "\0" in line:
                raise InputError(f"{path}, line {number}: not text in lines; export the cloud as text again")
            if not line.strip():
                continue
            if line.lstrip().startswith(_COMMENTS):
                comment, comment_line = line.strip().lstrip("#/").strip(), number
                continue
            delimiter = next((d for d in ";," if d in line), None)
            cells = split(line, delimiter)
            if is_number(cells[0]):
                break
            if names:
                raise InputError(f"{path}, line {number}: {cells[0]!r} is no number; a row begins with x y z")
            names, names_line = cells, number
        else:
            raise InputError(f"{path} holds no points; there is nothing to do with it")
    if not names:
        words = split(comment, delimiter) if delimiter and delimiter in comment else comment.split()
        if len(words) == len(cells) and not is_number(words[0]):
            names, names_line = words, comment_line
    names = names or _default_names(len(cells))
    if len(names) != len(cells):
        raise InputError(
            f"{path}, line {number}: {len(cells)} columns where the header line names {len(names)} "
            f"({', '.join(names)}); correct the header line"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{path}: the header line names a column twice ({', '.join(names)}); correct it")
    words_in = frozenset(name for name, cell in zip(names, cells, strict=True) if not is_number(cell))
    return _Layout(RowFormat(path, tuple(names), words_in, delimiter, number), names_line, number - 1)


def _default_names(columns: int) -> list[str]:
    named = ["x", "y", "z", "red", "green", "blue"] if columns == 6 else ["x", "y", "z"]
    return named[:columns] + [f"column_{i + 1}" for i in range(len(named), columns)]


def _header(path: Path) -> Header:
    layout = _layout(path)
    with _opened(path) as file:
        count = sum(1 for line in islice(file, layout.comments, None) if not line.isspace())
    names = layout.rows.names
    notes = {}
    if not layout.header_line:
        notes[f"no header line: columns taken as {' '.join(names)}"] = count
    kinds = {name: np.dtype(np.str_ if name in layout.rows.words else np.float64) for name in names}
    return Header(num_points=count, fields=names, columns=kinds, notes=notes)


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    layout = _layout(path)
    with reading(path, "text"), _opened(path) as file:
        yield from row_chunks(islice(file, layout.comments, None), layout.rows, wanted, chunk_points)


def _write(source: Path, target: Path, added: Columns) -> None:
    layout = _layout(source)
    row = 0
    with (
        _opened(source, newline="") as lines,
        target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        for number, line in enumerate(lines, 1):
            body = line.rstrip("\r\n")
            ending = line[len(body) :]
            delimiter = layout.rows.delimiter or ("\t" if "\t" in body else " ")
            if number == layout.header_line:
                body += delimiter + delimiter.join(added)
            elif number > layout.comments and body.strip():
                body += delimiter + delimiter.join(_cell(values[row]) for values in added.values())
                row += 1
            out.write(body + ending)
    if row != len(added["pred"]):
        raise cut_short(source, len(added["pred"]), row)
    if _layout(target).rows.names[: len(layout.rows.names)] != layout.rows.names:
        raise InputError(
            f"{source}: with {len(added)} more columns its last comment would be read as the header line; remove that "
            "line"
        )


def _cell(value: np.generic) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)


def _opened(path: Path, newline: str | None = None) -> TextIO:
    # Bytes that are not UTF-8 can stand in comments and words; they pass through unchanged.
    return path.open(encoding="utf-8-sig" if newline is None else "utf-8", errors="surrogateescape", newline=newline)


TEXT = Format("text", _header, _chunks, _write)
