"""The qualitative claims of the ERDA paper, each checked on the finished cells of a suite.

Source: Tang et al., NeurIPS 2023: pseudo-labels for all points against selected ones, one-hot pseudo-labels as the
existing practice, entropy regularisation and distribution alignment apart, other divergences, gradients to one side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from methods_bench.cells import BASELINE, SELECTED, Suite
from methods_bench.tables import Difference, collect, difference

Means = dict[str, float]
Pair = tuple[str, str]
"""Two variants, of which the first is said to score higher."""


@dataclass(frozen=True)
class Claim:
    """A sentence, the variants it is about, and the pairs it says something on, which may depend on the means."""

    sentence: str
    variants: tuple[str, ...]
    pairs: Callable[[Means], list[Pair]]


def _erda_beats(sentence: str, *others: str) -> Claim:
    return Claim(sentence, (*others, "plain"), lambda means: [("plain", other) for other in others])


def _peaks_and_falls(means: Means) -> list[Pair]:
    peak = max((f"one_hot_top{n}" for n in SELECTED), key=lambda name: means[name])
    return [(peak, "one_hot"), (peak, BASELINE)]


DENSE = (BASELINE, *(f"plain_top{n}" for n in SELECTED), "plain")
ONE_HOTS = (BASELINE, *(f"one_hot_top{n}" for n in SELECTED), "one_hot")

CLAIMS = (
    _erda_beats("ERDA beats supervised-only", BASELINE),
    Claim(
        "ERDA rises with the number of pseudo-labelled points",
        DENSE,
        lambda means: [(later, earlier) for earlier, later in pairwise(DENSE)],
    ),
    _erda_beats("ERDA is best with all points", *DENSE[:-1]),
    Claim("one-hot detached pseudo-labels peak and fall", ONE_HOTS, _peaks_and_falls),
    _erda_beats("ERDA beats one-hot detached pseudo-labels on all points", "one_hot"),
    _erda_beats("ERDA beats entropy regularisation alone", "er_only"),
    _erda_beats("ERDA beats distribution alignment alone", "da_only"),
    _erda_beats("the cross-entropy form is best among the forms", "kl_reverse", "js", "mse"),
    _erda_beats("gradients to both beat gradients to one", "detach_p", "detach_q"),
)


def about(suite: Suite) -> list[Claim]:
    """The claims on which a suite has every variant."""
    names = {variant.name for variant in suite.variants}
    return [claim for claim in CLAIMS if names.issuperset(claim.variants)]


def verdicts(out: Path, suite: Suite, rule: str, seeds: int) -> str:
    """A Markdown table: each claim that the suite is about, the means it compares, and whether it holds.

    A claim holds if the paired mean differences of all its pairs are above 0. The verdict is "within noise" unless the
    confidence intervals say the same: all of them above 0 for a yes, at least one below 0 for a no. Only seeds that all
    variants of a claim have finished count. The peak of the one-hot curve is looked for in the same scores that are
    then compared, which favours a yes.
    """
    found = collect(out, suite, rule, seeds)
    lines = ["| claim | means of mIoU | holds |", "|---|---|---|"]
    for claim in about(suite):
        shared = set(range(seeds)).intersection(*(found.get(name, {}) for name in claim.variants))
        if not shared:
            lines.append(f"| {claim.sentence} | not trained yet | - |")
            continue
        compared = {name: {seed: found[name][seed] for seed in shared} for name in claim.variants}
        means = {name: sum(by_seed.values()) / len(shared) for name, by_seed in compared.items()}
        shown = ", ".join(f"{name} {means[name]:.1f}" for name in claim.variants)
        gaps = [difference(compared, *pair) for pair in claim.pairs(means)]
        lines.append(f"| {claim.sentence} | {shown} | {_verdict([gap for gap in gaps if gap is not None])} |")
    return "\n".join(lines)


def _verdict(gaps: list[Difference]) -> str:
    if all(gap.mean > 0 for gap in gaps):
        return "yes" if all(gap.separated for gap in gaps) else "yes, within noise"
    return "no" if any(gap.mean < 0 and gap.separated for gap in gaps) else "no, within noise"
