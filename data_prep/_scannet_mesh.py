"""ScanNet's meshes: vertices with colours, vertex labels, and normals from the faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

from pointseg.data.formats.ply_counts import check_ply_counts
from pointseg.errors import InputError

_FACES = {"face": {"vertex_indices": 3}}
_COORD, _COLOR = ("x", "y", "z"), ("red", "green", "blue")


@dataclass(frozen=True)
class Mesh:
    """N vertices and F triangles.

    Attributes:
        coord: (N, 3) float64 metres.
        color: (N, 3) uint8.
        faces: (F, 3) vertex numbers; counter-clockwise seen from outside.
    """

    coord: np.ndarray
    color: np.ndarray
    faces: np.ndarray


def read_mesh(path: Path) -> Mesh:
    """Read ``<scene>_vh_clean_2.ply``.

    Raises:
        InputError: Not a whole PLY file of coloured triangles, or a coordinate that is not finite.
    """
    ply = _open(path)
    vertex = _element(path, ply, "vertex", (*_COORD, *_COLOR))
    face = _element(path, ply, "face", ("vertex_indices",))
    coord = np.stack([vertex[name].astype(np.float64) for name in _COORD], axis=1)
    color = np.stack([vertex[name] for name in _COLOR], axis=1)
    faces = _triangles(path, face["vertex_indices"])
    if len(coord) == 0:
        raise InputError(f"{path} holds no vertices; fetch it again")
    if color.dtype != np.uint8:
        raise InputError(f"{path} has colours of type {color.dtype}; ScanNet's are one byte each: fetch it again")
    bad = np.flatnonzero(~np.isfinite(coord).all(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: vertex {bad[0]} is at {coord[bad[0]].tolist()}; coordinates must be finite: fetch the file again"
        )
    if len(faces) and not (faces.min() >= 0 and faces.max() < len(coord)):
        raise InputError(
            f"{path} has faces of vertices {faces.min()} to {faces.max()}, but its vertices are 0 to {len(coord) - 1}; "
            "fetch it again"
        )
    return Mesh(coord, color, faces)


def read_vertex_labels(path: Path) -> np.ndarray:
    """Read the label of every vertex, (N,) int64, from ``<scene>_vh_clean_2.labels.ply``.

    Raises:
        InputError: Not a whole PLY file with a whole-number ``label`` on its vertices.
    """
    label = _element(path, _open(path), "vertex", ("label",))["label"]
    if label.dtype.kind not in "iu":
        raise InputError(f"{path} has labels of type {label.dtype}; they must be whole numbers: fetch it again")
    return np.asarray(label, dtype=np.int64)


def vertex_normals(coord: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The mean of the normals of a vertex's faces, weighted with their areas.

    Args:
        coord: (N, 3) float64 metres.
        faces: (F, 3) vertex numbers.

    Returns:
        (N, 3) float32 of length 1, or 0 where a vertex is on no face that has an area.
    """
    corner = coord[faces]
    # The cross product of two edges is twice the face's area long, which is the weight.
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    vertex = faces.ravel()
    total = np.stack(
        [np.bincount(vertex, np.repeat(cross[:, axis], 3), minlength=len(coord)) for axis in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros(total.shape), where=length > 0).astype(np.float32)


def _open(path: Path) -> PlyData:
    check_ply_counts(path)
    try:
        # With lengths known, the faces are mapped into memory like the vertices instead of being parsed one by one.
        return PlyData.read(str(path), mmap="r", known_list_len=_FACES)
    except (PlyParseError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is damaged or not a mesh of triangles ({' '.join(str(error).split())}); fetch it again"
        ) from error


def _triangles(path: Path, rows: np.ndarray) -> np.ndarray:
    if rows.dtype == object:  # an ASCII file's, one array a face
        if any(len(row) != 3 for row in rows):
            raise InputError(f"{path} has faces that are no triangles; it is not ScanNet's mesh: fetch it again")
        rows = np.array([list(row) for row in rows], dtype=np.int64)
    return np.array(rows).reshape(-1, 3)


def _element(path: Path, ply: PlyData, name: str, properties: tuple[str, ...]) -> np.ndarray:
    present = {element.name: element.data for element in ply.elements}
    missing = set(properties) - set(present[name].dtype.names if name in present else ())
    if missing:
        raise InputError(
            f"{path} has no {name} {', '.join(sorted(missing))}; it is not ScanNet's file of that name: fetch it again"
        )
    return present[name]
