"""The known defects of S3DIS's published files, as data.

Collected from bug reports of many projects that read the data set. All four stray bytes differ in the same single bit
(0x20) from the character that belongs there: a space became NUL, a digit d became 0x10 + d. The rule for bytes that are
not in this table, in ``_s3dis_text``, follows from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

V12, ALIGNED = "v1.2", "v1.2 aligned"


@dataclass(frozen=True)
class StrayByte:
    """A line that holds a byte no number has.

    Attributes:
        file: Below the folder of the areas.
        line: From 1.
        releases: In which it was reported.
        holds: What the line holds.
        reads: What stands there instead after the repair.
    """

    file: str
    line: int
    releases: tuple[str, ...]
    holds: bytes
    reads: bytes


@dataclass(frozen=True)
class OddFile:
    """A file that is not what its name says.

    Attributes:
        file: Below the folder of the areas.
        releases: In which it was reported.
        what: What is wrong, and what follows for reading it.
    """

    file: str
    releases: tuple[str, ...]
    what: str


STRAY_BYTES = (
    StrayByte("Area_5/hallway_6/Annotations/ceiling_1.txt", 180389, (V12, ALIGNED), b"185\x00187", b"185 187"),
    StrayByte("Area_5/office_19/Annotations/ceiling_1.txt", 323474, (V12,), b"103.0\x100000", b"103.000000"),
    StrayByte("Area_2/auditorium_1/auditorium_1.txt", 741101, (ALIGNED,), b"167.\x1000000", b"167.000000"),
    StrayByte("Area_3/hallway_2/hallway_2.txt", 926337, (V12, ALIGNED), b"-9.1\x160", b"-9.160"),
)
"""The last two are in room files, which are not read; they are here so that nobody looks for them in vain."""

ODD_FILES = (
    OddFile(
        "Area_5/office_36/Annotations/wall_3 (1).txt",
        (V12, ALIGNED),
        "a second wall_3.txt; skipped, else it counts twice",
    ),
    OddFile(
        "Area_6/copyRoom_1/copy_Room_1.txt",
        (ALIGNED,),
        "the room file, misnamed for copyRoom_1.txt; room files are not read",
    ),
)


def stray_byte(path: Path, line: int) -> StrayByte | None:
    """The known defect on a line of a file of the data set, wherever the data set lies."""
    return next((d for d in STRAY_BYTES if d.line == line and _is(path, d.file)), None)


def odd_file(path: Path) -> OddFile | None:
    """The known defect of a file of the data set as a whole, wherever the data set lies."""
    return next((d for d in ODD_FILES if _is(path, d.file)), None)


def skipped_copy(path: Path, original: Path) -> str:
    """What to say about ``wall_3 (1).txt`` that is skipped because ``wall_3.txt`` is there.

    Args:
        path: The copy.
        original: The file without the number in brackets; both are compared.
    """
    same = path.read_bytes() == original.read_bytes()
    known = ", a known defect" if odd_file(path) else ""
    return f"skipped, {'a copy of' if same else 'named as a copy of, but different from,'} {original.name}{known}"


def _is(path: Path, file: str) -> bool:
    parts = tuple(file.split("/"))
    return path.parts[-len(parts) :] == parts
