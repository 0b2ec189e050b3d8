"""Columns of a file to clouds: checked coordinates, 8-bit colours, whole-numbered labels.

Some of it can be decided only for the whole file, never for a chunk: whether 16-bit colour fields hold 8-bit values,
whether a field that every LAS file must have holds anything, and which other field does where it holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pointseg.data.formats.format import VALID, Columns, Header
from pointseg.data.formats.roles import Roles, Three
from pointseg.data.formats.survey import Survey, is_color, is_whole, spare_columns, survey
from pointseg.errors import InputError


@dataclass(frozen=True, eq=False)
class RawCloud:
    """Points of a cloud file, or of a chunk of it, in the file's order.

    Attributes:
        coord: (N, 3) float64 in the file's coordinates and unit, all finite.
        color: (N, 3) uint8; None if the file has no colours.
        intensity: (N,) float32 as in the file; 0 where it is not finite.
        normal: (N, 3) float32 as in the file; 0 where a part is not finite.
        label: (N,) class ids as in the file, whole numbers or words; None without labels.
        label_field: The field they are from; None without labels.
        notes: What was assumed or left out -> number of points it concerns.
    """

    coord: np.ndarray
    color: np.ndarray | None = None
    intensity: np.ndarray | None = None
    normal: np.ndarray | None = None
    label: np.ndarray | None = None
    label_field: str | None = None
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
            label_field=roles.label,
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
        good = is_color(values)
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
        whole = is_whole(label)
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
    found = survey(path, header, roles, chunks)
    roles, said = _without_empty(path, header, roles, found)
    if roles.other_labels:
        said.append(f"labels from {roles.label}, not from {', '.join(roles.other_labels)}")
    rule, why = _color_rule(header, roles.color, found.high)
    return Plan(path, roles, rule, dict(header.notes) | dict.fromkeys([*said, *why], header.num_points))


def _without_empty(path: Path, header: Header, roles: Roles, found: Survey) -> tuple[Roles, list[str]]:
    """The roles with the next usual name in place of columns that only the format put there; what was decided."""
    spare, empty = spare_columns(path, header, roles), header.mandatory - found.held
    said: list[str] = []
    if roles.label in empty and not roles.label_named:
        good = [name for name in spare.labels if name in found.held - found.broken]
        instead = f"{good[0]} read instead" if good else "no labels"
        said.append(f"{roles.label} is 0 throughout: taken as never classified, {instead}")
        said += [f"{name}: not taken as labels, {_why_not(name, found)}" for name in spare.labels if name not in good]
        roles = replace(roles, label=next(iter(good), None), other_labels=tuple(good[1:]))
    if roles.intensity in empty:
        filled = next((name for name in spare.intensities if name in found.held), None)
        instead = "taken as absent" if filled is None else f"{filled} read instead"
        said.append(f"{roles.intensity} is 0 throughout: {instead}")
        roles = replace(roles, intensity=filled)
    if roles.color and empty.issuperset(roles.color):
        color = spare.color if found.held.intersection(spare.color or ()) else None
        if color and found.broken.intersection(color):
            said.append(f"{' '.join(color)}: not taken as colours, they have values that are none")
            color = None
        instead = "taken as absent" if color is None else f"{' '.join(color)} read instead"
        said.append(f"the colours are 0 throughout: {instead}")
        roles = replace(roles, color=color)
    return roles, said


def _why_not(label: str, found: Survey) -> str:
    return "it has values that are no whole numbers" if label in found.broken else "it is 0 throughout"


def _color_rule(header: Header, color: Three | None, high: Mapping[str, float]) -> tuple[str, list[str]]:
    """``Plan.color_rule``, and why, where that is not plain."""
    kinds = {header.columns[name] for name in color or ()}
    if not color or kinds == {np.dtype(np.uint8)}:
        return "bytes", []
    floats = any(kind.kind == "f" for kind in kinds)
    most = max(high[name] for name in color if name in high)
    rule = "words" if most > 255 else "share" if floats and most <= 1 else "bytes"
    why = {
        "words": "colours reach beyond 255: taken as 16 bit and divided by 256",
        "share": "no colour is beyond 1: taken as 0..1 and multiplied by 255",
        "bytes": "16-bit colours without a value beyond 255: taken as 8 bit" if np.dtype(np.uint16) in kinds else "",
    }[rule]
    return rule, [why] if why else []


def _stack(columns: Columns, names: tuple[str, str, str]) -> np.ndarray:
    return np.stack([columns[name] for name in names], axis=1)


def _finite(values: np.ndarray | None, what: str, notes: dict[str, int]) -> np.ndarray | None:
    if values is None:
        return None
    bad = ~np.isfinite(values)
    if values.ndim == 2:
        # What is left of a direction without one of its parts is another direction.
        bad = bad.any(axis=1)
    if bad.any():
        notes[f"{what} that are not finite: set to 0"] = int(bad.sum())
        values[bad] = 0
    return values
