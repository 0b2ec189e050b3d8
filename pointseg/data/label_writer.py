"""Storing sparse labels: written whole or not at all, and never over other ones of the same name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg import __version__
from pointseg.atomic import remove_unfinished, replacing_folder
from pointseg.data.classes import Classes
from pointseg.data.label_store import (
    SETTINGS,
    SPEC_VERSION,
    SparseLabels,
    label_file,
    open_labels,
    scene_key,
)
from pointseg.data.npy import save_array
from pointseg.data.scene_reader import LABELS_FOLDER, PreparedScene
from pointseg.data.scene_writer import hash_file
from pointseg.errors import InputError
from pointseg.locking import only_process

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class SceneLabels:
    """The labels of one scene, before they are stored.

    Attributes:
        scene: The scene.
        index: (L,) int64 raw point indices, rising.
        label: (L,) classes.
        voxels: Of the grid the shares are stated on.
        class_points: Points of each class in the ground truth; None if the labels do not come from one.
        class_voxels: Voxels whose representative point is of each class; None likewise.
        extra: What an import adds to the scene's entry in ``spec.json``.
    """

    scene: PreparedScene
    index: np.ndarray
    label: np.ndarray
    voxels: int
    class_points: list[int] | None
    class_voxels: list[int] | None
    extra: Mapping[str, Any]


def stored_before(
    root: Path, name: str, settings: Mapping[str, Any], scenes: Sequence[PreparedScene]
) -> SparseLabels | None:
    """The labels of this name, verified; None if there are none yet.

    Args:
        root: Folder of prepared scenes.
        name: Of the labels.
        settings: What they must have been made with.
        scenes: What they must have been made for.

    Raises:
        InputError: A bad name, or labels made with other settings, for other scenes, or damaged.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a draw; use letters, digits and . _ + - in a --name")
    if not (root / LABELS_FOLDER / name).exists():
        return None
    labels = open_labels(root, name)
    old, new = _flat(labels.spec), _flat(settings)
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    if changed:
        differing = "; ".join(f"{key} {old.get(key)} there, {new.get(key)} now" for key in changed)
        raise InputError(
            f"the draw {labels.name!r} exists with other settings ({differing}); choose another --name, or delete "
            f"{labels.path}"
        )
    here = {scene_key(scene) for scene in scenes}
    there = {*labels.spec["scenes"], *labels.spec.get("scenes_without", [])}
    if here != there:
        raise InputError(
            f"the draw {labels.name!r} was made when the splits held other scenes (differing: "
            f"{', '.join(sorted(here ^ there)[:5])}); choose another --name, or delete {labels.path}"
        )
    for scene in scenes:
        if scene_key(scene) in labels.spec["scenes"]:
            _check_stored(labels, scene)
    return labels


def store_labels(
    root: Path,
    name: str,
    settings: Mapping[str, Any],
    classes: Classes,
    labelled: Iterable[SceneLabels],
    results: Mapping[str, Any] | None = None,
) -> SparseLabels:
    """Write labels that are not there yet.

    Args:
        root: Folder of prepared scenes.
        name: Of the labels, checked by ``stored_before``.
        settings: What decides them; the beginning of ``spec.json``.
        classes: Of the root.
        labelled: One scene at a time, so that they need not all be in memory.
        results: What an import adds to the end of ``spec.json``.
    """
    target = root / LABELS_FOLDER / name
    target.parent.mkdir(exist_ok=True)
    refusal = f"another run is storing the labels {name!r} in {root}; wait for it, or choose another --name"
    with only_process(target.parent / f".{name}.lock", refusal):
        # It may have been finished by a run that was there first.
        if target.exists():
            raise InputError(f"another run has just stored the labels {name!r} in {root}; run the same command again")
        remove_unfinished(target.parent, name)
        _write_folder(target, settings, classes, labelled, results or {})
    return open_labels(root, name)


def _write_folder(
    target: Path,
    settings: Mapping[str, Any],
    classes: Classes,
    labelled: Iterable[SceneLabels],
    results: Mapping[str, Any],
) -> None:
    with replacing_folder(target) as folder:
        entries = {scene_key(one.scene): _write(folder, one, classes) for one in labelled}
        spec = {**settings, **_summary(entries, classes), **results}
        (folder / "spec.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")


def checked_truth(scene: PreparedScene, classes: Classes, purpose: str) -> np.ndarray:
    """The scene's ground truth, (N,) int16.

    Raises:
        InputError: It has none, or one of other classes.
    """
    segment = scene.segment
    if segment is None:
        raise InputError(f"scene {scene_key(scene)} has no ground truth to {purpose}; leave its split out")
    if len(segment) and int(segment.max()) >= classes.num_classes:
        raise InputError(
            f"scene {scene_key(scene)} holds class {int(segment.max())}, but classes.yaml names "
            f"{classes.num_classes}; prepare it again"
        )
    return segment


def per_class(label: np.ndarray, classes: Classes) -> list[int]:
    """How many of the labels are of each class, K numbers; -1 is left out."""
    return [int(n) for n in np.bincount(label[label >= 0], minlength=classes.num_classes)]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the labels, those of the source beside the others."""
    return {key: settings[key] for key in SETTINGS} | settings.get("source", {})


def _write(folder: Path, one: SceneLabels, classes: Classes) -> dict[str, Any]:
    file = label_file(folder, one.scene)
    file.parent.mkdir(exist_ok=True)
    save_array(file, np.stack([one.index, one.label.astype(np.int64)], axis=1))
    return {
        "labels": len(one.index),
        "points": one.scene.num_points,
        "voxels": one.voxels,
        "counts": per_class(one.label, classes),
        "class_points": one.class_points,
        "class_voxels": one.class_voxels,
        "sha256": hash_file(file),
        **one.extra,
    }


def _summary(entries: Mapping[str, Mapping[str, Any]], classes: Classes) -> dict[str, Any]:
    labels, points, voxels = (sum(entry[key] for entry in entries.values()) for key in ("labels", "points", "voxels"))
    # Several imported labels may lie in one voxel; drawn ones never do.
    labelled_voxels = sum(entry.get("labelled_voxels", entry["labels"]) for entry in entries.values())
    return {
        "spec_version": SPEC_VERSION,
        "classes": list(classes.names),
        **{key: _total(entries, key) for key in ("counts", "class_points", "class_voxels")},
        "num_labels": labels,
        "num_points": points,
        "num_voxels": voxels,
        "share_of_points": labels / points,
        "share_of_voxels": labelled_voxels / voxels,
        "created_by": f"pointseg {__version__}",
        "scenes": dict(entries),
    }


def _total(entries: Mapping[str, Mapping[str, Any]], key: str) -> list[int] | None:
    rows = [entry[key] for entry in entries.values()]
    return None if any(row is None for row in rows) else np.sum(rows, axis=0).tolist()


def _check_stored(labels: SparseLabels, scene: PreparedScene) -> None:
    labels.for_scene(scene)
    file = label_file(labels.path, scene)
    if hash_file(file) != labels.spec["scenes"][scene_key(scene)].get("sha256"):
        raise InputError(f"{file} was changed after it was drawn; delete {labels.path} and draw again")
