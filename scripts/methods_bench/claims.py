"""The qualitative claims of the ERDA paper, each checked on the finished cells of the suite ``claims``.

Source: Tang et al., NeurIPS 2023: pseudo-labels for all points against selected ones, one-hot pseudo-labels as the
existing practice, entropy regularisation and distribution alignment apart, other divergences, gradients to one side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from methods_bench.cells import BASELINE, SELECTED, Suite
from methods_bench.tables import collect, difference

Means = dict[str, float]


@dataclass(frozen=True)
class Claim:
    """A sentence, the variants it is about, and whether their mean scores agree with it."""

    sentence: str
    variants: tuple[str, ...]
    holds: Callable[[Means], bool]


def _rising(means: Means, names: tuple[str, ...]) -> bool:
    values = [means[name] for name in names]
    return all(later >= earlier for earlier, later in pairwise(values))


def _beats(*others: str) -> Callable[[Means], bool]:
    return lambda means: all(means["erda"] > means[other] for other in others)


def _peaks_and_falls(means: Means) -> bool:
    selected = [means[f"one_hot_top{n}"] for n in SELECTED]
    return max(selected) > max(means["one_hot"], means[BASELINE])


DENSE = (BASELINE, *(f"erda_top{n}" for n in SELECTED), "erda")
ONE_HOT = (BASELINE, *(f"one_hot_top{n}" for n in SELECTED), "one_hot")

CLAIMS = (
    Claim("ERDA beats supervised-only", (BASELINE, "erda"), _beats(BASELINE)),
    Claim("ERDA rises with the number of pseudo-labelled points", DENSE, lambda means: _rising(means, DENSE)),
    Claim("ERDA is best with all points", DENSE, _beats(*DENSE[:-1])),
    Claim("one-hot detached pseudo-labels peak and fall", ONE_HOT, _peaks_and_falls),
    Claim("ERDA beats one-hot detached pseudo-labels on all points", ("one_hot", "erda"), _beats("one_hot")),
    Claim("ERDA beats entropy regularisation alone", ("er_only", "erda"), _beats("er_only")),
    Claim("ERDA beats distribution alignment alone", ("da_only", "erda"), _beats("da_only")),
    Claim(
        "the cross-entropy form is best among the forms",
        ("kl_reverse", "js", "mse", "erda"),
        _beats("kl_reverse", "js", "mse"),
    ),
    Claim("gradients to both beat gradients to one", ("detach_p", "detach_q", "erda"), _beats("detach_p", "detach_q")),
)


def verdicts(out: Path, suite: Suite, rule: str, seeds: int) -> str:
    """A Markdown table: claim, the means it compares, the paired differences to ERDA, and whether it holds.

    A claim holds if the means agree with it; it is marked "within noise" unless the confidence intervals of all paired
    differences that it needs leave out 0.
    """
    found = collect(out, suite, rule, seeds)
    lines = ["| claim | means of mIoU | holds |", "|---|---|---|"]
    for claim in CLAIMS:
        if any(name not in found for name in claim.variants):
            lines.append(f"| {claim.sentence} | not trained yet | - |")
            continue
        means = {name: sum(found[name].values()) / len(found[name]) for name in claim.variants}
        shown = ", ".join(f"{name} {means[name]:.1f}" for name in claim.variants)
        lines.append(f"| {claim.sentence} | {shown} | {_verdict(claim, means, found)} |")
    return "\n".join(lines)


def _verdict(claim: Claim, means: Means, found: dict[str, dict[int, float]]) -> str:
    gaps = [difference(found, later, earlier) for earlier, later in pairwise(claim.variants)]
    clear = all(gap is not None and gap.separated for gap in gaps)
    return ("yes" if claim.holds(means) else "no") + ("" if clear else ", within noise")
