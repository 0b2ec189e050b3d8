"""S3DIS's annotation text, written quickly: whole columns of digits at once instead of a format call a line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

CLASS_NAMES = (
    "ceiling",
    "floor",
    "wall",
    "beam",
    "column",
    "window",
    "door",
    "table",
    "chair",
    "sofa",
    "bookcase",
    "board",
    "clutter",
)


def format_points(coord: np.ndarray, color: np.ndarray) -> bytes:
    """Points as S3DIS lines ``x y z r g b``: metres with three decimals, whole colours.

    Args:
        coord: (N, 3) metres, between -10,000 and 10,000.
        color: (N, 3) uint8.

    Returns:
        N lines, each ended by a newline.
    """
    millimetres = np.rint(np.asarray(coord, dtype=np.float64) * 1000).astype(np.int64)
    columns: list[np.ndarray] = []
    keeps: list[np.ndarray] = []
    for axis in range(3):
        _add_number(columns, keeps, np.abs(millimetres[:, axis]), millimetres[:, axis] < 0, whole=4, decimals=3)
        _add_byte(columns, keeps, len(coord), b" ")
    for channel in range(3):
        _add_number(columns, keeps, color[:, channel].astype(np.int64), None, whole=3, decimals=0)
        _add_byte(columns, keeps, len(coord), b" " if channel < 2 else b"\n")
    return np.stack(columns, axis=1)[np.stack(keeps, axis=1)].tobytes()


def write_room(folder: Path, coord: np.ndarray, color: np.ndarray, segment: np.ndarray, instance: np.ndarray) -> None:
    """Write ``folder/Annotations/<class>_<i>.txt``, one file an instance, i from 1 within its class.

    The room is written beside its final place and renamed, so an interrupted run leaves no half room; a room of the
    same name is replaced.

    Args:
        folder: The room's folder, ``<area>/<type>_<n>``.
        coord: (N, 3) metres.
        color: (N, 3) uint8.
        segment: (N,) index into ``CLASS_NAMES``.
        instance: (N,) number of the object each point lies on, unique in the room.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    annotations = unfinished / "Annotations"
    annotations.mkdir(parents=True)
    order = np.argsort(instance, kind="stable")
    starts = np.flatnonzero(np.diff(instance[order], prepend=-1))
    seen = dict.fromkeys(CLASS_NAMES, 0)
    for rows in np.split(order, starts[1:]):
        name = CLASS_NAMES[segment[rows[0]]]
        seen[name] += 1
        (annotations / f"{name}_{seen[name]}.txt").write_bytes(format_points(coord[rows], color[rows]))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _add_number(
    columns: list[np.ndarray],
    keeps: list[np.ndarray],
    value: np.ndarray,
    negative: np.ndarray | None,
    *,
    whole: int,
    decimals: int,
) -> None:
    n = len(value)
    if negative is not None:
        columns.append(np.full(n, ord("-"), dtype=np.uint8))
        keeps.append(negative)
    for power in range(whole + decimals - 1, -1, -1):
        if decimals and power == decimals - 1:
            _add_byte(columns, keeps, n, b".")
        scale = 10**power
        columns.append((value // scale % 10 + ord("0")).astype(np.uint8))
        keeps.append(value >= scale if power > decimals else np.ones(n, dtype=bool))


def _add_byte(columns: list[np.ndarray], keeps: list[np.ndarray], n: int, byte: bytes) -> None:
    columns.append(np.full(n, byte[0], dtype=np.uint8))
    keeps.append(np.ones(n, dtype=bool))
