"""Columns of a file to clouds: checked coordinates, 8-bit colours, whole-numbered labels.

Some of it can be decided only for the whole file, never for a chunk: whether 16-bit colour fields hold 8-bit values,
and whether a field that every LAS file must have holds anything. ``survey`` reads the columns in question once, and no
further than the answer needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pointseg.data.formats.format import VALID, Columns, Header
from pointseg.data.formats.roles import Roles
from pointseg.errors import InputError


@dataclass(frozen=True, eq=False)
class RawCloud:
    """Points of a cloud file, or of a chunk of it, in the file's order.

    Attributes:
        coord: (N, 3) float64 in the file's coordinates and unit, all finite.
        color: (N, 3) uint8; None if the file has no colours.
        intensity: (N,) float32 as in the file.
        normal: (N, 3) float32 as in the file.
        label: (N,) class ids as in the file, whole numbers or words; None without labels.
        notes: What was assumed or left out -> number of points it concerns.
    """

    coord: np.ndarray
    color: np.ndarray | None = None
    intensity: np.ndarray | None = None
    normal: np.ndarray | None = None
    label: np.ndarray | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How the columns of one file become a cloud.

    Attributes:
        path: The file.
        roles: Which columns are what, without those that hold nothing.
        color_rule: ``bytes`` (8 bit), ``words`` (16 bit, divided by 256) or ``share`` (0..1, times 255).
        notes: What was decided about the file as a whole.
    """

    path: Path
    roles: Roles
    color_rule: str
    notes: Mapping[str, int]

    def cloud(self, columns: Columns, first: int) -> RawCloud:
        """The cloud of one chunk.

        Args:
            columns: Those the roles name, (n,) each.
            first: Rows of the file before this chunk.

        Raises:
            InputError: A coordinate that is not finite, or a label that is no whole number; the message names the row.
        """
        notes: dict[str, int] = {}
        rows = np.arange(first, first + len(columns[self.roles.coord[0]]))
        if VALID in columns:
            valid = columns[VALID]
            notes["rows the file marks as holding no point: left out"] = int((~valid).sum())
            columns, rows = {name: values[valid] for name, values in columns.items()}, rows[valid]
        roles = self.roles
        color = None if roles.color is None else self._color(_stack(columns, roles.color), rows)
        normal = None if roles.normal is None else _stack(columns, roles.normal).astype(np.float32)
        intensity = None if roles.intensity is None else columns[roles.intensity].astype(np.float32)
        return RawCloud(
            coord=self._coord(columns, rows),
            color=color,
            intensity=_finite(intensity, "intensities", notes),
            normal=_finite(normal, "normals", notes),
            label=None if roles.label is None else self._label(columns[roles.label], rows),
            notes={text: count for text, count in notes.items() if count},
        )

    def _coord(self, columns: Columns, rows: np.ndarray) -> np.ndarray:
        coord = _stack(columns, self.roles.coord).astype(np.float64)
        bad = ~np.isfinite(coord).all(axis=1)
        if bad.any():
            i = int(bad.argmax())
            raise InputError(
                f"{self.path}: point {rows[i]} (the first is 0) is at {coord[i].tolist()}; coordinates must be finite: "
                "remove such points"
            )
        return coord

    def _color(self, color: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if color.dtype == np.uint8:
            return color
        values = color.astype(np.float64)
        good = (values >= 0) & (values <= 65535)
        if not good.all():
            i = int((~good.all(axis=1)).argmax())
            raise InputError(
                f"{self.path}: point {rows[i]} (the first is 0) has the colour {color[i].tolist()}; allowed are 0..1, "
                "0..255 and 0..65535: check what the columns hold"
            )
        if self.color_rule == "words":
            return (values // 256).astype(np.uint8)
        return np.rint(values * 255 if self.color_rule == "share" else values).astype(np.uint8)

    def _label(self, label: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if label.dtype.kind in "iuU":
            return label.astype(label.dtype.newbyteorder("="))
        if label.dtype.kind == "b":
            return label.astype(np.uint8)
        whole = np.isfinite(label) & (np.rint(label) == label) & (np.abs(label) < 2**53)
        if not whole.all():
            i = int((~whole).argmax())
            raise InputError(
                f"{self.path}: point {rows[i]} (the first is 0) has {self.roles.label} = {label[i]}; class ids are "
                "whole numbers: name the field that holds them with --label-field"
            )
        return label.astype(np.int64)


def make_plan(path: Path, header: Header, roles: Roles, chunks: Iterable[Columns]) -> Plan:
    """Decide what has to be decided for the file as a whole.

    Args:
        path: The file.
        header: Its header.
        roles: Its columns' roles.
        chunks: The columns of ``surveyed``; read no further than needed.
    """
    notes = dict(header.notes)
    if roles.other_labels:
        notes[f"labels from {roles.label}, not from {', '.join(roles.other_labels)}"] = header.num_points
    held, high = _survey(header, roles, chunks)
    if not roles.label_named and roles.label in header.mandatory - held:
        notes[f"{roles.label} is 0 throughout: taken as never classified, no labels"] = header.num_points
        roles = replace(roles, label=None)
    if roles.intensity in header.mandatory - held:
        notes[f"{roles.intensity} is 0 throughout: taken as absent"] = header.num_points
        roles = replace(roles, intensity=None)
    if roles.color and header.mandatory.issuperset(roles.color) and not held.intersection(roles.color):
        notes["the colours are 0 throughout: taken as absent"] = header.num_points
        return Plan(path, replace(roles, color=None), "bytes", notes)
    kinds = {header.columns[name] for name in roles.color or ()}
    if not roles.color or kinds == {np.dtype(np.uint8)}:
        return Plan(path, roles, "bytes", notes)
    floats = any(kind.kind == "f" for kind in kinds)
    rule = "words" if high > 255 else "share" if floats and high <= 1 else "bytes"
    what = {
        "words": "colours reach beyond 255: taken as 16 bit and divided by 256",
        "share": "no colour is beyond 1: taken as 0..1 and multiplied by 255",
        "bytes": "16-bit colours without a value beyond 255: taken as 8 bit" if np.dtype(np.uint16) in kinds else "",
    }[rule]
    return Plan(path, roles, rule, notes | ({what: header.num_points} if what else {}))


def surveyed(header: Header, roles: Roles) -> tuple[str, ...]:
    """The columns that a decision about the whole file needs; none for most files."""
    colors = [name for name in roles.color or () if header.columns[name] != np.uint8]
    single = [name for name in (roles.label, roles.intensity) if name in header.mandatory]
    return tuple(dict.fromkeys([*colors, *single]))


def _survey(header: Header, roles: Roles, chunks: Iterable[Columns]) -> tuple[set[str], float]:
    """The columns that are not 0 throughout, and the highest colour value."""
    names = surveyed(header, roles)
    colors = [name for name in names if name in (roles.color or ())]
    held: set[str] = set()
    high = 0.0
    for columns in chunks:
        held |= {name for name in names if columns[name].any()}
        if colors:
            high = max([high, *(float(columns[name].max(initial=0)) for name in colors)])
        single_done = all(name in held for name in names if name not in colors)
        if single_done and (not colors or high > 255):
            break
    return held, high


def _stack(columns: Columns, names: tuple[str, str, str]) -> np.ndarray:
    return np.stack([columns[name] for name in names], axis=1)


def _finite(values: np.ndarray | None, what: str, notes: dict[str, int]) -> np.ndarray | None:
    if values is None:
        return None
    bad = ~np.isfinite(values)
    if bad.any():
        notes[f"{what} that are not finite: set to 0"] = int(bad.reshape(len(values), -1).any(axis=1).sum())
        values[bad] = 0
    return values
