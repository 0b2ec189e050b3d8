"""What came of the cells: their scores and what trained them, from their runs or from the record of them.

The record, ``scores.csv`` in the benchmark's folder, outlives the runs: a copy of it in another folder prints the same
tables and spares these cells there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from methods_bench.cells import Cell
from methods_bench.version import Origin, settings_version
from pointseg.atomic import replacing_file
from pointseg.errors import InputError

RECORD = "scores.csv"
KEY = ("runs", "rule", "method", "seed")
SCORES = ("final", "best", "accuracy", "own")
ORIGIN = ("code", "settings")
COLUMNS = (*KEY, *ORIGIN, *SCORES)
UNKNOWN = Origin("unknown", "unknown")

Key = tuple[str, ...]


def scores(out: Path, cell: Cell) -> dict[str, float] | None:
    """Scores of a cell on raw points, in per cent; None if it is not finished.

    ``final`` and ``best`` are mIoU of these checkpoints, ``accuracy`` is of the final one; where other scenes are
    scored, ``own`` is the mIoU on the unannotated points of the scenes it was trained on.
    """
    found = _of_run(out, cell)
    if found is None and (row := read(out).get(_key(cell))):
        return {name: float(row[name]) for name in SCORES if row[name]}
    return found


def origin(out: Path, cell: Cell) -> Origin:
    """What trained a finished cell; ``UNKNOWN`` where that was not written down."""
    if _of_run(out, cell) is not None:
        return begun_by(out, cell)
    row = read(out).get(_key(cell))
    return Origin(*(row[name] for name in ORIGIN)) if row else UNKNOWN


def begun_by(out: Path, cell: Cell) -> Origin:
    """What began the run of a cell, finished or not."""
    path = cell.origin_file(out)
    words = path.read_text().split() if path.is_file() else []
    return Origin(*words) if len(words) == len(ORIGIN) else UNKNOWN


def refuse_other_settings(out: Path, cells: Sequence[Cell]) -> None:
    """Look for finished cells that this version of the benchmark would train otherwise.

    Raises:
        InputError: there is one; a table would compare it with cells it cannot be compared with.
    """
    for cell in cells:
        if scores(out, cell) is not None and (found := origin(out, cell).settings) != (now := settings_version(cell)):
            where = cell.run(out) if _of_run(out, cell) is not None else f"{out / RECORD}: {', '.join(_key(cell))}"
            raise InputError(
                f"{where} was trained with settings {found} of the benchmark, where this version has {now}; scores of "
                "both cannot be compared: move it away to train it again, or give another folder as --out"
            )


def read(out: Path) -> dict[Key, dict[str, str]]:
    """The rows of the record by cell; empty where there is none.

    Raises:
        InputError: the file has other columns.
    """
    path = out / RECORD
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path} has the columns {table.fieldnames}; they must be {', '.join(COLUMNS)}")
        return {tuple(row[name] for name in KEY): row for row in table}


def record(out: Path, cells: Sequence[Cell]) -> None:
    """Add the finished runs among cells to the record, each in place of an older row of its own."""
    rows = read(out)
    for cell in cells:
        if found := _of_run(out, cell):
            values = {name: f"{value:.4f}" for name, value in found.items()}
            key = dict(zip(KEY, _key(cell), strict=True))
            rows[_key(cell)] = {"own": "", **key, **asdict(origin(out, cell)), **values}
    if not rows:
        return
    with replacing_file(out / RECORD) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows[key] for key in sorted(rows))


def _key(cell: Cell) -> Key:
    return cell.suite.runs, cell.rule, cell.variant.name, str(cell.seed)


def _of_run(out: Path, cell: Cell) -> dict[str, float] | None:
    run = cell.run(out)
    files = {name: run / "checkpoints" / name / "state.json" for name in ("final", "best")}
    if cell.scores_own:
        files["own"] = run / "evaluation" / f"final_{'-'.join(cell.training_splits)}.json"
    if not all(path.is_file() for path in files.values()):
        return None
    states = {name: json.loads(path.read_text()) for name, path in files.items()}
    return {"accuracy": 100 * states["final"]["oacc"]} | {name: 100 * s["miou"] for name, s in states.items()}
