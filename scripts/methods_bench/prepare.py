"""The benchmark's data: synthetic rooms from the generator, real scenes from a folder, and every draw of labels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from methods_bench.cells import Cell
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError

LABEL_GRID = 0.05
"""Metres: rates are of the occupied voxels of this grid, as in the protocols that subsample S3DIS at 4 or 5 cm."""

GENERATED = ("--rooms", 8, "--density", 400)
"""Six areas of eight rooms, with a few points for each voxel of the training grid."""


def prepare(out: Path, cells: Sequence[Cell], real: Path | None) -> None:
    """Prepare the scenes of the cells and draw or import their labels; what is there already is kept.

    Args:
        out: folder of the benchmark.
        cells: what will be trained.
        real: folder with ``scannet`` and ``s3dis`` in their native layouts, or None.

    Raises:
        InputError: real scenes are needed and not there.
    """
    for name, size in sorted({(cell.suite.data, cell.setting("data.voxel_size")) for cell in cells}):
        _prepare_scenes(out, name, size, real)
    for cell in cells:
        _make_labels(out / cell.suite.data, cell, real)


def labels_name(cell: Cell) -> str:
    """The draw a cell is trained on, as ``data.labels`` names it."""
    if cell.rule == "full" or cell.rule.startswith("points"):
        return cell.rule
    return f"{cell.rule.replace('%', 'pct')}_seed{cell.seed}"


def _prepare_scenes(out: Path, name: str, size: str, real: Path | None) -> None:
    raw = out / "raw"
    if name != "synthetic":
        if real is None or not (real / name).is_dir():
            raise InputError(
                f"the suite {name} needs real scenes in the folder {name} of --real, which is {real}; give that "
                "folder, or name other suites with --suites"
            )
        raw = real / name
    more = GENERATED if name == "synthetic" else ()
    grids = ("--voxel-size", size, "--voxel-size", LABEL_GRID)
    pointseg("prepare", name, "--raw", raw, "--out", out / name, *grids, *more)


def _make_labels(data: Path, cell: Cell, real: Path | None) -> None:
    name = labels_name(cell)
    if name == "full":
        return
    if cell.rule.startswith("points"):
        if (data / "sparse_labels" / name).is_dir():
            return
        lists = Path(str(real)) / "scannet" / "meta" / "limited_annotation" / cell.rule
        pointseg("label", "--data", data, "--from-list", lists, "--splits", "train")
        return
    draw(data, cell.rule, seed=cell.seed, voxel_size=LABEL_GRID, splits=cell.training_splits)


def pointseg(*arguments: object) -> None:
    """Run a ``pointseg`` command and let it speak for itself."""
    if subprocess.run([sys.executable, "-m", "pointseg.cli.main", *map(str, arguments)]).returncode:
        raise InputError(f"'pointseg {arguments[0]}' failed; what went wrong is printed above")
