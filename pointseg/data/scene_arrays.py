"""What every way of writing a scene has in common: names, array types, class counts, ``meta.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.data.scene_meta import FORMAT_VERSION
from pointseg.data.scene_reader import ARRAYS, LABELS_FOLDER
from pointseg.errors import InputError

_PLAIN_NAME = re.compile(r"[^./\\\s][^/\\]*")
_NO_TEXT = re.compile(r"[\ud800-\udfff]")
"""What Python puts in place of bytes of a file's name that are not UTF-8."""


def check_names(split: str, name: str) -> None:
    """Refuse names of splits and scenes that are no plain folder names, or no text."""
    for part in (split, name):
        if not _PLAIN_NAME.fullmatch(part) or part == LABELS_FOLDER:
            raise InputError(f"{part!r} cannot name a split or scene; use a plain folder name")
        if _NO_TEXT.search(part):
            raise InputError(
                f"the name {part!r} is not UTF-8, so it can be neither printed nor stored; rename the file"
            )


def checked_array(key: str, value: np.ndarray, points: int, where: str) -> np.ndarray:
    """An array as the store keeps it.

    Args:
        key: Its name, of ``ARRAYS``.
        value: What was read.
        points: Rows it must have, at least 1.
        where: ``<split>/<scene>``, for messages.

    Returns:
        The values, contiguous, in the store's dtype.

    Raises:
        InputError: Another shape, or whole numbers that are none or out of range.
    """
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


def class_counts(segment: np.ndarray | None) -> dict[int, int]:
    """Points of each class id that occurs, rising; -1 counts the ignored ones."""
    if segment is None:
        return {}
    ids, counts = np.unique(segment, return_counts=True)
    return {int(i): int(n) for i, n in zip(ids, counts, strict=True)}


def write_meta(
    folder: Path,
    *,
    dataset: str,
    split: str,
    scene: str,
    num_points: int,
    counts: Mapping[int, int],
    offset: np.ndarray,
    arrays: Sequence[str],
    num_voxels: Mapping[float, int],
    settings: Mapping[str, Any] | None,
    facts: Mapping[str, Any] | None,
    repairs: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    sha256: Mapping[str, str],
) -> None:
    """Write ``meta.json``, the last file of a scene.

    Args:
        folder: Of the scene.
        dataset: Where the scene is from.
        split: Folder it will stand in.
        scene: Its name.
        num_points: N.
        counts: As from ``class_counts``.
        offset: (3,) metres, what was subtracted.
        arrays: Names of the arrays in the folder.
        num_voxels: Voxel size, metres -> V of each grid, rising.
        settings: What besides the sources decided the result.
        facts: What else is known of the source.
        repairs: What was mended or left out.
        sources: One entry a source file.
        sha256: File name relative to the folder -> hash.
    """
    meta = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "scene": scene,
        "split": split,
        "num_points": num_points,
        "counts": {str(i): n for i, n in sorted(counts.items())},
        "offset": offset.tolist(),
        "arrays": list(arrays),
        "grids": {f"{size:g}": {"num_voxels": voxels} for size, voxels in num_voxels.items()},
        "settings": dict(settings or {}),
        "facts": dict(facts or {}),
        "repairs": [dict(repair) for repair in repairs],
        "sources": [dict(source) for source in sources],
        "sha256": dict(sha256),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
