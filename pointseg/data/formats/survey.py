"""What must be known of a whole file before its first chunk becomes a cloud: which columns hold anything, and how much.

A format may force columns on every file. Where these are 0 throughout, others of the usual names stand in for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.data.formats.format import Columns, Header
from pointseg.data.formats.roles import INTENSITY_NAMES, LABEL_NAMES, Roles, Three, find_roles, usual_columns


@dataclass(frozen=True)
class Spare:
    """Columns that can stand in for those that the format forces on every file, the most usual name first.

    Attributes:
        labels: For the labels; empty where these are not in doubt.
        intensities: For the intensity; likewise.
        color: For the colours; None likewise.
    """

    labels: list[str]
    intensities: list[str]
    color: Three | None


@dataclass(frozen=True)
class Survey:
    """What the columns of ``surveyed`` hold, as far as the file was read.

    Attributes:
        held: Those with a finite value other than 0.
        broken: Spare labels with a value that is no whole number, spare colours with one that is no colour.
        high: Highest value of each column that is a colour of more than 8 bits, or would be if others were empty.
    """

    held: set[str]
    broken: set[str]
    high: Mapping[str, float]


def spare_columns(path: Path, header: Header, roles: Roles) -> Spare:
    """The columns to take where those of the roles turn out to be there only because the format has them."""
    doubtful = _doubtful(header, roles)
    own = [name for name in header.columns if name not in header.mandatory]
    forced = roles.color is not None and header.mandatory.issuperset(roles.color)
    return Spare(
        labels=usual_columns(own, LABEL_NAMES) if roles.label in doubtful else [],
        intensities=usual_columns(own, INTENSITY_NAMES) if roles.intensity in doubtful else [],
        color=find_roles(path, own, None).color if forced else None,
    )


def surveyed(path: Path, header: Header, roles: Roles) -> tuple[str, ...]:
    """The columns that a decision about the whole file needs; none for most files."""
    spare = spare_columns(path, header, roles)
    others = [*_doubtful(header, roles), *spare.labels, *spare.intensities, *(spare.color or ())]
    return tuple(dict.fromkeys([*_wide_colors(header, roles, spare), *others]))


def survey(path: Path, header: Header, roles: Roles, chunks: Iterable[Columns]) -> Survey:
    """Read the columns of ``surveyed``, no further than the decisions need.

    Args:
        path: The file.
        header: Its header.
        roles: Its columns' roles.
        chunks: Those columns.
    """
    spare, names, doubtful = spare_columns(path, header, roles), surveyed(path, header, roles), _doubtful(header, roles)
    high = dict.fromkeys(_wide_colors(header, roles, spare), 0.0)
    first = [name for name in roles.color or () if name in high]
    held: set[str] = set()
    broken: set[str] = set()
    for columns in chunks:
        held |= {name for name in names if (np.isfinite(columns[name]) & (columns[name] != 0)).any()}
        broken |= {name for name in spare.labels if not is_whole(columns[name]).all()}
        broken |= {name for name in spare.color or () if not is_color(columns[name]).all()}
        high |= {name: max(most, float(columns[name].max(initial=0))) for name, most in high.items()}
        if doubtful <= held and (not first or max(high[name] for name in first) > 255):
            break
    return Survey(held, broken, high)


def is_whole(values: np.ndarray) -> np.ndarray:
    """(n,) bool: which numbers are whole, and as floats small enough to tell from the next."""
    if values.dtype.kind != "f":
        return np.ones(len(values), dtype=bool)
    return np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) < 2**53)


def is_color(values: np.ndarray) -> np.ndarray:
    """Which numbers a colour can have, in any of the ranges in use; as the shape given."""
    return (values >= 0) & (values <= 65535)


def _doubtful(header: Header, roles: Roles) -> set[str]:
    """The label and intensity columns that may be there only because the format has them."""
    taken = (roles.intensity,) if roles.label_named else (roles.label, roles.intensity)
    return {name for name in taken if name in header.mandatory}


def _wide_colors(header: Header, roles: Roles, spare: Spare) -> list[str]:
    """The columns of more than 8 bits that are colours, or would be if those were empty."""
    colors = dict.fromkeys([*(roles.color or ()), *(spare.color or ())])
    return [name for name in colors if header.columns[name] != np.uint8]
