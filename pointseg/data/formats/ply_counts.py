"""A look at the header of a PLY file before plyfile reads it."""

from __future__ import annotations

from pathlib import Path

from pointseg.errors import InputError

_LONGEST_HEADER = 1 << 20
_ALWAYS_ALLOWED = 1 << 16
"""Rows. plyfile takes little room for these, and says itself how many are there."""


def check_ply_counts(path: Path) -> None:
    """Refuse a header that promises more rows than the file has bytes; plyfile makes room for rows before it looks.

    Binary files without lists pass: those it maps into memory, no further than they reach.

    Raises:
        InputError: The file cannot hold what its header promises.
    """
    with path.open("rb") as file:
        head, _, _ = file.read(_LONGEST_HEADER).partition(b"end_header")
    size = path.stat().st_size
    lines = [line.split() for line in head.splitlines()]
    if not any(words[:2] in ([b"format", b"ascii"], [b"property", b"list"]) for words in lines):
        return
    for words in lines:
        if words[:1] == [b"element"] and _number(words[-1]) > size + _ALWAYS_ALLOWED:
            raise InputError(
                f"{path} is cut short: its header promises {_number(words[-1]):,} rows, the file has {size:,} bytes; "
                "fetch or export it again"
            )


def _number(word: bytes) -> int:
    try:
        return int(word)
    except ValueError:
        return 0  # which plyfile refuses by itself
