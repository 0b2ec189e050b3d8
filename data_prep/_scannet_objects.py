"""ScanNet's annotation: which segments make up which object, what the object is called, and the table of names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import InputError
from pointseg.untrusted import parse_json

MESH = "_vh_clean_2.ply"
LABELS = "_vh_clean_2.labels.ply"
SEGMENTS = "_vh_clean_2.0.010000.segs.json"
AGGREGATION = ".aggregation.json"
INFO = ".txt"
LABEL_TABLE = "scannetv2-labels.combined.tsv"

_MOST_DIGITS = 18


@dataclass(frozen=True)
class Objects:
    """The G annotated objects of a scene with N vertices.

    Attributes:
        group: (N,) which object each vertex is on, 0..G-1; -1 = on none.
        names: G annotators' words, such as ``office chair``.
        numbers: (G,) int64, the objects' numbers (``objectId``).
        doubtful: Segments that several objects claim; the last one got them.
        unknown: Segments the objects name and no vertex has.
    """

    group: np.ndarray
    names: tuple[str, ...]
    numbers: np.ndarray
    doubtful: int
    unknown: int

    def instance(self) -> np.ndarray:
        """(N,) the number of each vertex's object, -1 on none."""
        return np.append(self.numbers, -1)[self.group]

    def segment(self, classes: Mapping[str, int]) -> np.ndarray:
        """(N,) the class of each vertex by its object's name; -1 on none, and for names that are not in ``classes``."""
        return np.array([*(classes.get(name, -1) for name in self.names), -1], dtype=np.int64)[self.group]


def read_objects(aggregation: Path, segments: Path) -> Objects:
    """Read the objects of a scene.

    A segment that several objects claim belongs to the last one, as in the benchmark's own conversion.

    Args:
        aggregation: ``<scene>.aggregation.json``: objects, each a list of segments.
        segments: ``<scene>_vh_clean_2.0.010000.segs.json``: every vertex's segment.

    Raises:
        InputError: One of them is damaged or lacks what is read here.
    """
    segment_of_vertex = _whole_numbers(segments, _json(segments), "segIndices")
    if len(segment_of_vertex) == 0:
        raise InputError(f"{segments} holds no vertices; fetch it again")
    groups = _json(aggregation).get("segGroups")
    if not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups):
        raise InputError(f"{aggregation} has no list 'segGroups'; fetch it again")
    present, vertex = np.unique(segment_of_vertex, return_inverse=True)
    owner = np.full(len(present), -1, dtype=np.int64)
    doubtful: set[int] = set()
    unknown: set[int] = set()
    for k, group in enumerate(groups):
        number = group.get("objectId")
        if not isinstance(group.get("label"), str) or type(number) is not int or abs(number) >= 2**31:
            raise InputError(f"{aggregation}: object {k} lacks its 'label' or 'objectId'; fetch the file again")
        listed = np.unique(_whole_numbers(aggregation, group, "segments"))
        place = np.minimum(np.searchsorted(present, listed), len(present) - 1)
        there = present[place] == listed
        unknown.update(listed[~there].tolist())
        taken = owner[place[there]] >= 0
        doubtful.update(listed[there][taken].tolist())
        owner[place[there]] = k
    return Objects(
        group=owner[vertex],
        names=tuple(group["label"] for group in groups),
        numbers=np.array([group["objectId"] for group in groups], dtype=np.int64),
        doubtful=len(doubtful),
        unknown=len(unknown),
    )


def read_label_table(path: Path, column: str) -> dict[str, int]:
    """Read one column of the label table.

    Args:
        path: ``scannetv2-labels.combined.tsv``.
        column: ``nyu40id`` (the 20 classes are among those) or ``id`` (the 200 classes are).

    Returns:
        The number for each annotators' word (``raw_category``).

    Raises:
        InputError: A column is missing, a number is none, or a word has two numbers.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file ({error}); fetch it again") from error
    table: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        name, number = row.get("raw_category"), row.get(column)
        if not name or not number or not number.isdecimal() or len(number) > _MOST_DIGITS:
            raise InputError(
                f"{path}, line {line}: raw_category is {name!r} and {column} is {number!r}; a word and a whole number "
                f"are needed: fetch {LABEL_TABLE} of ScanNet v2 again"
            )
        if table.setdefault(name, int(number)) != int(number):
            raise InputError(f"{path}, line {line}: {name!r} has {column} {number} here and {table[name]} above")
    if not table:
        raise InputError(f"{path} is empty; fetch it again")
    return table


def read_axis_alignment(path: Path) -> np.ndarray:
    """Read the (4, 4) matrix that turns a scene's axes to its walls, ``axisAlignment`` in ``<scene>.txt``.

    Raises:
        InputError: There is none (test scenes have none), or it is not a rotation and a shift.
    """
    lines = [line.partition("=") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    values = [value.split() for key, _, value in lines if key.strip() == "axisAlignment"]
    if not values:
        raise InputError(
            f"{path} holds no 'axisAlignment', which --axis-align needs; leave that flag out (the test scenes never "
            "have the matrix)"
        )
    try:
        matrix = np.array(values[0], dtype=np.float64).reshape(4, 4)
    except ValueError as error:
        raise InputError(f"{path}: axisAlignment is not 16 numbers but {' '.join(values[0])!r}") from error
    turn = matrix[:3, :3]
    # Written with six decimals.
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=1e-4) and np.allclose(matrix[3], [0, 0, 0, 1])
    if not rigid or not np.isfinite(matrix).all():
        raise InputError(f"{path}: axisAlignment {matrix.ravel().tolist()} is not a rotation and a shift")
    return matrix


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__} where named values belong; fetch it again")
    return content


def _whole_numbers(path: Path, content: Mapping[str, Any], key: str) -> np.ndarray:
    values = content.get(key)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise InputError(f"{path} has no list of whole numbers {key!r}; fetch it again")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise InputError(f"{path}: {key!r} holds a number beyond 64 bits; fetch it again") from error
