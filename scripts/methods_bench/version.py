"""Which code trained a cell: cells of one table should come from one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pointseg

ROOT = Path(pointseg.__file__).parents[1]
TRAINS = ("data", "evaluation", "inference", "methods", "minkowski", "models", "training")
"""Folders of the package that a score depends on."""


def code_version() -> str:
    """The first twelve digits of the SHA-256 of these folders' modules and of the recipes."""
    files = [*ROOT.glob("configs/**/*.yaml"), *(f for name in TRAINS for f in ROOT.glob(f"pointseg/{name}/**/*.py"))]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
