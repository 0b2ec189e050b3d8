"""A copy of a PLY file with further properties of its vertices; everything else stays byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from pointseg.data.formats.format import COMMENT, Columns, cut_short, extend_rows, extended, reading
from pointseg.data.formats.ply_layout import Element, Layout, mapped_vertices, read_layout
from pointseg.data.npy import mapped_slices

_NAMES = {"i2": "short", "i4": "int", "f4": "float"}
_COPY_ROWS = 1_000_000


def copy_with(source: Path, target: Path, added: Columns) -> None:
    """Copy the file; what an earlier copy added is replaced.

    Args:
        source: The file to copy.
        target: The file to write.
        added: Name of a property -> (N,) its values.

    Raises:
        InputError: A source that cannot be read.
    """
    layout = read_layout(source)
    with source.open("rb") as old, target.open("wb") as new:
        new.writelines(_new_header(layout, added, layout.ours))
        old.seek(sum(map(len, layout.lines)))
        if layout.order == "=":
            _copy_ascii(layout, old, new, added)
        elif layout.in_one_piece:
            old.seek(_copy_walking(layout, new, added))
        else:
            vertices, dtype = mapped_vertices(layout), extended(layout.vertex.dtype, layout.ours, added, layout.order)
            new.write(old.read(layout.start - old.tell()))
            for start, rows in mapped_slices(vertices, _COPY_ROWS):
                new.write(extend_rows(rows, dtype, added, start).tobytes())
            old.seek(layout.start + vertices.nbytes)
        shutil.copyfileobj(old, new)


def _copy_ascii(layout: Layout, old: IO[bytes], new: IO[bytes], added: Columns) -> None:
    new.writelines(islice(old, sum(element.count for element in layout.before)))
    row, dropped = 0, len(layout.ours)
    for line in islice(old, layout.vertex.count):
        cells = line.split()
        more = [str(values[row]).encode() for values in added.values()]
        new.write(b" ".join(cells[: len(cells) - dropped] + more) + b"\n")
        row += 1
    if row < layout.vertex.count:
        raise cut_short(layout.path, layout.vertex.count, row)


def _copy_walking(layout: Layout, new: IO[bytes], added: Columns) -> int:
    """Copy rows whose lengths differ, one by one.

    plyfile would do for reading, but 1.1 writes the scalars beside a list in the machine's byte order.

    Returns:
        Where in the source the vertices end.
    """
    rows = extend_rows(
        np.empty(layout.vertex.count, []), extended(np.dtype([]), frozenset(), added, layout.order), added, 0
    )
    more, size = rows.tobytes(), rows.dtype.itemsize
    dropped = sum(kind.itemsize for name, kind, _ in layout.vertex.properties if name in layout.ours)
    data = np.memmap(layout.path, np.uint8, "r")
    begin = at = sum(map(len, layout.lines))
    with reading(layout.path, "PLY"):
        for element in layout.before:
            for end in _row_ends(data, at, element):
                at = end
        new.write(data[begin:at].tobytes())
        for row, end in enumerate(_row_ends(data, at, layout.vertex)):
            new.write(data[at : end - dropped].tobytes() + more[row * size : (row + 1) * size])
            at = end
    return at


def _row_ends(data: np.ndarray, at: int, element: Element) -> Iterator[int]:
    """Where each row of an element ends, in bytes."""
    for _ in range(element.count):
        for _, kind, length in element.properties:
            if length is not None:
                values = int(data[at : at + length.itemsize].view(length)[0])
                at += length.itemsize + values * kind.itemsize
            else:
                at += kind.itemsize
        if at > len(data):
            raise ValueError(f"a row of {element.name!r} reaches beyond the end")
        yield at


def _new_header(layout: Layout, added: Columns, dropped: frozenset[str]) -> list[bytes]:
    """The header's own lines without earlier additions of ours, and with those that are added now."""
    end = b"\r\n" if layout.lines[0].endswith(b"\r\n") else b"\n"
    lines: list[bytes] = []
    element = ""
    for line in layout.lines:
        words = line.decode("utf-8", "surrogateescape").split()
        if element == "vertex" and words and words[0] in ("element", "end_header"):
            lines += [f"property {_NAMES[v.dtype.str[1:]]} {n}".encode() + end for n, v in added.items()]
        if words and words[0] in ("element", "end_header"):
            element = words[1] if words[0] == "element" else ""
        ours = element == "vertex" and words[:1] == ["property"] and words[-1] in dropped
        if ours or " ".join(words[1:]).startswith(COMMENT):
            continue
        lines.append(line)
        if words and words[0] == "format":
            lines.append(f"comment {COMMENT} {' '.join(added)}".encode() + end)
    return lines
