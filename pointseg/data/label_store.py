"""Reading stored sparse labels, and refusing those that do not belong to the scenes as they are now.

They live in ``<root>/sparse_labels/<name>``: ``<split>/<scene>.npy``, int64 (L, 2) of raw point index and class, and
``spec.json``. Drawn ones have a rule and a seed there; imported ones have a ``source`` instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.label_weights import class_weights
from pointseg.data.scene_meta import is_count
from pointseg.data.scene_reader import LABELS_FOLDER, PreparedScene, map_array
from pointseg.data.scene_writer import hash_file
from pointseg.errors import InputError

SPEC_VERSION = 1
"""Written to every ``spec.json``; another one is refused."""

SETTINGS = ("rule", "seed", "voxel_size", "splits")
"""What decides a draw; an import also has its ``source``."""

RESULTS = ("classes", "counts", "class_points", "class_voxels", "num_labels", "num_points", "num_voxels", "scenes")
"""What else every ``spec.json`` must hold to be read."""

CLICKS = "clicks"
"""The kind of source whose classes a person chose, so that no ground truth has to confirm them."""


@dataclass(frozen=True)
class SparseLabels:
    """Stored sparse labels: a draw, or an import.

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

    @property
    def source(self) -> dict[str, Any] | None:
        """Where imported labels are from: ``kind`` and what else decides them; None for a draw."""
        return self.spec.get("source")

    @property
    def left_out(self) -> frozenset[str]:
        """The scenes, as ``split/scene``, that were looked at and got no label: those without a click."""
        return frozenset(self.spec.get("scenes_without", ()))

    def class_weights(self, kind: str) -> np.ndarray:
        """(K,) float64 weights of the classes by how many labelled points each has; see ``class_weights``."""
        return class_weights(self.counts, kind)

    def for_scene(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray]:
        """The annotation of a scene.

        Labels taken from a ground truth are compared with the scene's; a person's clicks need none. Imported labels are
        also compared with the hashes of their own file and of the coordinates they were made for.

        Args:
            scene: A prepared scene of the draw's root.

        Returns:
            index (L,) int64 raw point indices, rising, and label (L,) int16 classes.

        Raises:
            InputError: The draw does not cover the scene, its file is damaged, or it was made on other data.
        """
        index, label = self.stored(scene)
        key = scene_key(scene)
        entry = self.spec["scenes"][key]
        fits = len(index) == entry["labels"] and entry["points"] == scene.num_points
        if self.source is not None:
            made_for, now = entry["coord_sha256"], coord_hash(scene)
            unchanged = hash_file(label_file(self.path, scene)) == entry["sha256"]
            fits = fits and unchanged and (None in (made_for, now) or made_for == now)
        if self.source is None or self.source["kind"] != CLICKS:
            fits = fits and _agrees(index, label, scene.segment)
        if not fits:
            again = "draw again" if self.source is None else "import again"
            raise InputError(
                f"the draw {self.name!r} was made on other data than scene {key} holds now; delete {self.path} and "
                f"{again}"
            )
        return index, label

    def stored(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray]:
        """What ``for_scene`` returns, compared with nothing: for who knows that scene and file are the right ones.

        Raises:
            InputError: The draw does not cover the scene, or its file is damaged.
        """
        key = scene_key(scene)
        if key not in self.spec["scenes"]:
            raise InputError(self._uncovered(key))
        rows = map_array(label_file(self.path, scene), np.int64, 2)
        return np.array(rows[:, 0]), np.array(rows[:, 1], dtype=np.int16)

    def _uncovered(self, key: str) -> str:
        if key in self.left_out:
            return (
                f"the labels {self.name!r} have no click on scene {key}; add some and import again under another --name"
            )
        return (
            f"the draw {self.name!r} does not cover scene {key}; it covers the splits "
            f"{', '.join(self.spec['splits'])} as they were when it was made; draw again under another name"
        )


