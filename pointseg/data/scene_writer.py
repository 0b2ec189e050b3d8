"""Writing prepared scenes: beside their final place, then renamed, so a half-written scene never looks finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import remove_unfinished, replacing_file, replacing_folder
from pointseg.data.classes import Classes, load_classes, save_classes
from pointseg.data.npy import save_array
from pointseg.data.scene_arrays import check_names, checked_array, class_counts, write_meta
from pointseg.data.scene_reader import AVERAGED, GRID_ARRAYS, PreparedScene, grid_name, open_scene
from pointseg.data.voxel import VoxelGrid, check_voxel_size, voxelize
from pointseg.errors import InputError


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
    if copy.is_file() and not (there := load_classes(copy)).same_as(classes):
        if any(root.glob("[!.]*/[!.]*/meta.json")) and not there.extended_by(classes):
            raise InputError(
                f"{root} was prepared with other classes ({there.dataset}: {', '.join(there.names)}; see {copy}); use "
                "the same class file or choose another folder"
            )
    elif copy.is_file():
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
    color: np.ndarray | None = None,
    intensity: np.ndarray | None = None,
    segment: np.ndarray | None = None,
    instance: np.ndarray | None = None,
    normal: np.ndarray | None = None,
    dataset: str,
    sources: Sequence[Mapping[str, Any]],
    voxel_sizes: Sequence[float],
    repairs: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
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
        intensity: (N,) strength of the laser's return, in the source's unit.
        segment: (N,) class, -1 = ignored; None = no ground truth.
        instance: (N,) object number, -1 = on no object.
        normal: (N, 3) unit vectors.
        dataset: Where the scene is from, such as ``s3dis``.
        sources: One entry a source file; kept in ``meta.json`` as they are.
        voxel_sizes: Grids to store, metres.
        repairs: What was mended or left out while reading the sources; kept as they are.
        settings: What else decided the result; kept as it is.
        facts: What else is known of the source, such as its reference system; kept as it is.

    Returns:
        The scene's folder.

    Raises:
        InputError: Arrays that do not fit together, coordinates that are not finite, a bad size or name.
    """
    check_names(split, name)
    coord = np.asarray(coord)
    if coord.ndim != 2 or coord.shape[1] != 3 or len(coord) == 0:
        raise InputError(f"scene {split}/{name} has coordinates of shape {coord.shape}; they must be (N, 3), N >= 1")
    if not np.isfinite(coord).all():
        bad = int(np.flatnonzero(~np.isfinite(coord).all(axis=1))[0])
        raise InputError(f"scene {split}/{name}: point {bad} is at {coord[bad].tolist()}; coordinates must be finite")
    offset = np.floor(coord.min(axis=0).astype(np.float64)) + 0.0  # no negative zeros
    given = {
        "coord": coord.astype(np.float64) - offset,
        "color": color,
        "segment": segment,
        "instance": instance,
        "normal": normal,
        "intensity": intensity,
    }
    arrays = {
        key: checked_array(key, value, len(coord), f"{split}/{name}")
        for key, value in given.items()
        if value is not None
    }
    grids = {size: _grid(arrays, size) for size in sorted(set(voxel_sizes))}
    target = Path(root) / split / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(target) as folder:
        for key, array in arrays.items():
            save_array(folder / f"{key}.npy", array)
        for size, grid in grids.items():
            _write_grid(folder / grid_name(size), grid)
        write_meta(
            folder,
            dataset=dataset,
            split=split,
            scene=name,
            num_points=len(coord),
            counts=class_counts(arrays.get("segment")),
            offset=offset,
            arrays=list(arrays),
            num_voxels={size: len(grid.coord) for size, grid in grids.items()},
            settings=settings,
            facts=facts,
            repairs=repairs,
            sources=sources,
            sha256=hash_arrays(folder),
        )
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
    remove_unfinished(scene.path)
    given = {"coord": scene.coord, "color": scene.color, "segment": scene.segment, "intensity": scene.intensity}
    arrays = {key: array for key, array in given.items() if array is not None}
    hashes = dict(scene.meta.get("sha256", {}))
    entries = dict(scene.meta["grids"])
    for size in missing:
        grid = _grid(arrays, size)
        with replacing_folder(scene.path / grid_name(size)) as folder:
            _write_grid(folder, grid)
            hashes |= {f"{grid_name(size)}/{name}": value for name, value in hash_arrays(folder).items()}
        entries[f"{size:g}"] = {"num_voxels": len(grid.coord)}
    meta = scene.meta | {"grids": dict(sorted(entries.items(), key=lambda entry: float(entry[0]))), "sha256": hashes}
    with replacing_file(scene.path / "meta.json") as unfinished:
        unfinished.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return open_scene(scene.path)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_arrays(folder: Path) -> dict[str, str]:
    """The SHA-256 of every array file in and below a folder, by its name relative to the folder, sorted."""
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in sorted(folder.rglob("*.npy"))}


def _grid(arrays: Mapping[str, np.ndarray], voxel_size: float) -> VoxelGrid:
    check_voxel_size(voxel_size)
    averaged: dict[str, Any] = {key: arrays[key] for key in AVERAGED if key in arrays}
    return voxelize(arrays["coord"], voxel_size, **averaged)


def _write_grid(folder: Path, grid: VoxelGrid) -> None:
    folder.mkdir(exist_ok=True)
    for key in GRID_ARRAYS:
        array = getattr(grid, key)
        if array is not None:
            save_array(folder / f"{key}.npy", array)
