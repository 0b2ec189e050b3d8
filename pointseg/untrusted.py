"""Reading what anyone may have written: it fails in one way, and takes room for no more than is there.

Python's and PyYAML's own readers fail in many ways, and some of these cost memory or time without bounds.
"""

from __future__ import annotations

import io
import json
import os
import reprlib
from pathlib import Path
from typing import Any

import yaml

_LONGEST_NUMBER = 100
_LARGEST_YAML = 1 << 20

_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring, _short.maxother = 3, 6, 6, 60, 60


class BoundedReader(io.BufferedReader):
    """A file whose reads make room for no more than it has left.

    Python makes room for as many bytes as are asked for, and libraries ask for as many as a header says.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, at most ``size``."""
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML text of plain values; aliases are refused, because a few of them can stand for billions.

    Raises:
        ValueError: It is none, has an alias or a number of more than 100 digits, is nested too deeply or too long.
    """
    if len(text) > _LARGEST_YAML:
        raise ValueError(f"it has {len(text):,} characters, more than {_LARGEST_YAML:,}")
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # PyYAML lets through what Python raises for values that do not fit their tag, as !!int and !!timestamp.
        raise ValueError(" ".join(str(error).split())) from error


def shown(value: object) -> str:
    """The value as Python writes it, shortened to what fits into a message."""
    return _short.repr(value)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"aliases such as *{event.anchor} are not read")
        return super().compose_node(parent, index)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        if len(str(node.value)) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        return int(self.construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
