"""PLY, ascii and binary in both byte orders.

The vertices of a binary file are mapped into memory, those of an ascii file parsed by lines. Only where list properties
keep that from working (in the vertices, or in an element before them) does plyfile read the file in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

from pointseg.data.formats.format import Columns, Format, Header, cut_short, reading
from pointseg.data.formats.ply_copy import copy_with
from pointseg.data.formats.ply_counts import check_ply_counts
from pointseg.data.formats.ply_layout import Layout, mapped_vertices, read_layout
from pointseg.data.formats.rows import RowFormat, row_chunks
from pointseg.data.npy import mapped_slices
from pointseg.errors import InputError

_PREFIX = "scalar_"


def _header(path: Path) -> Header:
    layout = read_layout(path)
    _check_promises(layout)
    properties = layout.vertex.properties
    return Header(
        num_points=layout.vertex.count,
        fields=tuple(name for name, *_ in properties),
        columns={name: kind.newbyteorder("=") for name, kind, length in properties if length is None},
        ours=layout.ours,
    )


def _check_promises(layout: Layout) -> None:
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
    layout = read_layout(path)
    if layout.order == "=" and not layout.in_one_piece:
        yield from _ascii_chunks(layout, wanted, chunk_points)
        return
    vertices = _whole(path)["vertex"].data if layout.in_one_piece else mapped_vertices(layout)
    for _, rows in mapped_slices(vertices, chunk_points):
        yield {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in wanted}


def _ascii_chunks(layout: Layout, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
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


def _whole(path: Path) -> PlyData:
    check_ply_counts(path)
    with reading(path, "PLY", PlyParseError, OverflowError):
        return PlyData.read(str(path))


PLY = Format("PLY", _header, _chunks, copy_with, prefix=_PREFIX)
