"""The header of a PLY file, and where its vertices are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.data.formats.format import ours_in, reading
from pointseg.errors import InputError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Element:
    """A table of the file.

    Attributes:
        name: Such as ``vertex``.
        count: Rows.
        properties: Name, type, and the type of the length of a list, None for a single value.
    """

    name: str
    count: int
    properties: tuple[tuple[str, np.dtype, np.dtype | None], ...]

    @property
    def dtype(self) -> np.dtype:
        """Of a row's scalar properties."""
        return np.dtype([(name, kind) for name, kind, length in self.properties if length is None])

    @property
    def lists(self) -> tuple[str, ...]:
        """The list properties."""
        return tuple(name for name, _, length in self.properties if length is not None)


@dataclass(frozen=True)
class Layout:
    """What a header says.

    Attributes:
        path: The file.
        lines: Of the header, with their ends.
        order: Of bytes, ``<`` or ``>``; ``=`` is ascii.
        comments: Without the word.
        before: Elements ahead of the vertices.
        vertex: The vertices.
    """

    path: Path
    lines: tuple[bytes, ...]
    order: str
    comments: tuple[str, ...]
    before: tuple[Element, ...]
    vertex: Element

    @property
    def ours(self) -> frozenset[str]:
        """What an earlier call added to the vertices."""
        return ours_in(self.comments, [name for name, *_ in self.vertex.properties])

    @property
    def in_one_piece(self) -> bool:
        """Whether list properties keep the place of a vertex from being computed."""
        return bool(self.vertex.lists) or (self.order != "=" and any(element.lists for element in self.before))

    @property
    def start(self) -> int:
        """Where the first vertex is: a byte in a binary file, a line in an ascii one."""
        if self.order == "=":
            return len(self.lines) + sum(element.count for element in self.before)
        return sum(map(len, self.lines)) + sum(element.count * element.dtype.itemsize for element in self.before)


def read_layout(path: Path) -> Layout:
    """Read a file's header.

    Raises:
        InputError: It is no PLY file, its header is damaged, or it has no vertices.
    """
    lines: list[bytes] = []
    with reading(path, "PLY"), path.open("rb") as file:
        while not lines or lines[-1].strip() != b"end_header":
            lines.append(file.readline(_LONGEST_HEADER))
            if lines[0].strip() != b"ply" or not lines[-1].endswith(b"\n") or sum(map(len, lines)) > _LONGEST_HEADER:
                raise InputError(f"{path} is no PLY file: its header is damaged or cut short; export it again")
    order = ""
    comments: list[str] = []
    elements: list[tuple[str, int, list[tuple[str, np.dtype, np.dtype | None]]]] = []
    for number, line in enumerate(lines[1:-1], 2):
        words = line.decode("utf-8", "surrogateescape").split()
        try:
            match words:
                case ["format", kind, _]:
                    order = _ORDERS[kind]
                case ["comment" | "obj_info", *_]:
                    comments.append(" ".join(words[1:]))
                case ["element", name, count]:
                    if int(count) < 0:
                        raise ValueError
                    elements.append((name, int(count), []))
                case ["property", "list", length, kind, name]:
                    elements[-1][2].append((name, np.dtype(order + _TYPES[kind]), np.dtype(order + _TYPES[length])))
                case ["property", kind, name]:
                    elements[-1][2].append((name, np.dtype(order + _TYPES[kind]), None))
                case []:
                    pass
                case _:
                    raise ValueError
        except (KeyError, ValueError, IndexError) as error:
            text = line.decode("latin1").strip()
            raise InputError(
                f"{path}, line {number}: {text!r} is not of a PLY header; export the cloud again"
            ) from error
    if not order:
        raise InputError(f"{path} is no PLY file: its header states no format; export it again")
    found = [Element(name, count, tuple(properties)) for name, count, properties in elements]
    for element in found:
        if len({name for name, *_ in element.properties}) < len(element.properties):
            raise InputError(f"{path} has a property of {element.name!r} twice in its header; export it again")
    names = [element.name for element in found]
    if "vertex" not in names:
        raise InputError(f"{path} has no element 'vertex', only {', '.join(names) or 'none'}; it holds no points")
    place = names.index("vertex")
    return Layout(path, tuple(lines), order, tuple(comments), tuple(found[:place]), found[place])


def mapped_vertices(layout: Layout) -> np.ndarray:
    """(N,) records of a binary file, mapped read-only; only where they are not ``in_one_piece``."""
    with reading(layout.path, "PLY"):
        return np.memmap(layout.path, layout.vertex.dtype, "r", layout.start, (layout.vertex.count,))
