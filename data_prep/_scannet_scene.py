"""One ScanNet scene: vertices, colours and normals of its mesh, classes and objects of its annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep._scannet_mesh import read_mesh, read_vertex_labels, vertex_normals
from data_prep._scannet_objects import (
    AGGREGATION,
    INFO,
    LABEL_TABLE,
    LABELS,
    MESH,
    SEGMENTS,
    Objects,
    read_axis_alignment,
    read_label_table,
    read_objects,
)
from data_prep._scene_job import RawScene
from pointseg.data.classes import IGNORED
from pointseg.data.scene_meta import AXIS_ALIGNMENT
from pointseg.errors import InputError

NYU40 = 40
"""The ids of ``labels.ply`` are 0 (not annotated) to 40; a few published files hold 50 and 149 besides."""

LEAST_AGREEMENT = 0.9
"""Files of one release give the same classes; those of the first and the second differ on a third of the vertices."""


@dataclass(frozen=True)
class Reading:
    """How a scene is read.

    Attributes:
        labels: Source id -> class; every other id is ignored.
        column: Of the label table, which holds the source ids: ``nyu40id`` or ``id``.
        truth: Where classes come from: ``ply`` (if the scene has that file), ``aggregation`` or ``none``.
        axis_align: Turn the axes to the walls.
    """

    labels: Mapping[int, int]
    column: str
    truth: str
    axis_align: bool


def read_scene(sources: tuple[Path, ...], reading: Reading) -> RawScene:
    """Read one scene.

    Args:
        sources: The mesh first; then any of the label mesh, both annotation files with the label table, and the info
            file.
        reading: How.

    Returns:
        A point for every vertex of the mesh, in the mesh's order.

    Raises:
        InputError: A file is damaged or missing, or two of them have different numbers of vertices.
    """
    scene = sources[0].name.removesuffix(MESH)
    files = {path.name.removeprefix(scene): path for path in sources}
    mesh = read_mesh(files[MESH])
    coord, facts = mesh.coord, {}
    repairs: list[dict[str, Any]] = []
    if reading.axis_align:
        if INFO not in files:
            raise InputError(f"there is no {scene}{INFO} beside {files[MESH]}, which --axis-align needs; fetch it")
        matrix = read_axis_alignment(files[INFO])
        coord, facts = coord @ matrix[:3, :3].T + matrix[:3, 3], {AXIS_ALIGNMENT: matrix.tolist()}
    normal = vertex_normals(coord, mesh.faces)
    bare = int(np.count_nonzero(~normal.any(axis=1)))
    if bare:
        repairs.append(_repair(files[MESH], f"{bare} vertices are on no face with an area; their normals are zero"))
    segment, objects, more = (None, None, []) if reading.truth == "none" else _truth(files, reading, len(coord))
    return RawScene(
        coord=coord,
        color=mesh.color,
        normal=normal,
        segment=segment,
        instance=objects.instance() if objects else None,
        repairs=(*repairs, *more),
        facts=facts,
    )


def _truth(
    files: Mapping[str, Path], reading: Reading, vertices: int
) -> tuple[np.ndarray, Objects | None, list[dict[str, Any]]]:
    """Classes, objects where they are annotated, and what was mended."""
    objects, repairs = _objects(files, vertices)
    by_name: Mapping[str, int] = {}
    if LABEL_TABLE in files:
        by_name = read_label_table(files[LABEL_TABLE], reading.column)
    classes = {name: reading.labels.get(number, IGNORED) for name, number in by_name.items()}
    if reading.truth == "ply" and LABELS in files:
        segment, more = _labels_of_mesh(files, reading.labels, vertices)
        repairs += more
        if objects and classes:
            repairs += _disagreement(files, segment, objects.segment(classes))
        return segment, objects, repairs
    if objects is None:
        raise InputError(
            f"{files[MESH].parent} holds neither labels.ply nor both of aggregation.json and segs.json, so the scene "
            "has no classes; fetch them, or prepare it without classes by '--split test'"
        )
    for name in sorted(set(objects.names) - set(classes)):
        numbers = [k for k, other in enumerate(objects.names) if other == name]
        points = int(np.isin(objects.group, numbers).sum())
        what = f"{name!r} of {len(numbers)} objects is not in the label table: {points} vertices ignored"
        repairs.append(_repair(files[AGGREGATION], what))
    return objects.segment(classes), objects, repairs


def _labels_of_mesh(
    files: Mapping[str, Path], labels: Mapping[int, int], vertices: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    ids = read_vertex_labels(files[LABELS])
    _same_count(files[MESH], vertices, files[LABELS], len(ids))
    present, vertex, counts = np.unique(ids, return_inverse=True, return_counts=True)
    repairs = [
        _repair(files[LABELS], f"label {i}, which is no NYU40 class: {n} vertices ignored")
        for i, n in zip(present.tolist(), counts.tolist(), strict=True)
        if not 0 <= i <= NYU40 and i not in labels
    ]
    return np.array([labels.get(i, IGNORED) for i in present.tolist()])[vertex], repairs


def _objects(files: Mapping[str, Path], vertices: int) -> tuple[Objects | None, list[dict[str, Any]]]:
    if AGGREGATION not in files or SEGMENTS not in files:
        return None, []
    objects = read_objects(files[AGGREGATION], files[SEGMENTS])
    _same_count(files[MESH], vertices, files[SEGMENTS], len(objects.group))
    whats = []
    if objects.doubtful:
        whats.append(f"{objects.doubtful} segments belong to several objects; the last one got each")
    if objects.unknown:
        whats.append(f"{objects.unknown} segments of objects are not in {files[SEGMENTS].name}; left out")
    return objects, [_repair(files[AGGREGATION], what) for what in whats]


def _disagreement(files: Mapping[str, Path], segment: np.ndarray, other: np.ndarray) -> list[dict[str, Any]]:
    agreement = float(np.mean(segment == other))
    if agreement >= LEAST_AGREEMENT:
        return []
    what = (
        f"its objects give {agreement:.0%} of the vertices the class they have in {files[LABELS].name}; the two "
        "seem to be of different releases: do not trust the instances"
    )
    return [_repair(files[AGGREGATION], what)]


def _same_count(mesh: Path, vertices: int, other: Path, count: int) -> None:
    if vertices != count:
        raise InputError(
            f"{mesh} has {vertices} vertices and {other} has {count}; they belong to different versions of the scene: "
            "fetch both again"
        )


def _repair(path: Path, what: str) -> dict[str, Any]:
    return {"file": f"{path.parent.name}/{path.name}", "what": what}
