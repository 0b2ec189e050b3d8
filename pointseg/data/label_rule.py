"""The rule by which points are annotated: how many, of each class or of the scene, and which.

Source of the rules per class: the released ERDA code (and PSD's before it): per scene and per class, on the
grid-subsampled cloud. The subsampled cloud is here the set of representative points of the voxels, and a point's class
is its own, not its voxel's majority. A rate r takes n_k = max(floor(r N_k), 1) of the N_k representatives of class k,
so every class among them gets at least one; ``Xpt`` takes min(X, N_k).

With ``/scene`` the same numbers are taken of all labelled representatives of the scene at once, whatever their classes
are (SQN's rate is of this kind), so a rare class may get none.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pointseg.errors import InputError

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)%(/scene)?")
_POINTS = re.compile(r"([0-9]+)pt(/scene)?")

_ALL_CLASSES = 0xFFFFFFFF
"""Names the stream of a draw over the whole scene; no class has this number."""


@dataclass(frozen=True)
class Rule:
    """How many points to annotate, of each class in a scene or of the scene as a whole: a share of them, or a number.

    Attributes:
        rate: In (0, 1], exact; None if ``points`` is given.
        points: At least 1; None if ``rate`` is given.
        whole_scene: Counted over all classes at once instead of class by class.
    """

    rate: Fraction | None
    points: int | None
    whole_scene: bool = False

    def number(self, candidates: int) -> int:
        """How many of so many candidates are drawn."""
        if self.points is not None:
            return min(self.points, candidates)
        assert self.rate is not None
        return min(max(int(self.rate * candidates), 1), candidates)

    @property
    def text(self) -> str:
        """The rule in its one spelling: ``0.1%``, ``20pt``, ``0.1%/scene`` or ``200pt/scene``."""
        number = f"{self.points}pt" if self.rate is None else f"{_decimal(self.rate * 100)}%"
        return f"{number}/scene" if self.whole_scene else number

    @property
    def label(self) -> str:
        """The rule as part of a folder's name: ``0.1pct`` or ``200pt_scene``."""
        return self.text.replace("%", "pct").replace("/", "_")


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Args:
        text: A rate such as ``"0.1%"`` or points per class such as ``"20pt"``; either with ``/scene`` behind it.

    Raises:
        InputError: Neither, or out of range.
    """
    allowed = (
        "give a rate above 0% up to 100%, such as '0.1%', or points per class from 1, such as '20pt', and add '/scene' "
        "to count over all classes at once"
    )
    if match := _RATE.fullmatch(text):
        rate = Fraction(match[1]) / 100
        if not 0 < rate <= 1:
            raise InputError(f"the rule {text!r} is out of range; {allowed}")
        return Rule(rate, None, match[2] is not None)
    if match := _POINTS.fullmatch(text):
        if int(match[1]) < 1:
            raise InputError(f"the rule {text!r} draws nothing; {allowed}")
        return Rule(None, int(match[1]), match[2] is not None)
    raise InputError(f"the rule {text!r} is neither a rate nor a number of points; {allowed}")


def draw_points(
    candidates: np.ndarray, label: np.ndarray, rule: Rule, *, seed: int, scene: str
) -> tuple[np.ndarray, np.ndarray]:
    """The draw of one scene, a pure function of its arguments.

    Each (seed, scene, class) has its own stream of raw bits, which NumPy promises never to change, and the candidates
    with the smallest numbers are taken; a rule over the whole scene has one stream for all classes. So a draw depends
    neither on the order of scenes nor on what else is drawn, and a smaller rate of the same seed is a subset of a
    larger one.

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
    groups = (
        {_ALL_CLASSES: np.flatnonzero(label >= 0)}
        if rule.whole_scene
        else {k: np.flatnonzero(label == k) for k in np.unique(label[label >= 0]).tolist()}
    )
    chosen: list[np.ndarray] = []
    for stream, rows in groups.items():
        rows = rows[np.argsort(candidates[rows])]
        bits = np.random.PCG64(np.random.SeedSequence([seed, *words], spawn_key=(stream,))).random_raw(len(rows))
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
