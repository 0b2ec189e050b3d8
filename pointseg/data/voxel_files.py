"""Arrays on disk written and read a stretch at a time, with plain reads and writes.

Mapped files would be shorter to use, but their pages count as the process's memory until the system drops them, so no
bound could be promised.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np


class ArrayWriter:
    """A .npy file that grows by rows; the same bytes as ``np.save`` of the whole array.

    Args:
        path: The file.
        dtype: Of the elements.
        columns: 1 = a flat array, else the second dimension.
    """

    def __init__(self, path: Path, dtype: type[np.generic], columns: int) -> None:
        self.rows = 0
        self._dtype = np.dtype(dtype)
        self._columns = columns
        self._file = path.open("wb")
        self._write_header()

    def append(self, array: np.ndarray) -> None:
        """Add rows, which must have the file's dtype and columns."""
        write_array(self._file, array)
        self.rows += len(array)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                # NumPy pads the header, so a larger number of rows takes no more room.
                self._file.seek(0)
                self._write_header()

    def _write_header(self) -> None:
        shape = (self.rows,) if self._columns == 1 else (self.rows, self._columns)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def write_array(file: IO[bytes], array: np.ndarray) -> None:
    """Append an array's bytes; a full disk raises OSError with its reason."""
    file.write(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


def read_rows(path: Path, dtype: np.dtype, columns: int, piece: int, skip: int = 0) -> Iterator[np.ndarray]:
    """Go through a file of rows.

    Args:
        path: The file.
        dtype: Of its elements.
        columns: 1 = flat pieces, else pieces (n, columns).
        piece: Rows of a piece; the last one may have fewer.
        skip: Bytes before the first row.

    Yields:
        The next rows.
    """
    with path.open("rb") as file:
        file.seek(skip)
        while data := file.read(piece * columns * dtype.itemsize):
            rows = np.frombuffer(data, dtype)
            yield rows if columns == 1 else rows.reshape(-1, columns)


def read_array(path: Path, piece: int) -> Iterator[np.ndarray]:
    """Go through a .npy file, one or two dimensions, ``piece`` rows at a time."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        skip = file.tell()
    yield from read_rows(path, dtype, 1 if len(shape) == 1 else shape[1], piece, skip)
