"""Saving an array so that a full disk is an error in every case, and mapping one that anyone may have written."""

from __future__ import annotations

import io
import math
import mmap
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file, byte for byte as ``numpy.save`` writes it.

    ``numpy.save`` hands the data to a C stream: on a full disk the last few kilobytes can be lost without an error, and
    the errors there are carry no ``errno``. Python's own writing reports both.

    Raises:
        OSError: It cannot be written; ``errno`` and ``filename`` say why and which.
    """
    array = np.ascontiguousarray(array)
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def map_npy(path: Path) -> np.ndarray:
    """Map a ``.npy`` file into memory, read-only; an array without elements is an ordinary one.

    Unlike ``numpy.load``, it makes room for nothing before the file has shown that it holds it, and fails in one way.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no array, is cut short, or holds Python objects, which are pickles.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = read_npy_header(file)
        start = file.tell()
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"it holds {dtype}, which is no plain number")
    needed, held = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
    if needed > held:
        raise ValueError(f"{needed:,} bytes of numbers are promised, the file holds {held:,}")
    if needed == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def mapped_slices(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive slices of a mapped array with the number of their first row.

    The pages of a slice are given back before the next one, so a slice must be copied by then; otherwise the process
    would come to hold the whole file. An ordinary array is sliced all the same.

    Args:
        rows: (N, ...).
        size: rows of a slice.
    """
    base: object = rows
    while isinstance(base, np.ndarray):
        base = base.base
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and type of the array whose numbers follow in ``file``.

    Raises:
        ValueError: It is no array.
    """
    begin = file.read(8)
    if begin[:6] != _MAGIC or len(begin) < 8 or begin[6] not in (1, 2, 3):
        raise ValueError("it does not begin as a NumPy array does")
    size = file.read(2 if begin[6] == 1 else 4)
    length = int.from_bytes(size, "little")
    text = file.read(min(length, _LONGEST_HEADER))
    if len(text) < length:
        raise ValueError(f"its header of {length:,} bytes is too long or cut short")
    try:
        if begin[6] == 3:
            # NumPy offers no reader for UTF-8; escaped, the names are what they were.
            text = text.decode().encode("ascii", "backslashreplace")
        with warnings.catch_warnings(action="ignore"):
            version_2 = io.BytesIO(struct.pack("<I", len(text)) + text)
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(version_2)
    except Exception as error:  # the header is a piece of Python, which can make its reader fail in any way
        raise ValueError(f"its header is damaged ({str(error)[:200] or type(error).__name__})") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype
