"""Means, spreads and paired differences of finished cells, as Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from methods_bench.cells import BASELINE, Cell, Suite
from methods_bench.prepare import labels_name
from methods_bench.results import origin, scores

CONFIDENCE = 0.95

COLUMNS = {"final mIoU": "final", "best mIoU": "best", "final accuracy": "accuracy", "own rooms mIoU": "own"}
"""Columns of the tables, each followed by its paired difference to supervised-only."""


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and the half width of its confidence interval (Student's t; NaN below two pairs)."""

    mean: float
    half: float
    pairs: int

    @property
    def separated(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        return f"{self.mean:+.1f} +- {self.half:.1f}" if self.pairs > 1 else f"{self.mean:+.1f}"


def paired(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """``values - reference``, seed by seed."""
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    n = len(differences)
    if n < 2:
        return Difference(statistics.mean(differences), math.nan, n)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return Difference(statistics.mean(differences), quantile * statistics.stdev(differences) / math.sqrt(n), n)


def collect(out: Path, suite: Suite, rule: str, seeds: int, which: str = "final") -> dict[str, dict[int, float]]:
    """One of ``results.scores`` by variant and seed, of the finished cells that have it."""
    found: dict[str, dict[int, float]] = {}
    for variant in suite.variants:
        by_seed = {seed: scores(out, Cell(suite, rule, variant, seed)) for seed in range(seeds)}
        found[variant.name] = {seed: score[which] for seed, score in by_seed.items() if score and which in score}
    return {name: by_seed for name, by_seed in found.items() if by_seed}


def difference(found: dict[str, dict[int, float]], name: str, other: str) -> Difference | None:
    """Paired difference of two variants over the seeds both have; None if they share none."""
    shared = sorted(set(found.get(name, {})) & set(found.get(other, {})))
    if not shared:
        return None
    return paired([found[name][seed] for seed in shared], [found[other][seed] for seed in shared])


def table(out: Path, suite: Suite, rule: str, seeds: int) -> str:
    """The Markdown table of a suite and a rule; cells not trained yet are missing from it."""
    found = {title: collect(out, suite, rule, seeds, which) for title, which in COLUMNS.items()}
    found = {title: values for title, values in found.items() if values}
    if not found:
        return "not trained yet"
    final = found["final mIoU"]
    lines = [
        f"| method | {' | '.join(f'{title} | paired' for title in found)} | seeds |",
        "|---" * (2 * len(found) + 2) + "|",
    ]
    for name in final:
        cells = [f"{spread(list(values[name].values()))} | {_gain(values, name)}" for values in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(final[name])} |")
    return "\n".join(lines)


def overview(out: Path, suite: Suite, seeds: int) -> str:
    """A suite's final mIoU at one glance: the baseline's under each rule, the others' paired differences to it.

    The last column pairs each seed's mean over all rules, so it tells smaller differences than the columns before it.
    """
    found = {rule: collect(out, suite, rule, seeds) for rule in suite.rules}
    if not any(found.values()):
        return "not trained yet"
    found["mean of these"] = _mean_over_rules(list(found.values()))
    lines = [f"| method | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for name in dict.fromkeys(name for by_name in found.values() for name in by_name):
        lines.append(f"| {name} | {' | '.join(_against_baseline(by_name, name) for by_name in found.values())} |")
    return "\n".join(lines)


def _against_baseline(found: dict[str, dict[int, float]], name: str) -> str:
    if name not in found:
        return ""
    return spread(list(found[name].values())) if name == BASELINE else _gain(found, name)


def _mean_over_rules(found: list[dict[str, dict[int, float]]]) -> dict[str, dict[int, float]]:
    """Means by variant and seed, of the variants and seeds that every rule has."""
    names = [name for name in found[0] if all(name in by_name for by_name in found)]
    shared = {name: set.intersection(*(set(by_name[name]) for by_name in found)) for name in names}
    return {
        name: {seed: statistics.mean(by_name[name][seed] for by_name in found) for seed in sorted(by_seed)}
        for name, by_seed in shared.items()
        if by_seed
    }


def _gain(found: dict[str, dict[int, float]], name: str) -> str:
    gain = None if name == BASELINE else difference(found, name, BASELINE)
    return "" if gain is None else f"**{gain}**" if gain.separated else str(gain)


def versions(out: Path, suite: Suite, rule: str, seeds: int) -> str:
    """The versions of the code that trained a suite's finished cells, with their numbers if they are several.

    Empty where nothing is finished.
    """
    every = [Cell(suite, rule, variant, seed) for variant in suite.variants for seed in range(seeds)]
    found = Counter(origin(out, cell).code for cell in every if scores(out, cell))
    if len(found) <= 1:
        return "".join(f"code {name}" for name in found)
    return "cells of different code: " + ", ".join(f"{name} ({count})" for name, count in found.items())


def label_amount(out: Path, cell: Cell) -> str:
    """How much a rule annotates, by the draw of a cell: text for a heading, empty where every point is annotated."""
    spec = out / cell.suite.data / "sparse_labels" / labels_name(cell) / "spec.json"
    if not spec.is_file():
        return ""
    drawn = json.loads(spec.read_text())
    share = 100 * drawn["num_labels"] / drawn["num_points"]
    scenes = "1 scene" if len(drawn["scenes"]) == 1 else f"{len(drawn['scenes'])} scenes"
    counts = zip(drawn["classes"], drawn["counts"], strict=True)
    by_class = ", ".join(f"{name} {count}" for name, count in counts if count)
    return f": {drawn['num_labels']} annotated points in {scenes}, {share:.2g} % of the raw points ({by_class})"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and sample standard deviation, to so many digits after the point."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f}"
