"""Frozen dataclasses from plain values, strictly: unknown keys and wrong types are refused by name."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from pointseg.errors import InputError
from pointseg.untrusted import shown


def require(condition: bool, message: str) -> None:
    """Raise ``InputError(message)`` unless ``condition``."""
    if not condition:
        raise InputError(message)


def from_dict(cls: type, values: Any, where: str) -> Any:
    """Build a frozen dataclass of type ``cls``; ``where`` is what error messages call it, "" for the recipe itself."""
    label = where or "the recipe"
    require(isinstance(values, dict), f"{label} is {shown(values)}; it must be a mapping of settings")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        require(key in known, f"{label} has no setting {shown(key)}; allowed are {', '.join(known) or 'none'}")
    prefix = f"{where}." if where else ""
    return cls(**{key: _convert(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        require(isinstance(value, (list, tuple)), f"{where} is {shown(value)}; it must be a list")
        item, *rest = typing.get_args(kind)
        if rest and rest[0] is not Ellipsis:
            require(len(value) == 1 + len(rest), f"{where} has {len(value)} entries; it must have {1 + len(rest)}")
        return tuple(_convert(item, v, where) for v in value)
    if origin is types.UnionType:
        kinds = typing.get_args(kind)
        return None if value is None and type(None) in kinds else _convert(kinds[0], value, where)
    target = origin or kind
    if target is float:
        value = _as_float(value)
    correct = isinstance(value, target) and not (target is int and isinstance(value, bool))
    require(correct, f"{where} is {shown(value)}; it must be {_NAMES.get(target, target.__name__)}")
    require(target is not float or math.isfinite(value), f"{where} is {value}; it must be a finite number")
    require(target is not int or abs(value) < 2**63, f"{where} is {shown(value)}; it must be below 2^63")
    return value


def _as_float(value: Any) -> Any:
    """A whole number as float, and ``1e-3``, which YAML 1.1 takes for a text; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return value
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a mapping"}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name, as overrides write them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
