"""PLY, ascii and binary in both byte orders.

The vertices of a binary file are mapped into memory, those of an ascii file parsed by lines. Only where list properties
keep that from working (in the vertices, or in an element before them) does plyfile read the file in one piece.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from plyfile import PlyData, PlyParseError

from pointseg.data.formats.format import (
    COMMENT,
    Columns,
    Format,
    Header,
    cut_short,
    extend_rows,
    extended,
    ours_in,
    reading,
)
from pointseg.data.formats.ply_counts import check_ply_counts
from pointseg.data.formats.rows import RowFormat, row_chunks
from pointseg.data.npy import mapped_slices
from pointseg.errors import InputError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_NAMES = {"i2": "short", "i4": "int", "f4": "float"}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1 << 20
_PREFIX = "scalar_"
_COPY_ROWS = 1_000_000


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[tuple[str, np.dtype, np.dtype | None], ...]  # name, type, type of the length of a list

    @property
    def dtype(self) -> np.dtype:
        """Of a row's scalar properties."""
        return np.dtype([(name, kind) for name, kind, length in self.properties if length is None])

    @property
    def lists(self) -> tuple[str, ...]:
        """The list properties."""
        return tuple(name for name, _, length in self.properties if length is not None)


@dataclass(frozen=True)
class _Layout:
    path: Path
    lines: tuple[bytes, ...]  # of the header, with their ends
    order: str  # of bytes; "=" is ascii
    comments: tuple[str, ...]
    before: tuple[_Element, ...]  # elements ahead of the vertices
    vertex: _Element

    @property
    def ours(self) -> frozenset[str]:
        """What an earlier call added to the vertices."""
        return ours_in(self.comments, [name for name, *_ in self.vertex.properties])

    @property
    def in_one_piece(self) -> bool:
        """Whether list properties keep the place of a vertex from being computed."""
        return bool(self.vertex.lists) or (self.order != "=" and any(element.lists for element in self.before))

    @property
    def start(self) -> int:
        """Where the first vertex is: a byte in a binary file, a line in an ascii one."""
        if self.order == "=":
            return len(self.lines) + sum(element.count for element in self.before)
        return sum(map(len, self.lines)) + sum(element.count * element.dtype.itemsize for element in self.before)


def _layout(path: Path) -> _Layout:
    lines: list[bytes] = []
    with reading(path, "PLY"), path.open("rb") as file:
        while not lines or lines[-1].strip() != b"end_header":
            lines.append(file.readline(_LONGEST_HEADER))
            if lines[0].strip() != b"ply" or not lines[-1].endswith(b"\n") or sum(map(len, lines)) > _LONGEST_HEADER:
                raise InputError(f"{path} is no PLY file: its header is damaged or cut short; export it again")
    order = ""
    comments: list[str] = []
    elements: list[tuple[str, int, list[tuple[str, np.dtype, np.dtype | None]]]] = []
    for number, line in enumerate(lines[1:-1], 2):
        words = line.decode("utf-8", "surrogateescape").split()
        try:
            match words:
                case ["format", kind, _]:
                    order = _ORDERS[kind]
                case ["comment" | "obj_info", *_]:
                    comments.append(" ".join(words[1:]))
                case ["element", name, count]:
                    if int(count) < 0:
                        raise ValueError
                    elements.append((name, int(count), []))
                case ["property", "list", length, kind, name]:
                    elements[-1][2].append((name, np.dtype(order + _TYPES[kind]), np.dtype(order + _TYPES[length])))
                case ["property", kind, name]:
                    elements[-1][2].append((name, np.dtype(order + _TYPES[kind]), None))
                case []:
                    pass
                case _:
                    raise ValueError
        except (KeyError, ValueError, IndexError) as error:
            text = line.decode("latin1").strip()
            raise InputError(
                f"{path}, line {number}: {text!r} is not of a PLY header; export the cloud again"
            ) from error
    if not order:
        raise InputError(f"{path} is no PLY file: its header states no format; export it again")
    found = [_Element(name, count, tuple(properties)) for name, count, properties in elements]
    for element in found:
        if len({name for name, *_ in element.properties}) < len(element.properties):
            raise InputError(f"{path} has a property of {element.name!r} twice in its header; export it again")
    names = [element.name for element in found]
    if "vertex" not in names:
        raise InputError(f"{path} has no element 'vertex', only {', '.join(names) or 'none'}; it holds no points")
    place = names.index("vertex")
    return _Layout(path, tuple(lines), order, tuple(comments), tuple(found[:place]), found[place])


def _header(path: Path) -> Header:
    layout = _layout(path)
    _check_promises(layout)
    properties = layout.vertex.properties
    return Header(
        num_points=layout.vertex.count,
        fields=tuple(name for name, *_ in properties),
        columns={name: kind.newbyteorder("=") for name, kind, length in properties if length is None},
        ours=layout.ours,
    )


