"""ScanNet's benchmark files: ``<scene>.txt`` with one label id a line, in the order of the mesh's vertices.

Source: the benchmark's documentation, "Format for 3D Semantic Label Prediction" (ids of NYU40 for the 20 classes, of
the label table for the 200).
"""

from __future__ import annotations

import numpy as np

from pointseg.errors import InputError

SUFFIX = ".txt"
TEST_FILES = 100
"""Scenes of the hidden test set."""


def encode(ids: np.ndarray) -> bytes:
    """A file's content from benchmark ids (N,)."""
    return "".join(f"{value}\n" for value in ids.tolist()).encode()


def decode(content: bytes) -> np.ndarray:
    """Benchmark ids (N,) of a file's content.

    Raises:
        InputError: a line is not a whole number.
    """
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not line.strip().isdigit() or len(line.strip()) > 9:
            shown = line[:20].decode(errors="replace")
            raise InputError(f"line {number} is {shown!r}; every line must be one whole number, the id of a class")
    return np.array([int(line) for line in lines], dtype=np.int64)
