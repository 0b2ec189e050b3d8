"""NPZ: arrays with one row a point, found by name: coord (N, 3) or x, y, z; color, normal, intensity, label and so on.

Arrays are read a chunk of rows at a time, except those in Fortran order. Arrays of another length are not per-point
fields; writing back copies them, and any others, byte by byte. Arrays of Python objects are never opened.
"""

from __future__ import annotations

import lzma
import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from pointseg.data.formats.format import Columns, Format, Header, reading, writing
from pointseg.data.formats.numpy_array import THREE_COLUMNS, Where, columns_of, usual_rank
from pointseg.data.formats.roles import plain_name
from pointseg.data.npy import read_npy_header
from pointseg.errors import InputError

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
_MOST_EXPANSION, _ALWAYS_ALLOWED = 100, 1 << 26


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive, by name, each whole.

    Raises:
        InputError: It is damaged, promises far more than it holds, or has arrays of Python objects (pickles).
    """
    members = _members(path)
    with reading(path, "NPZ", *_DAMAGED), zipfile.ZipFile(path) as archive:
        left_out = [name for name in archive.namelist() if name.removesuffix(".npy") not in members]
        if left_out:
            raise InputError(f"{path} is damaged: its {left_out[0]} is no array of numbers; fetch or export it again")
        return {name: _whole(archive, member) for name, member in members.items()}


def _whole(archive: zipfile.ZipFile, member: _Member) -> np.ndarray:
    with archive.open(f"{member.name}.npy") as file:
        read_npy_header(file)
        values = np.frombuffer(file.read(), member.dtype)
    return values.reshape(member.shape, order="F" if member.fortran else "C")


@dataclass(frozen=True)
class _Member:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


def _members(path: Path) -> dict[str, _Member]:
    """The arrays of the file, by name; object arrays are left out."""
    members: dict[str, _Member] = {}
    total = 0
    with reading(path, "NPZ", *_DAMAGED), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as file:
                shape, fortran, dtype = read_npy_header(file)
                start = file.tell()
            if dtype.hasobject or dtype.itemsize == 0:
                continue
            held, promised = info.file_size - start, dtype.itemsize * math.prod(shape)
            if held != promised:
                raise InputError(
                    f"{path} is damaged: its array {info.filename[:-4]!r} of shape {shape} holds {held:,} bytes where "
                    f"{promised:,} are promised; fetch or export it again"
                )
            total += promised
            if total > _ALWAYS_ALLOWED + _MOST_EXPANSION * path.stat().st_size:
                raise InputError(
                    f"{path} promises {total:,} bytes of numbers, over {_MOST_EXPANSION} times its size; if that is "
                    "true, save it without compression"
                )
            members[info.filename[:-4]] = _Member(info.filename[:-4], shape, dtype, fortran)
    return members


def _points(path: Path, members: dict[str, _Member]) -> tuple[int, Where, list[str]]:
    """N, where each column is, and what was left out."""
    lengths = [
        m.shape[0]
        for m in sorted(members.values(), key=lambda member: usual_rank(member.name))
        if (m.name.casefold() in THREE_COLUMNS and THREE_COLUMNS[m.name.casefold()][0] == "x" and m.shape[1:] == (3,))
        or (plain_name(m.name) == "x" and len(m.shape) == 1)
    ]
    if not lengths:
        held = ", ".join(f"{m.name} {m.shape}" for m in members.values())
        raise InputError(
            f"{path} has no coordinates: neither coord (N, 3) nor x, y, z; its arrays are {held or 'none'}"
        )
    rows = [member for member in members.values() if member.shape[:1] == (lengths[0],)]
    return lengths[0], *columns_of((member.name, member.dtype, member.shape[1:]) for member in rows)


def _header(path: Path) -> Header:
    members = _members(path)
    count, where, left_out = _points(path, members)
    fields = tuple(m.name for m in members.values() if m.shape[:1] == (count,))
    kinds = {column: members[name].dtype.newbyteorder("=") for column, (name, _) in where.items()}
    return Header(count, fields, kinds, notes=dict.fromkeys(left_out, count))


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    members = _members(path)
    count, where, _ = _points(path, members)
    names = dict.fromkeys(where[column][0] for column in wanted)
    with reading(path, "NPZ", *_DAMAGED), ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        files = {name: stack.enter_context(archive.open(f"{name}.npy")) for name in names}
        whole = {name: _whole(archive, members[name]) for name in names if members[name].fortran}
        for file in files.values():
            read_npy_header(file)
        for start in range(0, count, chunk_points):
            rows = min(chunk_points, count - start)
            arrays = {
                name: whole[name][start : start + rows] if name in whole else _rows(files[name], members[name], rows)
                for name in names
            }
            yield {column: _column(arrays[where[column][0]], where[column][1]) for column in wanted}


def _rows(file: IO[bytes], member: _Member, rows: int) -> np.ndarray:
    row = member.dtype.itemsize * math.prod(member.shape[1:])
    return np.frombuffer(file.read(rows * row), member.dtype).reshape(rows, *member.shape[1:])


def _column(values: np.ndarray, index: int | None) -> np.ndarray:
    values = values if index is None else values[:, index]
    return values.astype(values.dtype.newbyteorder("="))


def _write(source: Path, target: Path, added: Columns) -> None:
    with writing(*_DAMAGED), zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            with old.open(info) as file, new.open(_like(info), "w", force_zip64=True) as copy:
                shutil.copyfileobj(file, copy)
        compression = old.infolist()[0].compress_type
        for name, values in added.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = compression
            with new.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


def _like(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(info.filename, info.date_time)
    entry.compress_type = info.compress_type
    return entry


NPZ = Format("NPZ", _header, _chunks, _write)