def _check_promises(layout: _Layout) -> None:
    """Refuse headers that promise more than the file can hold, before anything is made ready for it."""
    held = layout.path.stat().st_size - sum(map(len, layout.lines))
    vertex, ascii_rows = layout.vertex, layout.order == "="
    if ascii_rows and not layout.in_one_piece:
        return  # read by lines, which needs no room in advance
    for element in (*layout.before, vertex):
        # At least a digit and a blank for each property in ascii, at least the length of each list in binary.
        properties = len(element.properties)
        smallest = element.count * (2 * properties if ascii_rows else element.dtype.itemsize + len(element.lists))
        if smallest > held + ascii_rows:
            if element is vertex and not ascii_rows and not layout.in_one_piece:
                raise cut_short(layout.path, vertex.count, held // element.dtype.itemsize)
            raise InputError(
                f"{layout.path} is cut short: it cannot hold the {element.count:,} rows of {element.name!r} that its "
                "header promises; fetch or export it again"
            )
        held -= smallest


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    layout = _layout(path)
    if layout.order == "=" and not layout.in_one_piece:
        yield from _ascii_chunks(layout, wanted, chunk_points)
        return
    vertices = _whole(path)["vertex"].data if layout.in_one_piece else _mapped(layout)
    for _, rows in mapped_slices(vertices, chunk_points):
        yield {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in wanted}


def _ascii_chunks(layout: _Layout, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    dtype, promised, held = layout.vertex.dtype, layout.vertex.count, 0
    rows = RowFormat(layout.path, dtype.names or (), frozenset(), None, layout.start + 1)
    with reading(layout.path, "PLY"), layout.path.open(encoding="latin1") as file:
        lines = islice(file, layout.start, layout.start + promised)
        for columns in row_chunks(lines, rows, wanted, chunk_points):
            held += len(columns[wanted[0]])
            yield {name: _as_declared(values, dtype[name], layout.path) for name, values in columns.items()}
    if held < promised:
        raise cut_short(layout.path, promised, held)


def _as_declared(values: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    # Floats keep the digits that are there: many writers declare float and print more.
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    wrong = (values < limits.min) | (values > limits.max) | (np.rint(values) != values)
    if wrong.any():
        raise InputError(f"{path}: {values[wrong][0]} stands in a column declared as {dtype.name}; export it again")
    return values.astype(dtype)


def _mapped(layout: _Layout) -> np.ndarray:
    with reading(layout.path, "PLY"):
        return np.memmap(layout.path, layout.vertex.dtype, "r", layout.start, (layout.vertex.count,))


def _whole(path: Path) -> PlyData:
    check_ply_counts(path)
    with reading(path, "PLY", PlyParseError, OverflowError):
        return PlyData.read(str(path))


def _write(source: Path, target: Path, added: Columns) -> None:
    layout = _layout(source)
    with source.open("rb") as old, target.open("wb") as new:
        new.writelines(_new_header(layout, added, layout.ours))
        old.seek(sum(map(len, layout.lines)))
        if layout.order == "=":
            _copy_ascii(layout, old, new, added)
        elif layout.in_one_piece:
            old.seek(_copy_walking(layout, new, added))
        else:
            vertices, dtype = _mapped(layout), extended(layout.vertex.dtype, layout.ours, added, layout.order)
            new.write(old.read(layout.start - old.tell()))
            for start, rows in mapped_slices(vertices, _COPY_ROWS):
                new.write(extend_rows(rows, dtype, added, start).tobytes())
            old.seek(layout.start + vertices.nbytes)
        shutil.copyfileobj(old, new)


def _copy_ascii(layout: _Layout, old: IO[bytes], new: IO[bytes], added: Columns) -> None:
    new.writelines(islice(old, sum(element.count for element in layout.before)))
    row, dropped = 0, len(layout.ours)
    for line in islice(old, layout.vertex.count):
        cells = line.split()
        more = [str(values[row]).encode() for values in added.values()]
        new.write(b" ".join(cells[: len(cells) - dropped] + more) + b"\n")
        row += 1
    if row < layout.vertex.count:
        raise cut_short(layout.path, layout.vertex.count, row)


def _copy_walking(layout: _Layout, new: IO[bytes], added: Columns) -> int:
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


def _row_ends(data: np.ndarray, at: int, element: _Element) -> Iterator[int]:
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


def _new_header(layout: _Layout, added: Columns, dropped: frozenset[str]) -> list[bytes]:
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


PLY = Format("PLY", _header, _chunks, _write, prefix=_PREFIX)
