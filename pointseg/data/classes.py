"""The classes of a data set: names, colours and the ids the raw files use, read from a YAML file, never from code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
import yaml

from pointseg.atomic import replacing_file
from pointseg.errors import InputError
from pointseg.paths import configs_dir
from pointseg.untrusted import parse_yaml, shown

SourceId = int | str
"""How the raw files name a class: a word or a number."""

IGNORED = -1
"""The label of points that are neither trained on nor scored."""


@dataclass(frozen=True)
class Classes:
    """K classes, in label order.

    Attributes:
        dataset: The data set they belong to.
        names: K names.
        colors: (K, 3) uint8.
        source_ids: K tuples: what the raw files call each class.
        ignore: Source ids whose points get label -1.
    """

    dataset: str
    names: tuple[str, ...]
    colors: np.ndarray = field(compare=False)
    source_ids: tuple[tuple[SourceId, ...], ...]
    ignore: tuple[SourceId, ...] = ()

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.names)

    def index(self, name: str) -> int:
        """The label of a class name.

        Raises:
            InputError: There is no such class.
        """
        if name not in self.names:
            raise InputError(f"{self.dataset} has no class {name!r}; its classes are {', '.join(self.names)}")
        return self.names.index(name)

    def same_as(self, other: Classes) -> bool:
        """Whether everything is equal, colours included."""
        return self == other and np.array_equal(self.colors, other.colors)

    def extended_by(self, other: Classes) -> bool:
        """Whether ``other`` has the same classes and knows, beside others, all our source ids as we do."""
        same = (self.dataset, self.names) == (other.dataset, other.names) and np.array_equal(self.colors, other.colors)
        return same and self.labels_by_source().items() <= other.labels_by_source().items()

    def labels_by_source(self) -> dict[SourceId, int]:
        """Source id -> label, -1 for those that are ignored."""
        table: dict[SourceId, int] = {source: k for k, sources in enumerate(self.source_ids) for source in sources}
        return table | dict.fromkeys(self.ignore, IGNORED)


def load_classes(name_or_path: str | Path) -> Classes:
    """Read and check a class file.

    Args:
        name_or_path: The name of one that comes with pointseg (``"s3dis"``) or the path of a YAML file.

    Raises:
        InputError: No such file, or an entry of it is wrong; the message names the file and the entry.
    """
    path = _find(name_or_path)
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the class file {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not a YAML file of classes: {error}") from error
    _check_keys(document, {"dataset", "classes"}, {"ignore"}, str(path))
    entries = document["classes"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: 'classes' must be a list of at least one class, not {shown(entries)}")
    wheres = [f"{path}, class {i}" for i in range(len(entries))]
    for entry, where in zip(entries, wheres, strict=True):
        _check_keys(entry, {"name", "color", "source"}, set(), where)
    names = tuple(_name(entry["name"], where) for entry, where in zip(entries, wheres, strict=True))
    _check_unique(names, wheres, "name")
    colors = [_color(entry["color"], where) for entry, where in zip(entries, wheres, strict=True)]
    sources = [_sources(entry["source"], where) for entry, where in zip(entries, wheres, strict=True)]
    ignore = _sources(document.get("ignore", []), f"{path}, 'ignore'")
    _check_unique(
        [s for group in (*sources, ignore) for s in group],
        [where for where, group in zip([*wheres, f"{path}, 'ignore'"], [*sources, ignore], strict=True) for _ in group],
        "source id",
    )
    return Classes(_name(document["dataset"], str(path)), names, np.array(colors, np.uint8), tuple(sources), ignore)


def save_classes(classes: Classes, path: str | Path) -> None:
    """Write a class file that ``load_classes`` reads back; an existing one is replaced in one step."""
    path = Path(path)
    rows = zip(classes.names, classes.colors.tolist(), classes.source_ids, strict=True)
    document: dict[str, Any] = {
        "dataset": classes.dataset,
        "classes": [{"name": name, "color": color, "source": list(source)} for name, color, source in rows],
    }
    if classes.ignore:
        document["ignore"] = list(classes.ignore)
    with replacing_file(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(document, sort_keys=False, default_flow_style=None), encoding="utf-8")


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not path.is_file():
            raise InputError(f"there is no class file {path}")
        return path
    folder = configs_dir() / "classes"
    found = folder / f"{name_or_path}.yaml"
    if not found.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputError(
            f"there is no class file named {str(name_or_path)!r}; give the path of one, or one of: {known}"
        )
    return found


def _check_keys(entry: Any, required: set[str], optional: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected a mapping with {', '.join(sorted(required))}, not {shown(entry)}")
    missing, unknown = required - set(entry), set(map(str, entry)) - required - optional
    if missing:
        raise InputError(f"{where}: {', '.join(sorted(missing))} missing from {shown(entry)}")
    if unknown:
        allowed = ", ".join(sorted(required | optional))
        raise InputError(f"{where}: unknown key {', '.join(sorted(unknown))}; allowed are {allowed}")


def is_class_name(value: object) -> bool:
    """Whether a value can name a class: a text that is not blank, without control characters and halves of one."""
    return isinstance(value, str) and bool(value.strip()) and not any(category(c) in ("Cc", "Cs") for c in value)


def _name(value: Any, where: str) -> str:
    if not is_class_name(value):
        raise InputError(
            f"{where}: {shown(value)} is not a name; it must be a non-empty word of characters that can be printed "
            "(quote words YAML converts)"
        )
    return str(value)


def _color(value: Any, where: str) -> list[int]:
    whole = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not whole or len(value) != 3 or not all(0 <= v <= 255 for v in value):
        raise InputError(
            f"{where}: color is {shown(value)}; it must be three whole numbers 0..255, as in [0, 128, 255]"
        )
    return list(value)


def _sources(value: Any, where: str) -> tuple[SourceId, ...]:
    if not isinstance(value, list) or not all(isinstance(v, int | str) and not isinstance(v, bool) for v in value):
        raise InputError(f"{where}: source ids are {shown(value)}; they must be a list of words or whole numbers")
    return tuple(value)


def _check_unique(values: Sequence[SourceId], wheres: Sequence[str], what: str) -> None:
    first: dict[SourceId, str] = {}
    for value, where in zip(values, wheres, strict=True):
        if value in first:
            raise InputError(f"{where}: {what} {shown(value)} is taken by {first[value]} already; each may occur once")
        first[value] = where
