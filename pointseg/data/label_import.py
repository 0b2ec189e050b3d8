"""Importing labels that exist already: lists of annotated points, and scenes of which only some points are labelled.

A person's clicks are imported by ``label_clicks.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.classes import load_classes
from pointseg.data.label_store import SparseLabels, coord_hash, scene_key
from pointseg.data.label_writer import SceneLabels, checked_truth, per_class, store_labels, stored_before
from pointseg.data.scene_reader import PreparedScene, list_scenes
from pointseg.data.scene_writer import hash_file
from pointseg.errors import InputError

SEGMENT_NAME = "segment"
"""What labels taken over from the scenes themselves are called if no name is given."""


def import_lists(
    root: str | Path,
    points: Mapping[str, np.ndarray],
    *,
    source: Path,
    splits: Sequence[str],
    voxel_size: float | None = None,
    name: str | None = None,
) -> SparseLabels:
    """Store the points an official list names, with the classes the ground truth gives them.

    Points whose ground truth is -1 are left out and counted as ``dropped`` in the scene's entry of ``spec.json``,
    points listed twice as ``repeated``. Scenes of the list that are not to be annotated are counted as
    ``other_scenes``.

    Args:
        root: Folder of prepared scenes.
        points: Scene, as ``<scene>`` or ``<split>/<scene>``, -> raw point indices.
        source: The file or folder they were read from; its hash is stored.
        splits: What to annotate; every scene there needs an entry.
        voxel_size: Of the stored grid on which the share of voxels is stated, metres; None = the finest that all have.
        name: Of the labels; None = that of the file.

    Raises:
        InputError: A scene without an entry or ground truth, indices it does not have, no labelled point left in a
            scene, or labels of that name that were imported from something else, or are damaged.
    """
    root, name = Path(root), source.stem if name is None else name
    scenes = list_scenes(root, splits)
    settings = import_settings(
        {"kind": "list", "file": source.name, "sha256": hash_source(source)}, scenes, splits, voxel_size
    )
    before = stored_before(root, name, settings, scenes)
    if before is not None:
        return before
    classes = load_classes(root / "classes.yaml")
    entries = _entries(points, scenes, source)

    def labelled(scene: PreparedScene) -> SceneLabels:
        listed = _checked_indices(entries[scene_key(scene)], scene, source)
        segment = checked_truth(scene, classes, "take classes from")
        index = np.unique(listed)
        label = np.asarray(segment[index])
        known = label >= 0
        if not known.any():
            raise InputError(
                f"all {len(index)} points that {source.name} lists for scene {scene_key(scene)} are ignored ones; "
                "remove the scene from its split"
            )
        extra = {"dropped": int((~known).sum()), "repeated": len(listed) - len(index)}
        truth = per_class(np.asarray(segment), classes)
        return scene_labels(scene, index[known], label[known], settings["voxel_size"], truth, extra)

    known_names = {scene_key(scene) for scene in scenes} | {scene.name for scene in scenes}
    results = {"other_scenes": len(set(points) - known_names)}
    return store_labels(root, name, settings, classes, (labelled(scene) for scene in scenes), results)


def import_segment(
    root: str | Path, *, splits: Sequence[str], voxel_size: float | None = None, name: str | None = None
) -> SparseLabels:
    """Store every labelled point of the scenes themselves: for clouds of which only some points were ever labelled.

    Args:
        root: Folder of prepared scenes.
        splits: What to take over; every scene there needs a labelled point.
        voxel_size: Of the stored grid on which the share of voxels is stated, metres; None = the finest that all have.
        name: Of the labels; None = ``"segment"``.

    Raises:
        InputError: A scene without a labelled point, or labels of that name that were made otherwise, or are damaged.
    """
    root, name = Path(root), SEGMENT_NAME if name is None else name
    scenes = list_scenes(root, splits)
    settings = import_settings({"kind": "segment"}, scenes, splits, voxel_size)
    before = stored_before(root, name, settings, scenes)
    if before is not None:
        return before
    classes = load_classes(root / "classes.yaml")

    def labelled(scene: PreparedScene) -> SceneLabels:
        segment = checked_truth(scene, classes, "take labels from")
        index = np.flatnonzero(segment >= 0)
        if len(index) == 0:
            raise InputError(f"none of the points of scene {scene_key(scene)} is labelled; leave its split out")
        return scene_labels(scene, index, np.asarray(segment[index]), settings["voxel_size"], None, {})

    return store_labels(root, name, settings, classes, (labelled(scene) for scene in scenes))


def import_settings(
    source: Mapping[str, Any], scenes: Sequence[PreparedScene], splits: Sequence[str], voxel_size: float | None
) -> dict[str, Any]:
    """The settings of an import as ``spec.json`` holds them: no rule and no seed, but a source.

    Args:
        source: ``kind`` and whatever else decides the labels.
        scenes: The scenes of the splits.
        splits: What is annotated.
        voxel_size: Metres; None = the finest grid that all scenes have.

    Raises:
        InputError: No splits, or no grid that all scenes have.
    """
    if not splits:
        raise InputError("no splits to import labels for; name at least one")
    if voxel_size is None:
        common = set.intersection(*({*scene.voxel_sizes} for scene in scenes))
        if not common:
            raise InputError("the scenes have no voxel grid in common; prepare them again with one --voxel-size")
        voxel_size = min(common)
    return {
        "rule": None,
        "seed": None,
        "voxel_size": float(voxel_size),
        "splits": sorted(set(splits)),
        "source": dict(source),
    }


def scene_labels(
    scene: PreparedScene,
    index: np.ndarray,
    label: np.ndarray,
    voxel_size: float,
    class_points: list[int] | None,
    extra: Mapping[str, Any],
) -> SceneLabels:
    """Imported labels of a scene, with how many voxels hold one of them and the hash of the coordinates they are for.

    Args:
        scene: The scene.
        index: (L,) raw point indices, rising.
        label: (L,) classes.
        voxel_size: Of a stored grid, metres.
        class_points: Points of each class where the labels come from the ground truth.
        extra: More for the scene's entry in ``spec.json``.
    """
    grid = scene.grid(voxel_size)
    more = {"labelled_voxels": len(np.unique(grid.inverse[index])), "coord_sha256": coord_hash(scene), **extra}
    return SceneLabels(scene, index, label, len(grid.coord), class_points, None, more)


def hash_source(path: Path) -> str:
    """The SHA-256 of a file, or of the names and hashes of a folder's files.

    Raises:
        InputError: There is no such file or folder.
    """
    if path.is_file():
        return hash_file(path)
    if not path.is_dir():
        raise InputError(f"there is no file {path}")
    lines = [f"{p.relative_to(path).as_posix()} {hash_file(p)}\n" for p in sorted(path.rglob("*")) if p.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _entries(points: Mapping[str, np.ndarray], scenes: Sequence[PreparedScene], source: Path) -> dict[str, np.ndarray]:
    """The list's entry of each scene."""
    names = [scene.name for scene in scenes]
    entries: dict[str, np.ndarray] = {}
    for scene in scenes:
        key = scene_key(scene)
        if key in points:
            entries[key] = points[key]
        elif scene.name in points:
            if names.count(scene.name) > 1:
                raise InputError(
                    f"{source.name} lists points of {scene.name!r}, which is a scene of several splits; choose one of "
                    "them with --splits"
                )
            entries[key] = points[scene.name]
    missing = [scene_key(scene) for scene in scenes if scene_key(scene) not in entries]
    if missing:
        raise InputError(
            f"{source.name} lists no points for {len(missing)} of {len(scenes)} scenes ({', '.join(missing[:5])}); "
            "name only splits it covers with --splits"
        )
    return entries


def _checked_indices(listed: np.ndarray, scene: PreparedScene, source: Path) -> np.ndarray:
    listed = np.asarray(listed)
    where = f"{source.name} lists for scene {scene_key(scene)}"
    if listed.ndim != 1 or listed.dtype.kind not in "iu" or len(listed) == 0:
        raise InputError(f"{where} {listed.dtype} {listed.shape}; it must be whole numbers (L,), at least one")
    if listed.min() < 0 or listed.max() >= scene.num_points:
        raise InputError(
            f"{where} points {listed.min()} to {listed.max()}, but it has points 0 to {scene.num_points - 1}; the list "
            "belongs to other data"
        )
    return listed.astype(np.int64)
