"""Sparse labels: which points are annotated, drawn once, stored, and read by every method and every run.

A draw lives in ``<root>/sparse_labels/<name>``: ``<split>/<scene>.npy``, int64 (L, 2) of raw point index and class, and
``spec.json``. The rule by which it is drawn is in ``label_rule.py``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg import __version__
from pointseg.atomic import remove_unfinished, replacing_folder
from pointseg.data.classes import Classes, load_classes
from pointseg.data.label_rule import Rule, draw_points, parse_rule
from pointseg.data.scene_reader import LABELS_FOLDER, PreparedScene, list_scenes, map_array
from pointseg.errors import InputError

SPEC_VERSION = 1
"""Written to every ``spec.json``; another one is refused."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SETTINGS = ("rule", "seed", "voxel_size", "splits")
_RESULTS = ("classes", "counts", "class_points", "class_voxels", "num_labels", "num_points", "num_voxels", "scenes")


@dataclass(frozen=True)
class SparseLabels:
    """A stored draw.

    Attributes:
        path: ``<root>/sparse_labels/<name>``.
        spec: The content of its ``spec.json``.
    """

    path: Path
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the draw."""
        return self.path.name

    @property
    def counts(self) -> np.ndarray:
        """(K,) int64, annotated points of each class."""
        return np.array(self.spec["counts"], dtype=np.int64)

    def for_scene(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray]:
        """The annotation of a scene.

        Args:
            scene: A prepared scene of the draw's root.

        Returns:
            index (L,) int64 raw point indices, rising, and label (L,) int16 classes.

        Raises:
            InputError: The draw does not cover the scene, its file is damaged, or it was made on other data.
        """
        key = f"{scene.split}/{scene.name}"
        if key not in self.spec["scenes"]:
            raise InputError(
                f"the draw {self.name!r} does not cover scene {key}; it covers the splits "
                f"{', '.join(self.spec['splits'])} as they were when it was made; draw again under another name"
            )
        rows = map_array(self.path / scene.split / f"{scene.name}.npy", np.int64, 2)
        index, label = np.array(rows[:, 0]), np.array(rows[:, 1], dtype=np.int16)
        entry, segment = self.spec["scenes"][key], scene.segment
        whole = len(rows) == entry["labels"] and entry["points"] == scene.num_points
        if not whole or not _agrees(index, label, segment):
            raise InputError(
                f"the draw {self.name!r} was made on other data than scene {key} holds now; delete {self.path} and "
                "draw again"
            )
        return index, label


def default_name(rule: str, seed: int) -> str:
    """The name a draw gets when none is given: ``0.1pct_seed0``, ``1pt_seed0``."""
    return f"{parse_rule(rule).label}_seed{seed}"


def draw(
    root: str | Path, rule: str, *, seed: int, voxel_size: float, splits: Sequence[str], name: str | None = None
) -> SparseLabels:
    """Draw sparse labels and store them; an existing draw with the same settings is checked and kept.

    Args:
        root: Folder of prepared scenes.
        rule: ``"0.1%"`` or ``"20pt"``.
        seed: Not negative.
        voxel_size: Of the stored grid whose representative points are the candidates, metres.
        splits: What to annotate.
        name: Of the draw; None = ``default_name``.

    Returns:
        The stored draw.

    Raises:
        InputError: A bad rule, seed or name, no such split or grid, scenes without ground truth, or a draw of that
            name that was made with other settings, on other scenes, or is damaged.
    """
    root, parsed = Path(root), parse_rule(rule)
    if seed < 0:
        raise InputError(f"the seed is {seed}; it must be 0 or more")
    if not splits:
        raise InputError("no splits to draw labels for; name at least one")
    name = default_name(rule, seed) if name is None else name
    if not _PLAIN_NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a draw; use letters, digits and . _ + -")
    settings = {"rule": parsed.text, "seed": seed, "voxel_size": float(voxel_size), "splits": sorted(set(splits))}
    classes = load_classes(root / "classes.yaml")
    scenes = list_scenes(root, splits)
    target = root / LABELS_FOLDER / name
    if target.exists():
        return _verified(open_labels(root, name), settings, scenes)
    target.parent.mkdir(exist_ok=True)
    remove_unfinished(target.parent, name)
    with replacing_folder(target) as folder:
        entries = {_key(scene): _draw_scene(folder, scene, parsed, seed, voxel_size, classes) for scene in scenes}
        spec = settings | _summary(entries, classes)
        (folder / "spec.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    return open_labels(root, name)


def open_labels(root: str | Path, name: str) -> SparseLabels:
    """Open a stored draw.

    Args:
        root: Folder of prepared scenes.
        name: Of the draw.

    Raises:
        InputError: There is no such draw, or its ``spec.json`` is damaged.
    """
    folder = Path(root) / LABELS_FOLDER
    path = folder / name
    if not name or not path.is_dir():
        there = sorted(p.name for p in folder.glob("*") if p.is_dir() and not p.name.startswith("."))
        raise InputError(
            f"{root} has no sparse labels named {name!r}; it has {', '.join(there) or 'none'}; draw some with "
            "'pointseg label'"
        )
    file = path / "spec.json"
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is missing or damaged ({error}); delete {path} and draw again") from error
    if not isinstance(spec, dict) or spec.get("spec_version") != SPEC_VERSION:
        raise InputError(f"{file} is not of version {SPEC_VERSION}; delete {path} and draw again")
    missing = [key for key in (*_SETTINGS, *_RESULTS) if key not in spec]
    if missing:
        raise InputError(f"{file} lacks {', '.join(missing)}; delete {path} and draw again")
    return SparseLabels(path, spec)


def _draw_scene(
    folder: Path, scene: PreparedScene, rule: Rule, seed: int, voxel_size: float, classes: Classes
) -> dict[str, Any]:
    segment = scene.segment
    if segment is None:
        raise InputError(f"scene {_key(scene)} has no ground truth to draw labels from; leave its split out")
    if len(segment) and int(segment.max()) >= classes.num_classes:
        raise InputError(
            f"scene {_key(scene)} holds class {int(segment.max())}, but classes.yaml names {classes.num_classes}; "
            "prepare it again"
        )
    grid = scene.grid(voxel_size)
    candidates = np.asarray(grid.point)
    own = np.asarray(segment[candidates])
    index, label = draw_points(candidates, own, rule, seed=seed, scene=_key(scene))
    if len(index) == 0:
        raise InputError(
            f"scene {_key(scene)} has only ignored points and nothing to annotate; remove it from its split"
        )
    file = folder / scene.split / f"{scene.name}.npy"
    file.parent.mkdir(exist_ok=True)
    np.save(file, np.stack([index, label], axis=1), allow_pickle=False)
    return {
        "labels": len(index),
        "points": scene.num_points,
        "voxels": len(candidates),
        "counts": _per_class(label, classes),
        "class_points": _per_class(segment, classes),
        "class_voxels": _per_class(own, classes),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def _summary(entries: dict[str, dict[str, Any]], classes: Classes) -> dict[str, Any]:
    labels, points, voxels = (sum(entry[key] for entry in entries.values()) for key in ("labels", "points", "voxels"))
    per_class = {
        key: np.sum([entry[key] for entry in entries.values()], axis=0).tolist()
        for key in ("counts", "class_points", "class_voxels")
    }
    return {
        "spec_version": SPEC_VERSION,
        "classes": list(classes.names),
        **per_class,
        "num_labels": labels,
        "num_points": points,
        "num_voxels": voxels,
        "share_of_points": labels / points,
        "share_of_voxels": labels / voxels,
        "created_by": f"pointseg {__version__}",
        "scenes": entries,
    }


def _verified(labels: SparseLabels, settings: dict[str, Any], scenes: Sequence[PreparedScene]) -> SparseLabels:
    changed = [key for key in _SETTINGS if labels.spec[key] != settings[key]]
    if changed:
        differing = "; ".join(f"{key} {labels.spec[key]} there, {settings[key]} now" for key in changed)
        raise InputError(
            f"the draw {labels.name!r} exists with other settings ({differing}); choose another --name, or delete "
            f"{labels.path}"
        )
    here, there = {_key(scene) for scene in scenes}, set(labels.spec["scenes"])
    if here != there:
        raise InputError(
            f"the draw {labels.name!r} was made when the splits held other scenes (differing: "
            f"{', '.join(sorted(here ^ there)[:5])}); choose another --name, or delete {labels.path}"
        )
    for scene in scenes:
        labels.for_scene(scene)
        file = labels.path / scene.split / f"{scene.name}.npy"
        if hashlib.sha256(file.read_bytes()).hexdigest() != labels.spec["scenes"][_key(scene)]["sha256"]:
            raise InputError(f"{file} was changed after it was drawn; delete {labels.path} and draw again")
    return labels


def _agrees(index: np.ndarray, label: np.ndarray, segment: np.ndarray | None) -> bool:
    if segment is None or (len(index) and not (index.min() >= 0 and index.max() < len(segment))):
        return False
    return bool(np.array_equal(segment[index], label))


def _per_class(label: np.ndarray, classes: Classes) -> list[int]:
    return [int(n) for n in np.bincount(label[label >= 0], minlength=classes.num_classes)]


def _key(scene: PreparedScene) -> str:
    return f"{scene.split}/{scene.name}"
