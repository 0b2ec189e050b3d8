"""What a complete S3DIS holds, and what of it a folder lacks.

The rooms are the 272 that published lists of the annotation folders name. No such list of the objects was found, so
of them only gaps in the numbers of a room's files are noticed, not a last one that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROOMS: dict[str, dict[str, int]] = {
    "Area_1": {"WC": 1, "conferenceRoom": 2, "copyRoom": 1, "hallway": 8, "office": 31, "pantry": 1},
    "Area_2": {"WC": 2, "auditorium": 2, "conferenceRoom": 1, "hallway": 12, "office": 14, "storage": 9},
    "Area_3": {"WC": 2, "conferenceRoom": 1, "hallway": 6, "lounge": 2, "office": 10, "storage": 2},
    "Area_4": {"WC": 4, "conferenceRoom": 3, "hallway": 14, "lobby": 2, "office": 22, "storage": 4},
    "Area_5": {"WC": 2, "conferenceRoom": 3, "hallway": 15, "lobby": 1, "office": 42, "pantry": 1, "storage": 4},
    "Area_6": {
        "conferenceRoom": 1,
        "copyRoom": 1,
        "hallway": 6,
        "lounge": 1,
        "office": 37,
        "openspace": 1,
        "pantry": 1,
    },
}
"""Area -> type of room -> how many there are; they are numbered from 1."""

_OBJECT = re.compile(r"(?P<word>.+)_(?P<number>[0-9]+)")
_SHOWN = 8


def rooms_of(area: str) -> list[str]:
    """The rooms of an area such as ``Area_1``, as ``office_1``."""
    return [f"{kind}_{number}" for kind, count in ROOMS[area].items() for number in range(1, count + 1)]


def missing(raw: str | Path, areas: Sequence[str] | None = None) -> list[str]:
    """Sentences about what a folder lacks of the complete data set, or holds beyond it; none if it is complete.

    Args:
        raw: Folder that holds ``Area_1`` ... ``Area_6``.
        areas: Only these; None = all six.
    """
    raw = Path(raw)
    wanted = [area for area in ROOMS if areas is None or area in areas]
    present = [area for area in wanted if (raw / area).is_dir()]
    notes = []
    if absent := [area for area in wanted if area not in present]:
        notes.append(f"not in the raw folder, so not prepared: {', '.join(absent)}")
    for area in present:
        found = {folder.name for folder in (raw / area).iterdir() if folder.is_dir() and folder.name[0] != "."}
        complete = rooms_of(area)
        if lacking := [room for room in complete if room not in found]:
            notes.append(f"{area} has {len(found)} rooms of {len(complete)}; missing: {_listed(lacking)}")
        if extra := sorted(found - set(complete)):
            notes.append(f"{area} has rooms that are not in S3DIS: {_listed(extra)}")
    if gaps := [gap for area in present for room in sorted((raw / area).iterdir()) for gap in _gaps(room)]:
        notes.append(f"objects of a kind are numbered from 1, but there is no {_listed(gaps)}; files may be missing")
    return notes


def _gaps(room: Path) -> list[str]:
    numbers: dict[str, set[int]] = {}
    for path in (room / "Annotations").glob("*.txt"):
        if match := _OBJECT.fullmatch(path.stem):
            numbers.setdefault(match["word"], set()).add(int(match["number"]))
    return [
        f"{room.parent.name}/{room.name}/{word}_{number}"
        for word, there in sorted(numbers.items())
        for number in range(1, max(there))
        if number not in there
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
