"""PCD (Point Cloud Library): ascii, binary, and binary compressed with LZF.

Binary rows are mapped into memory. Compressed files store field after field in one LZF stream, which has to be undone
in one piece, in Python: some seconds a million points. The viewpoint stays in the header and is not applied.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

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
from pointseg.data.formats.lzf import MOST_EXPANSION, decompress, literals
from pointseg.data.formats.rows import RowFormat, row_chunks
from pointseg.data.npy import mapped_slices
from pointseg.errors import InputError

_LONGEST_HEADER = 1 << 20
_KINDS = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
_PACKED = ("rgb", "rgba")
_CHANNELS = {"red": 16, "green": 8, "blue": 0}
_PADDING = re.compile(r"_\d+")
_COPY_ROWS = 1_000_000


@dataclass(frozen=True)
class _Layout:
    path: Path
    lines: tuple[bytes, ...]  # of the header
    count: int
    dtype: np.dtype  # of a row; padding, which PCL calls "_", is numbered
    data: str  # ascii, binary or binary_compressed
    comments: tuple[str, ...]

    @property
    def start(self) -> int:
        """The first byte after the header."""
        return sum(map(len, self.lines))

    @property
    def scalars(self) -> tuple[str, ...]:
        """Fields of one value a point."""
        names = self.dtype.names or ()
        return tuple(n for n in names if self.dtype[n].shape == () and not _PADDING.fullmatch(n))

    @property
    def packed(self) -> str | None:
        """The field that holds three channels in four bytes."""
        return next((n for n in self.scalars if n.lower() in _PACKED and self.dtype[n].itemsize == 4), None)


def _layout(path: Path) -> _Layout:
    lines: list[bytes] = []
    with reading(path, "PCD"), path.open("rb") as file:
        while not lines or not lines[-1].startswith(b"DATA"):
            lines.append(file.readline(_LONGEST_HEADER))
            if not lines[-1].endswith(b"\n") or sum(map(len, lines)) > _LONGEST_HEADER:
                raise InputError(f"{path} is no PCD file: its header is damaged or cut short; export it again")
    words = [line.decode("utf-8", "surrogateescape").split() for line in lines]
    entries = {w[0]: w[1:] for w in words if w and not w[0].startswith("#")}
    comments = tuple(" ".join(w).lstrip("# ") for w in words if w and w[0].startswith("#"))
    keys = [w[0] for w in words if w and not w[0].startswith("#")]
    try:
        if len(keys) > len(entries):
            raise ValueError("an entry stands there twice")
        names = [f"_{i}" if n == "_" else n for i, n in enumerate(entries["FIELDS"])]
        counts = [int(c) for c in entries.get("COUNT", ["1"] * len(names))]
        kinds = [_kind(t, int(s)) for t, s in zip(entries["TYPE"], entries["SIZE"], strict=True)]
        fields = [(n, k, (c,)) if c > 1 else (n, k) for n, k, c in zip(names, kinds, counts, strict=True)]
        dtype = np.dtype(fields)
        count = int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0])
        if count < 0 or int(entries.get("POINTS", [count])[0]) != count:
            raise ValueError(f"POINTS is {entries['POINTS'][0]}, WIDTH x HEIGHT is {count}")
        data = entries["DATA"][0]
        if data not in ("ascii", "binary", "binary_compressed"):
            raise ValueError(f"DATA is {data!r}; known are ascii, binary, binary_compressed")
    except (KeyError, IndexError, ValueError) as error:
        reason = f"{error.args[0]} is missing or empty" if isinstance(error, KeyError | IndexError) else str(error)
        raise InputError(f"{path} has a damaged PCD header ({reason}); export it again") from error
    return _Layout(path, tuple(lines), count, dtype, data, comments)


def _kind(letter: str, size: int) -> str:
    if size not in _KINDS.get(letter, ()):
        raise ValueError(f"there is no type {letter} of size {size}")
    return f"<{letter.lower()}{size}"


def _header(path: Path) -> Header:
    layout = _layout(path)
    if layout.data == "binary":
        held = (path.stat().st_size - layout.start) // layout.dtype.itemsize
        if held < layout.count:
            raise cut_short(path, layout.count, held)
    kinds = {name: layout.dtype[name] for name in layout.scalars if name != layout.packed}
    if layout.packed:
        kinds |= dict.fromkeys(_CHANNELS, np.dtype(np.uint8))
    names = tuple(n for n in layout.dtype.names or () if not _PADDING.fullmatch(n))
    return Header(layout.count, names, kinds, ours=ours_in(layout.comments, layout.dtype.names or ()))


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    layout = _layout(path)
    if layout.data == "ascii":
        held = 0
        for columns in _ascii_chunks(layout, wanted, chunk_points):
            held += len(columns[wanted[0]])
            yield columns
        if held < layout.count:
            raise cut_short(path, layout.count, held)
        return
    if layout.data == "binary":
        everything = slice(None)
        for _, rows in mapped_slices(_mapped(layout), chunk_points):
            yield {name: np.array(_unpacked(rows, name, everything, layout.packed)) for name in wanted}
        return
    fields = _fields(layout, _decompressed(layout))
    for start in range(0, layout.count, chunk_points):
        part = slice(start, start + chunk_points)
        yield {name: np.array(_unpacked(fields, name, part, layout.packed)) for name in wanted}


def _unpacked(rows: Columns | np.ndarray, name: str, part: slice, packed: str | None) -> np.ndarray:
    if packed is None or name not in _CHANNELS:
        return rows[name][part]
    values = np.ascontiguousarray(rows[packed][part]).view(np.uint32)
    return ((values >> _CHANNELS[name]) & 255).astype(np.uint8)


def _ascii_chunks(layout: _Layout, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    names: list[str] = []
    for name in layout.dtype.names or ():
        width = int(np.prod(layout.dtype[name].shape, dtype=int))
        names += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    rows = RowFormat(layout.path, tuple(names), frozenset(), None, len(layout.lines) + 1)
    read = tuple(dict.fromkeys(layout.packed if layout.packed and n in _CHANNELS else n for n in wanted))
    with reading(layout.path, "PCD"), layout.path.open(encoding="latin1") as file:
        lines = islice(file, len(layout.lines), len(layout.lines) + layout.count)
        for columns in row_chunks(lines, rows, read, chunk_points):
            if layout.packed in columns:
                columns[layout.packed] = _bits(layout, columns[layout.packed])
            yield {name: _unpacked(columns, name, slice(None), layout.packed) for name in wanted}


def _bits(layout: _Layout, values: np.ndarray) -> np.ndarray:
    """Packed colours as they are printed: some writers print the number the bits make, some the float they make."""
    if not np.isfinite(values).all():
        raise InputError(f"{layout.path}: packed colours printed as nan cannot be recovered; export it as binary PCD")
    if (
        layout.dtype[layout.packed or ""].kind == "f"
        and ((np.rint(values) != values) | (np.abs(values) >= 2**32)).any()
    ):
        return values.astype(np.float32).view(np.uint32)
    return values.astype(np.int64).astype(np.uint32)


def _mapped(layout: _Layout) -> np.ndarray:
    with reading(layout.path, "PCD"):
        return np.memmap(layout.path, layout.dtype, "r", layout.start, (layout.count,))


def _compressed(layout: _Layout) -> bytes:
    """The LZF stream, after checking what the file says about it."""
    with reading(layout.path, "PCD"), layout.path.open("rb") as file:
        file.seek(layout.start)
        sizes = file.read(8)
        if len(sizes) < 8:
            raise cut_short(layout.path, layout.count, 0)
        packed, size = struct.unpack("<II", sizes)
        held = layout.path.stat().st_size - layout.start - 8
        if packed > held:
            raise InputError(
                f"{layout.path} is cut short: {packed:,} compressed bytes are promised, the file holds {held:,}; fetch "
                "or export it again"
            )
        if size != layout.count * layout.dtype.itemsize or size > packed * MOST_EXPANSION:
            raise InputError(
                f"{layout.path} is damaged: {layout.count:,} points of {layout.dtype.itemsize} bytes do not come from "
                f"{packed:,} compressed bytes that hold {size:,}; fetch or export it again"
            )
        return file.read(packed)


def _decompressed(layout: _Layout) -> bytes:
    with reading(layout.path, "PCD"):
        return decompress(_compressed(layout), layout.count * layout.dtype.itemsize)


def _fields(layout: _Layout, data: bytes) -> Columns:
    """The fields of a compressed file, which stand one after another."""
    columns, at = {}, 0
    for name in layout.dtype.names or ():
        kind = layout.dtype[name]
        columns[name] = np.frombuffer(data, kind, layout.count, at)
        at += kind.itemsize * layout.count
    return columns


def _write(source: Path, target: Path, added: Columns) -> None:
    layout = _layout(source)
    dropped = ours_in(layout.comments, layout.dtype.names or ())
    with target.open("wb") as new:
        new.writelines(_new_header(layout, added, dropped))
        if layout.data == "ascii":
            _write_ascii(layout, new, added, dropped)
        elif layout.data == "binary":
            rows, dtype = _mapped(layout), extended(layout.dtype, dropped, added)
            for start, part in mapped_slices(rows, _COPY_ROWS):
                new.write(extend_rows(part, dtype, added, start).tobytes())
        else:
            _write_compressed(layout, new, added, dropped)


def _write_ascii(layout: _Layout, new: IO[bytes], added: Columns, dropped: frozenset[str]) -> None:
    width = sum(int(np.prod(layout.dtype[n].shape, dtype=int)) for n in layout.dtype.names or () if n not in dropped)
    row = 0
    with layout.path.open("rb") as old:
        for line in islice(old, len(layout.lines), len(layout.lines) + layout.count):
            # What was added before stands at the end.
            cells = line.split()[:width]
            new.write(b" ".join([*cells, *(str(values[row]).encode() for values in added.values())]) + b"\n")
            row += 1
    if row < layout.count:
        raise cut_short(layout.path, layout.count, row)


def _write_compressed(layout: _Layout, new: IO[bytes], added: Columns, dropped: frozenset[str]) -> None:
    """Add fields to the end of the stream: what is there stays compressed as it is unless something was dropped."""
    more = b"".join(values.astype(values.dtype.newbyteorder("<")).tobytes() for values in added.values())
    if dropped:
        fields = _fields(layout, _decompressed(layout))
        kept = b"".join(values.tobytes() for name, values in fields.items() if name not in dropped)
        stream, size = literals(kept), len(kept)
    else:
        stream, size = _compressed(layout), layout.count * layout.dtype.itemsize
    stream, size = stream + literals(more), size + len(more)
    if len(stream) >= 2**32:
        raise InputError(
            f"{layout.path} would exceed the 4 GB a compressed PCD can hold; convert it to binary PCD first"
        )
    new.write(struct.pack("<II", len(stream), size) + stream)


def _new_header(layout: _Layout, added: Columns, dropped: frozenset[str]) -> list[bytes]:
    names = layout.dtype.names or ()
    keep = [i for i, name in enumerate(names) if name not in dropped]
    more = {
        b"FIELDS": [name.encode() for name in added],
        b"SIZE": [str(values.dtype.itemsize).encode() for values in added.values()],
        b"TYPE": [values.dtype.kind.upper().encode() for values in added.values()],
        b"COUNT": [b"1"] * len(added),
    }
    lines: list[bytes] = []
    for line in layout.lines:
        words = line.split()
        if words and words[0] in more:
            words = [words[0], *(words[1 + i] for i in keep), *more[words[0]]]
            if words[0] == b"FIELDS":
                lines.append(f"# {COMMENT} {' '.join(added)}\n".encode())
            line = b" ".join(words) + b"\n"
        if not line.lstrip(b"# ").startswith(COMMENT.encode()) or not line.startswith(b"#"):
            lines.append(line)
    return lines


PCD = Format("PCD", _header, _chunks, _write)
