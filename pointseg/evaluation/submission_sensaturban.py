"""SensatUrban's benchmark files: ``<tile>.label`` with one byte a point, its class, in the order of the tile.

Source: what the data set's own training code writes.
"""

from __future__ import annotations

import numpy as np

from pointseg.errors import InputError

SUFFIX = ".label"
TEST_FILES = 6
"""Tiles of the hidden test set."""


def encode(ids: np.ndarray) -> bytes:
    """A file's content from benchmark ids (N,).

    Raises:
        InputError: an id that does not fit into a byte.
    """
    if len(ids) and not 0 <= ids.min() <= ids.max() <= 255:
        raise InputError(f"the class file has the source id {ids.max()}; SensatUrban's files hold ids of one byte")
    return ids.astype(np.uint8).tobytes()


def decode(content: bytes) -> np.ndarray:
    """Benchmark ids (N,) of a file's content."""
    return np.frombuffer(content, np.uint8).astype(np.int64)
