"""The benchmark's data: synthetic rooms from the generator, real scenes from a folder, and every draw of labels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from methods_bench.cells import Cell
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError


def prepare(out: Path, cells: Sequence[Cell], real: Path | None) -> None:
    """Prepare the scenes of the cells and draw or import their labels; what is there already is kept.

    Args:
        out: folder of the benchmark.
        cells: what will be trained.
        real: folder with ``scannet`` and ``s3dis`` in their native layouts, or None.

    Raises:
        InputError: real scenes are needed and not there.
    """
    for name, size in sorted({(cell.suite.data, _voxel_size(cell)) for cell in cells}):
        _prepare_scenes(out, name, size, real)
    for data, rule, seed, size in sorted({(c.suite.data, c.rule, c.seed, _voxel_size(c)) for c in cells}):
        _make_labels(out / data, rule, seed, size, real)


def labels_name(cell: Cell) -> str:
    """The draw a cell is trained on, as ``data.labels`` names it."""
    if cell.rule == "full" or cell.rule.startswith("points"):
        return cell.rule
    return f"{cell.rule.replace('%', 'pct')}_seed{cell.seed}"


def _voxel_size(cell: Cell) -> float:
    settings = dict(setting.split("=", 1) for setting in cell.suite.settings)
    return float(settings["data.voxel_size"])


def _prepare_scenes(out: Path, name: str, size: float, real: Path | None) -> None:
    raw = out / "raw"
    if name != "synthetic":
        if real is None or not (real / name).is_dir():
            raise InputError(
                f"the suite {name} needs real scenes in the folder {name} of --real, which is {real}; give that "
                "folder, or name other suites with --suites"
            )
        raw = real / name
    pointseg("prepare", name, "--raw", raw, "--out", out / name, "--voxel-size", size)


def _make_labels(data: Path, rule: str, seed: int, size: float, real: Path | None) -> None:
    if rule == "full":
        return
    if rule.startswith("points"):
        if not (data / "sparse_labels" / rule).is_dir():
            lists = Path(str(real)) / "scannet" / "meta" / "limited_annotation" / rule
            pointseg("label", "--data", data, "--from-list", lists, "--splits", "train")
        return
    splits = [path.name for path in data.iterdir() if path.name.startswith("Area_")]
    held_out = {"Area_5"} if len(splits) > 1 else set()
    draw(data, rule, seed=seed, voxel_size=size, splits=sorted(set(splits) - held_out))


def pointseg(*arguments: object) -> None:
    """Run a ``pointseg`` command and let it speak for itself."""
    if subprocess.run([sys.executable, "-m", "pointseg.cli.main", *map(str, arguments)]).returncode:
        raise InputError(f"'pointseg {arguments[0]}' failed; what went wrong is printed above")
