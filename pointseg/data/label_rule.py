"""The rule by which points are annotated: how many of each class, and which.

Source: the released ERDA code (and PSD's before it): per scene and per class, on the grid-subsampled cloud. The
subsampled cloud is here the set of representative points of the voxels, and a point's class is its own, not its voxel's
majority. A rate r takes n_k = max(floor(r N_k), 1) of the N_k representatives of class k, so every class among them
gets at least one; ``Xpt`` takes min(X, N_k).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pointseg.errors import InputError

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_POINTS = re.compile(r"([0-9]+)pt")


@dataclass(frozen=True)
class Rule:
    """How many points of a class to annotate in a scene: a share of them, or a number.

    Attributes:
        rate: In (0, 1], exact; None if ``points`` is given.
        points: At least 1; None if ``rate`` is given.
    """

    rate: Fraction | None
    points: int | None

    def number(self, candidates: int) -> int:
        """How many of so many candidates are drawn."""
        if self.points is not None:
            return min(self.points, candidates)
        assert self.rate is not None
        return min(max(int(self.rate * candidates), 1), candidates)

    @property
    def text(self) -> str:
        """The rule in its one spelling: ``0.1%`` or ``20pt``."""
        return f"{self.points}pt" if self.rate is None else f"{_decimal(self.rate * 100)}%"

    @property
    def label(self) -> str:
        """The rule as part of a folder's name: ``0.1pct`` or ``20pt``."""
        return self.text.replace("%", "pct")


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Args:
        text: A rate such as ``"0.1%"`` or points per class such as ``"20pt"``.

    Raises:
        InputError: Neither, or out of range.
    """
    allowed = "give a rate above 0% up to 100%, such as '0.1%', or points per class from 1, such as '20pt'"
    if match := _RATE.fullmatch(text):
        rate = Fraction(match[1]) / 100
        if not 0 < rate <= 1:
            raise InputError(f"the rule {text!r} is out of range; {allowed}")
        return Rule(rate, None)
    if match := _POINTS.fullmatch(text):
        if int(match[1]) < 1:
            raise InputError(f"the rule {text!r} draws nothing; {allowed}")
        return Rule(None, int(match[1]))
    raise InputError(f"the rule {text!r} is neither a rate nor a number of points; {allowed}")


def draw_points(
    candidates: np.ndarray, label: np.ndarray, rule: Rule, *, seed: int, scene: str
) -> tuple[np.ndarray, np.ndarray]:
    """The draw of one scene, a pure function of its arguments.

    Each (seed, scene, class) has its own stream of raw bits, which NumPy promises never to change, and the candidates
    with the smallest numbers are taken. So a draw depends neither on the order of scenes nor on what else is drawn, and
    a smaller rate of the same seed is a subset of a larger one.

    Args:
        candidates: (M,) raw indices of the representative points.
        label: (M,) their classes; -1 is never drawn.
        rule: How many.
        seed: Not negative.
        scene: ``<split>/<scene>``.

    Returns:
        index (L,) int64, rising, and label (L,) int64.
    """
    words = np.frombuffer(hashlib.sha256(scene.encode()).digest(), dtype="<u4").tolist()
    chosen: list[np.ndarray] = []
    for k in np.unique(label[label >= 0]).tolist():
        rows = np.flatnonzero(label == k)
        rows = rows[np.argsort(candidates[rows])]
        bits = np.random.PCG64(np.random.SeedSequence([seed, *words], spawn_key=(k,))).random_raw(len(rows))
        chosen.append(rows[np.argsort(bits, kind="stable")[: rule.number(len(rows))]])
    rows = np.concatenate([*chosen, np.empty(0, np.int64)])
    rows = rows[np.argsort(candidates[rows])]
    return candidates[rows].astype(np.int64), label[rows].astype(np.int64)


def _decimal(value: Fraction) -> str:
    """A percentage without trailing zeros; exact, because it was read from decimal text."""
    digits = len(str(value.denominator)) + 1
    while value * 10**digits != int(value * 10**digits):
        digits += 1
    text = f"{int(value * 10**digits):0{digits + 1}d}"
    return f"{text[:-digits]}.{text[-digits:]}".rstrip("0").rstrip(".")
