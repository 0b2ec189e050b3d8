"""Writing prepared scenes: beside their final place, then renamed, so a half-written scene never looks finished."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import remove_unfinished, replacing_file, replacing_folder
from pointseg.data.classes import Classes, load_classes, save_classes
from pointseg.data.scene_reader import ARRAYS, FORMAT_VERSION, LABELS_FOLDER, PreparedScene, grid_name, open_scene
from pointseg.data.voxel import VoxelGrid, check_voxel_size, voxelize
from pointseg.errors import InputError

_PLAIN_NAME = re.compile(r"[^./\\\s][^/\\]*")


def prepare_root(root: str | Path, classes: Classes) -> Path:
    """Make a root for prepared scenes, or check that an existing one uses these classes.

    Args:
        root: The folder; ``<root>/classes.yaml`` gets a copy of the classes.
        classes: The classes of every scene in it.

    Returns:
        The root.

    Raises:
        InputError: The root was prepared with other classes, or cannot be made.
    """
    root = Path(root)
    copy = root / "classes.yaml"
    if copy.is_file():
        there = load_classes(copy)
        if there != classes or not np.array_equal(there.colors, classes.colors):
            raise InputError(
                f"{root} was prepared with other classes ({there.dataset}: {', '.join(there.names)}; see {copy}); use "
                "the same class file or choose another folder"
            )
        return root
    try:
        root.mkdir(parents=True, exist_ok=True)
        save_classes(classes, copy)
    except OSError as error:
        raise InputError(f"cannot make the folder {root}: {error.strerror}") from error
    return root


def write_scene(
    root: str | Path,
    split: str,
    name: str,
    *,
    coord: np.ndarray,
    color: np.ndarray,
    segment: np.ndarray | None,
    instance: np.ndarray | None = None,
    normal: np.ndarray | None = None,
    dataset: str,
    sources: Sequence[Mapping[str, Any]],
    repairs: Sequence[Mapping[str, Any]],
    voxel_sizes: Sequence[float],
) -> Path:
    """Write ``<root>/<split>/<name>``; a scene of that name is replaced in one step.

    The whole-metre offset floor(min(coord)) is subtracted in float64 before the coordinates become float32. The grids
    are those of the stored float32 coordinates.

    Args:
        root: Folder of prepared scenes.
        split: Folder below it.
        name: Of the scene.
        coord: (N, 3) metres, float32 or float64, N >= 1.
        color: (N, 3) uint8.
        segment: (N,) class, -1 = ignored; None = no ground truth.
        instance: (N,) object number.
        normal: (N, 3) unit vectors.
        dataset: Where the scene is from, such as ``s3dis``.
        sources: One entry a source file; kept in ``meta.json`` as they are.
        repairs: What was mended or left out while reading them; kept as they are.
        voxel_sizes: Grids to store, metres.

    Returns:
        The scene's folder.

    Raises:
        InputError: Arrays that do not fit together, coordinates that are not finite, a bad size or name.
    """
    for part in (split, name):
        if not _PLAIN_NAME.fullmatch(part) or part == LABELS_FOLDER:
            raise InputError(f"{part!r} cannot name a split or scene; use a plain folder name")
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3 or len(coord) == 0:
        raise InputError(f"scene {split}/{name} has coordinates of shape {coord.shape}; they must be (N, 3), N >= 1")
    if not np.isfinite(coord).all():
        bad = int(np.flatnonzero(~np.isfinite(coord).all(axis=1))[0])
        raise InputError(f"scene {split}/{name}: point {bad} is at {coord[bad].tolist()}; coordinates must be finite")
    offset = np.floor(coord.min(axis=0).astype(np.float64))
    given = {
        "coord": coord.astype(np.float64) - offset,
        "color": color,
        "segment": segment,
        "instance": instance,
        "normal": normal,
    }
    arrays = {
        key: _checked(key, value, len(coord), f"{split}/{name}") for key, value in given.items() if value is not None
    }
    counts = _counts(arrays.get("segment"))
    grids = {size: _grid(arrays, size) for size in sorted(set(voxel_sizes))}
    target = Path(root) / split / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(target) as folder:
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array, allow_pickle=False)
        for size, grid in grids.items():
            _write_grid(folder / grid_name(size), grid)
        meta = {
            "format_version": FORMAT_VERSION,
            "dataset": dataset,
            "scene": name,
            "split": split,
            "num_points": len(coord),
            "counts": counts,
            "offset": offset.tolist(),
            "arrays": list(arrays),
            "grids": {f"{size:g}": {"num_voxels": len(grid.coord)} for size, grid in grids.items()},
            "repairs": [dict(repair) for repair in repairs],
            "sources": [dict(source) for source in sources],
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return target


def add_grids(scene: PreparedScene, voxel_sizes: Sequence[float]) -> PreparedScene:
    """Store further voxel grids beside those a scene has.

    Args:
        scene: The scene.
        voxel_sizes: Metres; sizes it has already are left alone.

    Returns:
        The scene, opened anew.
    """
    known = {grid_name(size) for size in scene.voxel_sizes}
    missing = sorted({size for size in voxel_sizes if grid_name(size) not in known})
    if not missing:
        return scene
    remove_unfinished(scene.path, "grid_*")
    arrays = {"coord": scene.coord, "color": scene.color}
    if (segment := scene.segment) is not None:
        arrays["segment"] = segment
    entries = dict(scene.meta["grids"])
    for size in missing:
        grid = _grid(arrays, size)
        with replacing_folder(scene.path / grid_name(size)) as folder:
            _write_grid(folder, grid)
        entries[f"{size:g}"] = {"num_voxels": len(grid.coord)}
    meta = scene.meta | {"grids": dict(sorted(entries.items(), key=lambda entry: float(entry[0])))}
    with replacing_file(scene.path / "meta.json") as unfinished:
        unfinished.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return open_scene(scene.path)


def _checked(key: str, value: np.ndarray, points: int, where: str) -> np.ndarray:
    dtype, columns = ARRAYS[key]
    array = np.asarray(value)
    expected = (points,) if columns == 1 else (points, columns)
    if array.shape != expected:
        raise InputError(f"scene {where}: {key} has shape {array.shape}, expected {expected}")
    if np.issubdtype(dtype, np.floating):
        return np.ascontiguousarray(array, dtype=dtype)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    low = -1 if key == "segment" else limits.min
    if array.dtype.kind not in "iu" or array.min() < low or array.max() > limits.max:
        raise InputError(
            f"scene {where}: {key} is {array.dtype} from {array.min()} to {array.max()}; it must be whole numbers in "
            f"{low}..{limits.max}"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def _counts(segment: np.ndarray | None) -> dict[str, int]:
    """Points of each class id that occurs; ``"-1"`` counts the ignored ones."""
    if segment is None:
        return {}
    ids, counts = np.unique(segment, return_counts=True)
    return {str(i): int(n) for i, n in zip(ids, counts, strict=True)}


def _grid(arrays: Mapping[str, np.ndarray], voxel_size: float) -> VoxelGrid:
    check_voxel_size(voxel_size)
    return voxelize(arrays["coord"], voxel_size, color=arrays["color"], segment=arrays.get("segment"))


def _write_grid(folder: Path, grid: VoxelGrid) -> None:
    folder.mkdir(exist_ok=True)
    for key in ("coord", "point", "inverse", "color", "segment"):
        array = getattr(grid, key)
        if array is not None:
            np.save(folder / f"{key}.npy", array, allow_pickle=False)
