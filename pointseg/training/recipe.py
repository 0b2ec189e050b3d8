"""Reading recipes: YAML files that start from one another, overrides on top, a resolved configuration at the end."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pointseg.errors import InputError
from pointseg.paths import configs_dir
from pointseg.training.config import TrainConfig
from pointseg.training.plain import from_dict, require
from pointseg.untrusted import parse_yaml, shown

EXAMPLES = ["synthetic_erda", "s3dis_erda_1pct", "scannet_erda_20pts"]
"""Named where a recipe is not found and nothing like it exists."""


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML recipe and apply overrides.

    Args:
        recipe: a file, or the name of one that comes with pointseg (``synthetic_erda``).
        overrides: ``key=value`` with dots for depth (``data.voxel_size=0.04``); values are YAML.

    Raises:
        InputError: no such file, not YAML, an unknown key (the allowed ones are listed) or a wrong type or value.
    """
    values = _read_recipe(_find_recipe(recipe))
    for override in overrides:
        _apply_override(values, override)
    return typing.cast(TrainConfig, from_dict(TrainConfig, values, ""))


def _read_recipe(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values; ``base`` names the recipes it starts from, later ones over earlier ones.

    Settings are merged group by group (``data``, ``model``, ...), but ``method`` is replaced as a whole.
    """
    require(path not in above, f"recipe {path} is its own base; name another recipe as base, or none")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; a recipe is a YAML file") from error
    values = _parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}, not a recipe; it must be a YAML mapping of settings")
    bases = values.pop("base", [])
    merged: dict[str, Any] = {}
    for name in bases if isinstance(bases, list) else [bases]:
        _merge(merged, _read_recipe(_find_recipe(str(name), beside=path.parent), (*above, path)))
    _merge(merged, values)
    return merged


def _merge(values: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(values.get(key), dict) and key != "method"
        values[key] = {**values[key], **value} if both else value


def _find_recipe(recipe: str | Path, beside: Path | None = None) -> Path:
    neighbour = [] if beside is None else [beside / f"{recipe}.yaml"]
    for path in (*neighbour, Path(recipe), configs_dir() / f"{recipe}.yaml"):
        # A name that is too long for any file is no file.
        with suppress(OSError):
            if path.is_file():
                return path
    shipped = [path.stem for path in sorted(configs_dir().glob("*.yaml"))]
    near = difflib.get_close_matches(str(recipe), shipped, n=3) or EXAMPLES
    raise InputError(
        f"there is no recipe {shown(str(recipe))}; give a YAML file or one of the {len(shipped)} that come with "
        f"pointseg, such as {', '.join(near)} ('pointseg train --recipes' lists them)"
    )


def list_recipes() -> dict[str, str]:
    """The recipes that come with pointseg: name -> what its head says it is."""
    heads = {}
    for path in sorted(configs_dir().glob("*.yaml")):
        comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        heads[path.stem] = " ".join(comments[1:]).strip()
    return heads


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{source} is not valid YAML: {error}") from error


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    require(bool(separator and key), f"override {override!r} is not of the form key=value, as data.voxel_size=0.04")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        require(
            isinstance(values, dict), f"override {override!r}: {parent} is a single value and has no settings inside"
        )
    values[last] = _parse_yaml(text, f"the value of override {override!r}")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain values for YAML and JSON, the method's settings in full."""
    plain = typing.cast(dict[str, Any], _plain(dataclasses.asdict(config)))
    plain["method"] = {"name": config.method_name, **_plain(dataclasses.asdict(config.method_config()))}
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
