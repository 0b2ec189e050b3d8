"""Saving an array so that a full disk is an error in every case."""

from __future__ import annotations

from pathlib import Path

import numpy as np


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
