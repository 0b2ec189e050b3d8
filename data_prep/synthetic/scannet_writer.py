"""Furnished rooms as meshes in ScanNet v2's native files, with its objects, segments, label table and split lists.

Every surface becomes a grid of triangles; what no scanner position sees is missing, as in a captured mesh. A few
segments are left without annotation, and the axes are turned away from the walls, with the matrix that turns them back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.synthetic.depth import depth_map, patch_frames, visible
from data_prep.synthetic.furnish import build_room
from data_prep.synthetic.palette import room_palette
from data_prep.synthetic.plan import RoomPlan, plan_area
from data_prep.synthetic.room import Room
from data_prep.synthetic.scanner import scanner_positions
from data_prep.synthetic.surfaces import DISC, TRIANGLE, Surfaces, about_z, join
from data_prep.synthetic.texture import point_colors
from pointseg.atomic import replacing_folder
from pointseg.errors import InputError

WORDS: dict[str, tuple[str, int, int, str]] = {
    "ceiling": ("ceiling", 41, 22, "ceiling"),
    "floor": ("floor", 3, 2, "floor"),
    "wall": ("wall", 1, 1, "wall"),
    "beam": ("wood beam", 1310, 38, "otherstructure"),
    "column": ("column", 120, 38, "otherstructure"),
    "window": ("window", 16, 9, "window"),
    "door": ("door", 5, 8, "door"),
    "table": ("table", 4, 7, "table"),
    "chair": ("chair", 2, 5, "chair"),
    "sofa": ("couch", 6, 6, "sofa"),
    "bookcase": ("bookshelf", 18, 10, "bookshelf"),
    "board": ("whiteboard", 52, 30, "whiteboard"),
    "clutter": ("object", 1163, 40, "otherprop"),
}
"""For each class of the rooms what ScanNet's label table says: word, id, NYU40 id, NYU40 class."""

SEGMENT_SIZE = 0.4
UNANNOTATED_SHARE = 0.05
SURFACE_NOISE = 0.002


@dataclass(frozen=True)
class MeshRoom:
    """A room of N vertices and F triangles.

    Attributes:
        coord: (N, 3) float64 metres, room frame.
        color: (N, 3) uint8.
        faces: (F, 3) vertex numbers, counter-clockwise seen from the side that was scanned.
        item: (N,) which of the room's objects each vertex is on.
        names: Class of each of the room's objects.
    """

    coord: np.ndarray
    color: np.ndarray
    faces: np.ndarray
    item: np.ndarray
    names: tuple[str, ...]


