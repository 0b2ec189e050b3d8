"""NPY: a table of named fields, or a plain (N, C) array whose columns are x, y, z, then red, green, blue if C is 6.

The file is mapped into memory. Arrays of Python objects are pickles and refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pointseg.data.formats.format import Columns, Format, Header, extend_rows, extended, reading
from pointseg.data.formats.roles import plain_name
from pointseg.data.npy import map_npy, mapped_slices
from pointseg.errors import InputError

THREE_COLUMNS = {
    **dict.fromkeys(("coord", "coords", "xyz", "points", "pos", "position", "positions"), ("x", "y", "z")),
    **dict.fromkeys(("color", "colors", "rgb"), ("red", "green", "blue")),
    **dict.fromkeys(("normal", "normals"), ("nx", "ny", "nz")),
}
"""Names of (N, 3) arrays -> what their columns are."""
_COPY_ROWS = 1_000_000


Where = dict[str, tuple[str, int | None]]
"""Column -> (field, index within the field)."""


def columns_of(fields: Iterable[tuple[str, np.dtype, tuple[int, ...]]]) -> tuple[Where, list[str]]:
    """The columns that fields make, and what was left out: each column is of one field, the first by its usual name.

    Args:
        fields: Name, type and shape of one point's value, () or (C,).
    """
    where: Where = {}
    owner: dict[str, str] = {}
    left_out: list[str] = []
    for name, dtype, shape in sorted(fields, key=lambda field: usual_rank(field[0])):
        columns = _columns(name, dtype, shape)
        first = next((owner[plain_name(column)] for column in columns if plain_name(column) in owner), None)
        if first is not None:
            left_out.append(f"{name} left out: {first} is read in its place")
            continue
        where |= columns
        owner |= dict.fromkeys(columns, name) if len(columns) == 3 else {}
    return where, left_out


def usual_rank(name: str) -> int:
    """The place of a field among the usual names of (N, 3) arrays; behind them for any other."""
    names = list(THREE_COLUMNS)
    return names.index(name.casefold()) if name.casefold() in THREE_COLUMNS else len(names)


def _columns(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Where:
    if dtype.kind not in "biufU":
        return {}
    if shape in ((), (1,)):
        return {name: (name, None if shape == () else 0)}
    parts = THREE_COLUMNS.get(name.casefold())
    return {part: (name, i) for i, part in enumerate(parts)} if parts and shape == (3,) else {}


def _load(path: Path) -> np.ndarray:
    with reading(path, "NPY"):
        array = map_npy(path)
    table = array.ndim == 1 and array.dtype.names is not None
    plain = array.ndim == 2 and array.shape[1] >= 3 and array.dtype.kind in "iuf"
    if not table and not plain:
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}; it must be numbers (N, 3 or more) or a table of named "
            "fields"
        )
    return array


def _names(array: np.ndarray) -> tuple[str, ...]:
    if array.dtype.names is not None:
        return array.dtype.names
    named = ("x", "y", "z", "red", "green", "blue") if array.shape[1] == 6 else ("x", "y", "z")
    return named + tuple(f"column_{i + 1}" for i in range(len(named), array.shape[1]))


def _where(array: np.ndarray) -> tuple[Where, list[str]]:
    kinds = {name: array.dtype[name] for name in array.dtype.names or ()}
    return columns_of((name, kind.base, kind.shape) for name, kind in kinds.items())


def _header(path: Path) -> Header:
    array = _load(path)
    names = _names(array)
    if array.dtype.names is None:
        notes = {f"an array without names: columns taken as {' '.join(names)}": len(array)}
        return Header(len(array), names, dict.fromkeys(names, array.dtype.newbyteorder("=")), notes=notes)
    where, left_out = _where(array)
    kinds = {column: array.dtype[name].base.newbyteorder("=") for column, (name, _) in where.items()}
    return Header(len(array), names, kinds, notes=dict.fromkeys(left_out, len(array)))


def _chunks(path: Path, wanted: Sequence[str], chunk_points: int) -> Iterator[Columns]:
    array = _load(path)
    names, (where, _) = _names(array), _where(array)
    for _, rows in mapped_slices(array, chunk_points):
        yield {name: _column(rows, names, where, name) for name in wanted}


def _column(rows: np.ndarray, names: Sequence[str], where: Where, name: str) -> np.ndarray:
    if rows.dtype.names is None:
        values = rows[:, names.index(name)]
    else:
        field, index = where[name]
        values = rows[field] if index is None else rows[field][:, index]
    return values.astype(values.dtype.newbyteorder("="))


def _write(source: Path, target: Path, added: Columns) -> None:
    array = _load(source)
    if array.dtype.names is None:
        dtype = array.dtype
        shape: tuple[int, ...] = (len(array), array.shape[1] + len(added))
        if dtype.kind != "f" or not np.array_equal(added["pred"].astype(dtype), added["pred"]):
            raise InputError(
                f"{source} holds {dtype} without field names, which cannot hold predictions; save it as NPZ or as a "
                "table of named fields"
            )
    else:
        dtype, shape = extended(array.dtype, frozenset(), added), (len(array),)
    with target.open("wb") as file:
        np.lib.format.write_array_header_2_0(
            file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )
        for start, rows in mapped_slices(array, _COPY_ROWS):
            if dtype.names is None:
                more = np.stack([values[start : start + _COPY_ROWS] for values in added.values()], axis=1)
                file.write(np.hstack([rows, more.astype(dtype)]).astype(dtype, copy=False).tobytes())
            else:
                file.write(extend_rows(rows, dtype, added, start).tobytes())


NPY = Format("NPY", _header, _chunks, _write)
