"""Which columns of a file are coordinates, colour, intensity, normals and labels, by a list of usual names.

Names are compared without regard to case, without CloudCompare's prefix ``scalar_`` and without an XML prefix such as
``nor:``. The first name of a list that the file has is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pointseg.errors import InputError

COORD_NAMES = (("x", "y", "z"), ("cartesianx", "cartesiany", "cartesianz"))
COLOR_NAMES = (
    ("red", "green", "blue"),
    ("r", "g", "b"),
    ("colorred", "colorgreen", "colorblue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
NORMAL_NAMES = (
    ("nx", "ny", "nz"),
    ("normal_x", "normal_y", "normal_z"),
    ("normalx", "normaly", "normalz"),
)
INTENSITY_NAMES = ("intensity", "intensities", "reflectance")
LABEL_NAMES = (
    "classification",
    "class",
    "classes",
    "class_id",
    "label",
    "labels",
    "label_id",
    "segment",
    "semantic",
    "semantics",
    "semantic_label",
    "category",
    "ground_truth",
    "gt",
)

Three = tuple[str, str, str]


@dataclass(frozen=True)
class Roles:
    """Names of columns; None for what the file does not have.

    Attributes:
        coord: x, y, z.
        color: Red, green, blue.
        normal: x, y, z.
        intensity: Strength of the return.
        label: Class ids.
        other_labels: Further columns that could have been the labels.
        label_named: Whether the label column was asked for, not found by its usual name.
    """

    coord: Three
    color: Three | None
    normal: Three | None
    intensity: str | None
    label: str | None
    other_labels: tuple[str, ...]
    label_named: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All that have to be read, each once."""
        single = [name for name in (self.intensity, self.label) if name is not None]
        return tuple(dict.fromkeys([*self.coord, *(self.color or ()), *(self.normal or ()), *single]))


def find_roles(path: Path, names: Iterable[str], label_field: str | None) -> Roles:
    """Find out what each column is.

    Args:
        path: The file, for the messages.
        names: Its columns.
        label_field: The column of the class ids; None = the first of ``LABEL_NAMES`` that there is.

    Raises:
        InputError: No coordinates, or no column of that name.
    """
    names = list(names)
    plain = _by_plain_name(names)
    coord = _three(plain, COORD_NAMES)
    if coord is None:
        raise InputError(f"{path} has no coordinates x, y, z; its fields are {', '.join(names) or 'none'}")
    candidates = usual_columns(names, LABEL_NAMES)
    if label_field is not None:
        if label_field not in names and plain_name(label_field) not in plain:
            raise InputError(f"{path} has no label field {label_field!r}; its fields are {', '.join(names)}")
        label_field = label_field if label_field in names else plain[plain_name(label_field)]
    return Roles(
        coord=coord,
        color=_three(plain, COLOR_NAMES),
        normal=_three(plain, NORMAL_NAMES),
        intensity=next(iter(usual_columns(names, INTENSITY_NAMES)), None),
        label=label_field or next(iter(candidates), None),
        other_labels=() if label_field else tuple(candidates[1:]),
        label_named=label_field is not None,
    )


def usual_columns(names: Iterable[str], usual: tuple[str, ...]) -> list[str]:
    """Those columns that have one of the usual names, in the order of these; of two of one name the first."""
    plain = _by_plain_name(names)
    return [plain[name] for name in usual if name in plain]


def plain_name(name: str) -> str:
    """The name as it is compared: ``scalar_Classification`` -> ``classification``, ``nor:normalX`` -> ``normalx``."""
    return name.casefold().rsplit(":", 1)[-1].removeprefix("scalar_").strip()


def _by_plain_name(names: Iterable[str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(plain_name(name), name)
    return plain


def _three(plain: dict[str, str], groups: tuple[Three, ...]) -> Three | None:
    for x, y, z in groups:
        if x in plain and y in plain and z in plain:
            return plain[x], plain[y], plain[z]
    return None
