"""Sizes of memory as people write them: ``4GB``, ``512MiB``."""

from __future__ import annotations

import re

from pointseg.errors import InputError

_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")


def parse_memory(text: str) -> int:
    """Bytes of a size such as ``4GB`` (10^9) or ``512MiB`` (2^20).

    Raises:
        InputError: Not a number and a unit.
    """
    match = _SIZE.fullmatch(text.strip())
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    if match is None or match[2].lower() not in units:
        raise InputError(f"the memory bound is {text!r}; give a number and a unit ({', '.join(_UNITS)}), such as 4GB")
    return int(float(match[1]) * units[match[2].lower()])
