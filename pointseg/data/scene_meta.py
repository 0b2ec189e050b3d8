"""``meta.json`` of a prepared scene, read and checked entry by entry: nothing later has to doubt it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pointseg.errors import InputError

FORMAT_VERSION = 1
"""Written to every ``meta.json``; another one is refused."""

AXIS_ALIGNMENT = "axis_alignment"
"""Among the facts of a scene whose axes were turned: the 4 x 4 matrix that took the source's coordinates there."""


def read_meta(path: Path) -> dict[str, Any]:
    """The content of a scene's ``meta.json``.

    Args:
        path: Folder of the scene.

    Raises:
        InputError: No such folder or file, no JSON, another format version, or an entry that cannot be.
    """
    file = path / "meta.json"
    if not path.is_dir():
        raise InputError(f"there is no scene folder {path}")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing, so {path} is not a prepared scene; prepare it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error}); prepare the scene again") from error
    version = meta.get("format_version") if isinstance(meta, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{file} has format version {version}, this program reads version {FORMAT_VERSION}; prepare the scene again"
        )
    for key, good in _REQUIRED.items():
        if not good(meta.get(key)):
            raise InputError(f"{file} holds {_shown(meta.get(key))} for {key!r}; prepare the scene again")
    for key, good in _OPTIONAL.items():
        if key in meta and not good(meta[key]):
            raise InputError(f"{file} holds {_shown(meta[key])} for {key!r}; prepare the scene again")
    return dict(meta)


def is_count(value: Any) -> bool:
    """Whether a JSON value is a whole number, 0 or more, that numpy can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    # By its size: whether a whole number of hundreds of digits is finite, Python cannot say.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_offset(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _are_facts(value: Any) -> bool:
    return _is_dict(value) and (AXIS_ALIGNMENT not in value or _is_matrix(value[AXIS_ALIGNMENT]))


def _is_matrix(value: Any) -> bool:
    rows = value if isinstance(value, list) and len(value) == 4 else [None]
    return all(isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_dict, value))


def _are_counts(value: Any) -> bool:
    return _is_dict(value) and all(_parses(key, int) and is_count(count) for key, count in value.items())


def _are_grids(value: Any) -> bool:
    return _is_dict(value) and all(
        _parses(size, float) and 0 < float(size) < math.inf and _is_dict(grid) and is_count(grid.get("num_voxels"))
        for size, grid in value.items()
    )


def _parses(text: str, kind: Callable[[str], Any]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_REQUIRED: dict[str, Callable[[Any], bool]] = {
    "dataset": _is_text,
    "scene": _is_text,
    "split": _is_text,
    "num_points": is_count,
    "counts": _are_counts,
    "offset": _is_offset,
    "arrays": _are_names,
    "grids": _are_grids,
}
"""What a scene cannot be read without."""

_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "settings": _is_dict,
    "facts": _are_facts,
    "repairs": _are_dicts,
    "sources": _are_dicts,
    "sha256": lambda value: _is_dict(value) and all(map(_is_text, value.values())),
}
"""What is for people and re-runs; scenes of earlier versions may lack some of it."""
