"""Importing a person's clicks: each annotates the raw point nearest to it, if that is near enough."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KDTree

from pointseg.data.classes import Classes, load_classes
from pointseg.data.label_clicks_csv import Click, read_clicks
from pointseg.data.label_import import hash_source, import_settings, scene_labels
from pointseg.data.label_store import CLICKS, SparseLabels, scene_key
from pointseg.data.label_writer import SceneLabels, store_labels, stored_before
from pointseg.data.scene_reader import PreparedScene, list_scenes
from pointseg.errors import InputError


def import_clicks(
    root: str | Path,
    file: str | Path,
    *,
    splits: Sequence[str],
    max_distance: float = 0.05,
    voxel_size: float | None = None,
    name: str | None = None,
) -> SparseLabels:
    """Match clicks to raw points and store them; the scenes need no ground truth.

    A click with no point near enough is left out and kept in ``spec.json`` under ``unmatched`` with its line, scene and
    distance. Clicks of one class on one point count once, the rest as ``merged`` in the scene's entry. Scenes on which
    no click was matched are not covered and stand under ``scenes_without``.

    Args:
        root: Folder of prepared scenes.
        file: See ``read_clicks``; coordinates are those of the source files, also of scenes whose axes were aligned.
        splits: Where the clicks are; several scenes there need the file's ``scene`` column.
        max_distance: From a click to the nearest point, metres.
        voxel_size: Of the stored grid on which the share of voxels is stated, metres; None = the finest that all have.
        name: Of the labels; None = that of the file.

    Raises:
        InputError: A file that is not as it must be, a click on an unknown scene, two classes on one point, no click
            near any point, or labels of that name that were imported from something else, or are damaged.
    """
    root, file = Path(root), Path(file)
    if not (math.isfinite(max_distance) and max_distance > 0):
        raise InputError(f"the largest distance is {max_distance}; it must be a positive number of metres")
    name = file.stem if name is None else name
    scenes = list_scenes(root, splits)
    source = {"kind": CLICKS, "file": file.name, "sha256": hash_source(file), "max_distance": float(max_distance)}
    settings = import_settings(source, scenes, splits, voxel_size)
    before = stored_before(root, name, settings, scenes)
    if before is not None:
        return before
    classes = load_classes(root / "classes.yaml")
    labelled: list[SceneLabels] = []
    unmatched: list[dict[str, Any]] = []
    for scene, clicks in _by_scene(read_clicks(file, classes), scenes, file):
        positions = scene.located(np.array([click.coord for click in clicks]))
        point, distance = nearest_points(np.asarray(scene.coord), positions)
        near = distance <= max_distance
        unmatched += [
            {"line": click.line, "scene": scene_key(scene), "distance": float(far)}
            for click, far, matched in zip(clicks, distance, near, strict=True)
            if not matched
        ]
        chosen = [click for click, matched in zip(clicks, near, strict=True) if matched]
        if chosen:
            index, label = _merge(chosen, point[near], f"{file.name}, scene {scene_key(scene)}", classes)
            extra = {"merged": len(chosen) - len(index)}
            labelled.append(scene_labels(scene, index, label, settings["voxel_size"], None, extra))
    if not labelled:
        raise InputError(_nothing_near(unmatched, max_distance, file))
    covered = {scene_key(one.scene) for one in labelled}
    results = {
        "scenes_without": [scene_key(scene) for scene in scenes if scene_key(scene) not in covered],
        "unmatched": sorted(unmatched, key=lambda one: int(one["line"])),
    }
    return store_labels(root, name, settings, classes, labelled, results)


def nearest_points(coord: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point to each position; of several equally near ones the one with the lowest index.

    Args:
        coord: (N, 3) metres, N >= 1.
        position: (C, 3) metres.

    Returns:
        index (C,) int64 and distance (C,) float64, metres.
    """
    tree = KDTree(coord)
    index = np.empty(len(position), dtype=np.int64)
    distance = np.empty(len(position))
    for row, here in enumerate(position):
        least = tree.query(here[None], k=1)[0][0, 0]
        # Slightly more than the distance found, so that rounding loses none of the equally near points.
        candidates = np.sort(tree.query_radius(here[None], least * (1 + 1e-9))[0])
        squared = ((coord[candidates].astype(np.float64) - here) ** 2).sum(axis=1)
        index[row] = candidates[squared.argmin()]
        distance[row] = math.sqrt(squared.min())
    return index, distance


def _by_scene(
    clicks: Sequence[Click], scenes: Sequence[PreparedScene], file: Path
) -> list[tuple[PreparedScene, list[Click]]]:
    """The clicks on each scene that has any, in the order of the scenes."""
    if clicks[0].scene is None and len(scenes) > 1:
        raise InputError(
            f"{file.name} does not say which of {len(scenes)} scenes its clicks are on; add a column 'scene', or name "
            "a split of one scene with --splits"
        )
    names: dict[str, list[PreparedScene]] = defaultdict(list)
    for scene in scenes:
        names[scene.name].append(scene)
        names[scene_key(scene)].append(scene)
    on: dict[str, list[Click]] = defaultdict(list)
    for click in clicks:
        meant = [scenes[0]] if click.scene is None else names.get(click.scene, [])
        if len(meant) != 1:
            what = "is in several splits; write <split>/<scene>" if meant else "is not in the splits that are annotated"
            there = ", ".join(scene_key(scene) for scene in (meant or scenes)[:5])
            raise InputError(f"{file.name}, line {click.line}: the scene {click.scene!r} {what} (there are: {there})")
        on[scene_key(meant[0])].append(click)
    return [(scene, on[scene_key(scene)]) for scene in scenes if scene_key(scene) in on]


def _merge(clicks: Sequence[Click], point: np.ndarray, where: str, classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """One label a point, points rising."""
    first: dict[int, Click] = {}
    for click, index in zip(clicks, point.tolist(), strict=True):
        earlier = first.setdefault(index, click)
        if earlier.label != click.label:
            raise InputError(
                f"{where}: lines {earlier.line} and {click.line} give one point two classes, "
                f"{classes.names[earlier.label]} and {classes.names[click.label]}; remove one of them"
            )
    index = np.array(sorted(first), dtype=np.int64)
    return index, np.array([first[i].label for i in index.tolist()], dtype=np.int64)


def _nothing_near(unmatched: Sequence[dict[str, Any]], max_distance: float, file: Path) -> str:
    best = min(unmatched, key=lambda one: float(one["distance"]))
    return (
        f"none of the {len(unmatched)} clicks of {file.name} is within {max_distance:g} m of a point; the nearest is "
        f"{best['distance']:.3g} m from one (line {best['line']}); give the coordinates of the source file, or a "
        "larger --max-distance"
    )
