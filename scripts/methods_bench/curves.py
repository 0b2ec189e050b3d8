"""What trainings recorded about themselves: means of the scalars of ``metrics.jsonl`` near the end."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from methods_bench.cells import Cell, Suite
from methods_bench.tables import spread
from pointseg.errors import InputError

RECORDS = 10
"""Records that are averaged, the last ones of a training; one is made every ten steps."""


def table(out: Path, suite: Suite, rule: str, seeds: int, names: Sequence[str]) -> str:
    """A Markdown table: each variant's mean and spread over seeds of its runs' scalars, to two digits.

    A scalar that a method does not record, as p's of methods without pseudo-labels, has an empty field. Scalars of
    methods of two views are of the view that docs/methods.md names.

    Raises:
        InputError: there are runs, and none of them records one of the names.
    """
    lines = [f"| method | {' | '.join(names)} | seeds |", "|---" * (len(names) + 2) + "|"]
    known: set[str] = set()
    for variant in suite.variants:
        runs = [Cell(suite, rule, variant, seed).run(out) for seed in range(seeds)]
        found = [means for run in runs if (means := _last_means(run)) is not None]
        if not found:
            continue
        known.update(*found)
        fields = [[means[name] for means in found if name in means] for name in names]
        shown = " | ".join(spread(values, digits=2) if values else "" for values in fields)
        lines.append(f"| {variant.name} | {shown} | {len(found)} |")
    if not known:
        return "no runs here"
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"no run of {suite.name}, {rule} records {unknown[0]!r}; they record {', '.join(sorted(known))}"
        )
    return "\n".join(lines)


def _last_means(run: Path) -> dict[str, float] | None:
    """Means over a finished run's last records, of all scalars they have; None if it is not finished."""
    if not (run / "checkpoints" / "final" / "state.json").is_file():
        return None
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if record["kind"] == "train"][-RECORDS:]
    names = {name for record in last for name in record} - {"kind", "step"}
    return {name: statistics.mean(record[name] for record in last if name in record) for name in names}
