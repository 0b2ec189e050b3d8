"""Lines of numbers, as in CSV, XYZ, ascii PLY and ascii PCD: parsed strictly, the line named where they are wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.formats.format import Columns
from pointseg.errors import InputError


@dataclass(frozen=True)
class RowFormat:
    """How the rows of a file are read.

    Attributes:
        path: The file.
        names: Of all columns, in order.
        words: Those that hold words, not numbers.
        delimiter: One character; None = any run of blanks and tabs.
        first_line: Number of the first row's line, from 1.
    """

    path: Path
    names: tuple[str, ...]
    words: frozenset[str]
    delimiter: str | None
    first_line: int


def row_chunks(lines: Iterable[str], rows: RowFormat, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    """Parse lines, some at a time; blank lines are passed over.

    Args:
        lines: From the first row on.
        rows: What they hold.
        wanted: The columns to hand out.
        chunk_points: Lines to parse at a time.

    Yields:
        Columns: float64, or str for words.

    Raises:
        InputError: Another number of columns, or a word in place of a number; the message names the line.
    """
    lines, first = iter(lines), rows.first_line
    while block := list(islice(lines, chunk_points)):
        columns = _parse(block, rows, wanted, first)
        first += len(block)
        if columns is not None:
            yield columns


def split(line: str, delimiter: str | None) -> list[str]:
    """The cells of a line; cells of delimited files may be quoted."""
    if delimiter is None:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [])]


def is_number(cell: str) -> bool:
    """Whether a cell is a number (``nan`` and ``inf`` are)."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000 as a number, files do not mean it


def _parse(block: list[str], rows: RowFormat, wanted: Sequence[str], first: int) -> Columns | None:
    lines = [line for line in block if line.strip()]
    if not lines:
        return None
    codes: dict[str, dict[str, int]] = {name: {} for name in rows.words}
    # Words become numbers while they are read, so that one strict parse sees every column of every line.
    converters: dict[int | str, Callable[[str], Any]] = {
        i: _coder(codes[name]) for i, name in enumerate(rows.names) if name in rows.words
    }
    try:
        table = np.loadtxt(
            lines,
            dtype=np.dtype([(f"c{i}", np.float64) for i in range(len(rows.names))]),
            comments=None,
            delimiter=rows.delimiter,
            quotechar='"' if rows.delimiter else None,
            converters=converters or None,
            ndmin=1,
        )
    except ValueError as error:
        raise _blame(block, rows, first, error) from error
    return {name: _column(table[f"c{rows.names.index(name)}"], codes.get(name)) for name in wanted}


def _coder(table: dict[str, int]) -> Callable[[str], int]:
    return lambda cell: table.setdefault(cell.strip(), len(table))


def _column(values: np.ndarray, words: dict[str, int] | None) -> np.ndarray:
    return np.ascontiguousarray(values) if words is None else np.array(list(words))[values.astype(np.int64)]


def _blame(block: list[str], rows: RowFormat, first: int, error: ValueError) -> InputError:
    """The error that names the first line that is wrong."""
    for number, line in enumerate(block, first):
        cells = split(line, rows.delimiter)
        if not line.strip():
            continue
        if len(cells) != len(rows.names):
            return InputError(
                f"{rows.path}, line {number}: {len(cells)} columns where {len(rows.names)} are expected "
                f"({', '.join(rows.names)}); correct the line"
            )
        for name, cell in zip(rows.names, cells, strict=True):
            if name not in rows.words and not is_number(cell):
                return InputError(
                    f"{rows.path}, line {number}: {name} is {cell!r}, which is no number; correct the line"
                )
    return InputError(f"{rows.path}, from line {first} on: {error}; correct the file")
