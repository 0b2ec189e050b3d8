"""Which code and which settings of the benchmark trained a cell.

Cells of one table should come from one code, and must come from one version of their settings.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pointseg
from methods_bench.cells import Cell
from methods_bench.prepare import GENERATED, LABEL_GRID

ROOT = Path(pointseg.__file__).parents[1]
TRAINS = ("data", "evaluation", "inference", "methods", "minkowski", "models", "training")
"""Folders of the package that a score depends on."""


@dataclass(frozen=True)
class Origin:
    """What trained a cell: ``code_version()``, and ``settings_version`` of the cell, when its training began."""

    code: str
    settings: str


def code_version() -> str:
    """The first twelve digits of the SHA-256 of these folders' modules and of the recipes."""
    files = [*ROOT.glob("configs/**/*.yaml"), *(f for name in TRAINS for f in ROOT.glob(f"pointseg/{name}/**/*.py"))]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def settings_version(cell: Cell) -> str:
    """The first twelve digits of the SHA-256 of what the benchmark itself sets for a cell.

    These are the overrides of its suite and variant, how the synthetic scenes are generated, and the grid on which
    labels are drawn. What the cell's name holds (rule, seed) and what ``code_version`` covers (recipes) is left out.
    """
    made = GENERATED if cell.suite.data == "synthetic" else ()
    settings = (cell.suite.data, cell.suite.settings, cell.variant.recipe, cell.variant.settings, made, LABEL_GRID)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


def origin(cell: Cell) -> Origin:
    """What a training of this cell that begins now is made by."""
    return Origin(code_version(), settings_version(cell))