def open_labels(root: str | Path, name: str) -> SparseLabels:
    """Open stored labels.

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
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is missing or damaged ({error}); delete {path} and draw again") from error
    if not isinstance(spec, dict) or spec.get("spec_version") != SPEC_VERSION:
        raise InputError(f"{file} is not of version {SPEC_VERSION}; delete {path} and draw again")
    missing = [key for key in (*SETTINGS, *RESULTS) if key not in spec]
    if missing:
        raise InputError(f"{file} lacks {', '.join(missing)}; delete {path} and draw again")
    entries = _ENTRIES | ({"scenes": _are_imported_scenes} if "source" in spec else {})
    wrong = [key for key, good in entries.items() if key in spec and not good(spec[key])]
    if wrong or not _fits_together(spec):
        what = f"other values for {', '.join(wrong)} than it should" if wrong else "numbers that contradict each other"
        raise InputError(f"{file} holds {what}; delete {path} and draw again")
    return SparseLabels(path, spec)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_count, value))


def _are_counts_or_none(value: Any) -> bool:
    return value is None or _are_counts(value)


def _are_scenes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict)
        and all(is_count(entry.get(key)) for key in ("labels", "points"))
        and _are_counts(entry.get("counts"))
        for entry in value.values()
    )


def _are_imported_scenes(value: Any) -> bool:
    return _are_scenes(value) and all(
        _is_text(entry.get("sha256")) and isinstance(entry.get("coord_sha256", 0), str | None)
        for entry in value.values()
    )


def _is_source(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("kind"))


_ENTRIES: dict[str, Callable[[Any], bool]] = {
    "rule": lambda value: value is None or _is_text(value),
    "seed": lambda value: value is None or is_count(value),
    "voxel_size": lambda value: isinstance(value, int | float) and 0 < value < math.inf,
    "splits": _are_texts,
    "source": _is_source,
    "classes": _are_texts,
    "counts": _are_counts,
    "class_points": _are_counts_or_none,
    "class_voxels": _are_counts_or_none,
    "num_labels": is_count,
    "num_points": is_count,
    "num_voxels": is_count,
    "share_of_points": _is_share,
    "share_of_voxels": _is_share,
    "scenes": _are_scenes,
    "scenes_without": _are_texts,
    "unmatched": lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
}
"""What the entries of a ``spec.json`` may be."""


def _fits_together(spec: Mapping[str, Any]) -> bool:
    """Whether the totals are those of the scenes, and there is a source where there is no rule."""
    classes, scenes = len(spec["classes"]), spec["scenes"].values()
    rows = [spec[key] for key in ("counts", "class_points", "class_voxels")] + [scene["counts"] for scene in scenes]
    if any(row is not None and len(row) != classes for row in rows) or (spec["rule"] is None) != ("source" in spec):
        return False
    totals = [sum(column) for column in zip(*(scene["counts"] for scene in scenes), strict=True)]
    return totals == spec["counts"] and all(
        sum(scene[key] for scene in scenes) == spec[total]
        for key, total in (("labels", "num_labels"), ("points", "num_points"))
    )


def label_file(folder: Path, scene: PreparedScene) -> Path:
    """Where the labels of a scene are in a draw's folder."""
    return folder / scene.split / f"{scene.name}.npy"


def scene_key(scene: PreparedScene) -> str:
    """``<split>/<scene>``."""
    return f"{scene.split}/{scene.name}"


def coord_hash(scene: PreparedScene) -> str | None:
    """The SHA-256 of the scene's coordinates as stored in its ``meta.json``; None in scenes prepared without hashes."""
    value = scene.meta.get("sha256", {}).get("coord.npy")
    return None if value is None else str(value)


def _agrees(index: np.ndarray, label: np.ndarray, segment: np.ndarray | None) -> bool:
    if segment is None or (len(index) and not (index.min() >= 0 and index.max() < len(segment))):
        return False
    return bool(np.array_equal(segment[index], label))