def write_scannet(out: Path, *, scenes: int, seed: int, density: float) -> dict[str, int]:
    """Write ``out/scans/<scene>``, ``out/scans_test/<scene>``, the label table and the lists of the splits.

    Of three scenes or more, one in five but at least one is for validation, and as many are for testing; the latter
    have a mesh and nothing else. Scenes already there under the same name are replaced.

    Args:
        out: Folder that receives them.
        scenes: How many, at least 1.
        seed: At least 0; the same seed gives the same bytes.
        density: Vertices per square metre, 1 to 100,000.

    Returns:
        Vertices of each scene.

    Raises:
        InputError: A number is out of its range.
    """
    for name, value, least, most in (
        ("scenes", scenes, 1, 9999),
        ("seed", seed, 0, np.inf),
        ("density", density, 1, 1e5),
    ):
        if not least <= value <= most:
            raise InputError(f"--{name} is {value}, but must be {least} to {most:g}; give such a number")
    share = max(1, scenes // 5) if scenes >= 3 else 0
    splits = ["train"] * (scenes - 2 * share) + ["val"] * share + ["test"] * share
    names = [f"scene{index:04d}_00" for index in range(scenes)]
    counts = {}
    for name, split, plan in zip(names, splits, plan_area(1, scenes, seed), strict=True):
        rng = np.random.default_rng(np.random.SeedSequence([seed, plan.area, plan.index, 2]))
        mesh = make_mesh(plan, seed, density, rng)
        folder = out / ("scans_test" if split == "test" else "scans") / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as unfinished:
            _write_scene(unfinished / name, mesh, rng, annotated=split != "test")
        counts[name] = len(mesh.coord)
    for split in ("train", "val", "test"):
        lines = [f"{name}\n" for name, other in zip(names, splits, strict=True) if other == split]
        (out / f"scannetv2_{split}.txt").unlink(missing_ok=True)
        if lines:
            (out / f"scannetv2_{split}.txt").write_text("".join(lines), encoding="utf-8")
    rows = [f"{i}\t{word}\t{word}\t{nyu}\t{nyu_name}\n" for word, i, nyu, nyu_name in WORDS.values()]
    table = ["id\traw_category\tcategory\tnyu40id\tnyu40class\n", *rows]
    (out / "scannetv2-labels.combined.tsv").write_text("".join(table), encoding="utf-8")
    return counts


def make_mesh(plan: RoomPlan, seed: int, density: float, rng: np.random.Generator) -> MeshRoom:
    """Build one planned room and mesh what its scanner positions see of it.

    Args:
        plan: From ``plan_area``.
        seed: The data set's seed.
        density: Vertices per square metre.
        rng: Draws everything besides the building's style.
    """
    area_rng = np.random.default_rng(np.random.SeedSequence([seed, plan.area]))
    room = build_room(plan, rng, room_palette(area_rng, rng))
    surfaces = join([part for _, part in room.items])
    frames = patch_frames(surfaces)
    patch, st, faces = _grids(surfaces, 1 / np.sqrt(density))
    coord = surfaces.origin[patch] + st[:, :1] * surfaces.a[patch] + st[:, 1:] * surfaces.b[patch]
    kept = faces[_seen(room, rng, surfaces, coord, patch)[faces].all(axis=1)]
    rows, faces = np.unique(kept, return_inverse=True)
    patch, st, coord = patch[rows], st[rows], coord[rows]
    normal = frames.normal[patch]
    color = point_colors(rng, surfaces, patch, st, coord, normal)
    return MeshRoom(
        coord=coord + normal * rng.normal(0.0, SURFACE_NOISE, (len(coord), 1)),
        color=np.clip(color, 0, 255).astype(np.uint8),
        faces=faces.reshape(-1, 3),
        item=np.repeat(np.arange(len(room.items)), [len(part) for _, part in room.items])[patch],
        names=tuple(name for name, _ in room.items),
    )


def _grids(surfaces: Surfaces, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cover every patch: patch (N,), place on it (N, 2), faces (F, 3)."""
    patches, places, triangles = [], [], []
    start = 0
    for m in range(len(surfaces)):
        rows, columns = (max(int(np.ceil(np.linalg.norm(edge[m]) / step)), 1) + 1 for edge in (surfaces.a, surfaces.b))
        s, t = (
            axis.ravel() for axis in np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
        )
        corner = start + (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        lower = np.stack([corner, corner + columns, corner + columns + 1], axis=1)
        upper = np.stack([corner, corner + columns + 1, corner + 1], axis=1)
        if surfaces.shape[m] == TRIANGLE:
            # The far edge shrinks to the tip, and with it one triangle of each cell there.
            t = t * (1 - s)
            lower = lower[: len(lower) - (columns - 1)]
        elif surfaces.shape[m] == DISC:
            x, y = 2 * s - 1, 2 * t - 1
            s, t = 0.5 + 0.5 * x * np.sqrt(1 - y * y / 2), 0.5 + 0.5 * y * np.sqrt(1 - x * x / 2)
        patches.append(np.full(len(s), m))
        places.append(np.stack([s, t], axis=1))
        triangles += [lower, upper]
        start += len(s)
    return np.concatenate(patches), np.concatenate(places), np.concatenate(triangles)


def _seen(room: Room, rng: np.random.Generator, surfaces: Surfaces, coord: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """(N,) whether any scanner position sees the vertex."""
    frames = patch_frames(surfaces)
    views = [depth_map(surfaces, frames, position) for position in scanner_positions(room, rng)]
    return np.any([visible(view, surfaces, frames, coord, patch)[0] for view in views], axis=0)


def _write_scene(path: Path, mesh: MeshRoom, rng: np.random.Generator, *, annotated: bool) -> None:
    """Write the files whose names begin with ``path``."""
    turn = about_z(rng.uniform(0, 2 * np.pi))
    shift = np.array([*rng.uniform(-1, 1, 2), 0.0])
    coord = mesh.coord @ turn.T + shift
    _write_ply(path.with_name(f"{path.name}_vh_clean_2.ply"), coord, mesh.color, mesh.faces)
    if not annotated:
        return
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn.T, -turn.T @ shift
    values = " ".join(f"{value:.6f}" for value in matrix.ravel())
    path.with_name(f"{path.name}.txt").write_text(f"axisAlignment = {values}\nnumDepthFrames = 0\n", encoding="utf-8")
    cells = np.column_stack([mesh.item, np.floor(mesh.coord / SEGMENT_SIZE)]).astype(np.int64)
    _, first, number = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    number = number.ravel()
    labelled = rng.random(len(first)) >= UNANNOTATED_SHARE
    groups: list[dict] = []
    for item in np.unique(mesh.item[first[labelled]]):
        segments = first[labelled & (mesh.item[first] == item)].tolist()
        word = WORDS[mesh.names[item]][0]
        groups.append({"id": len(groups), "objectId": len(groups), "segments": segments, "label": word})
    segments_name = f"{path.name}_vh_clean_2.0.010000.segs.json"
    named = f"scannet.{path.name}"
    aggregation = {"sceneId": named, "appId": "Aggregator.v2", "segGroups": groups, "segmentsFile": segments_name}
    _write_json(path.with_name(f"{path.name}.aggregation.json"), aggregation)
    _write_json(path.with_name(segments_name), {"sceneId": path.name, "segIndices": first[number].tolist()})
    nyu40 = np.array([WORDS[name][2] for name in mesh.names])
    label = np.where(labelled[number], nyu40[mesh.item], 0)
    _write_ply(path.with_name(f"{path.name}_vh_clean_2.labels.ply"), coord, mesh.color, mesh.faces, label)


def _write_ply(
    path: Path, coord: np.ndarray, color: np.ndarray, faces: np.ndarray, label: np.ndarray | None = None
) -> None:
    columns = [(name, "float", "<f4", coord[:, axis]) for axis, name in enumerate("xyz")]
    columns += [(name, "uchar", "u1", color[:, channel]) for channel, name in enumerate(("red", "green", "blue"))]
    columns.append(("alpha", "uchar", "u1", np.full(len(coord), 255)))
    if label is not None:
        columns.append(("label", "ushort", "<u2", label))
    vertex = np.zeros(len(coord), dtype=[(name, dtype) for name, _, dtype, _ in columns])
    for name, _, _, values in columns:
        vertex[name] = values
    face = np.zeros(len(faces), dtype=[("count", "u1"), ("vertex", "<i4", 3)])
    face["count"], face["vertex"] = 3, faces
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(vertex)}",
        *(f"property {kind} {name}" for name, kind, _, _ in columns),
        f"element face {len(face)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode() + vertex.tobytes() + face.tobytes())


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
