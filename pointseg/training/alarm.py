"""The collapse alarm: one sentence when the recorded curves of a run say that a method is collapsing.

It sees what training itself may see: pseudo-labels, predictions, prototypes and the annotated points. Hidden truth
(accuracy, calibration) is for people to look at and plays no part here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

PATIENCE = 8
"""Recorded steps in a row that must show a sign. One scene that really is nearly all wall stands between others."""

PATIENCE_SHARE = 0.05
"""Share of the training that they must span too: a network that learns for 1e5 steps predicts only the most frequent
classes at first, for longer than 8 records, and that is no collapse."""

STARVED = 0.1
"""All classes but the largest together hold less than this share of what their annotated points would give them. Labels
drawn evenly from the classes overstate the small ones, but not by so much: 12 of 13 classes get 0.92 of such labels,
and still more than half of the points of a room are not of its most frequent class."""

FEW_CLASSES = 1 / 3
"""Fewer predicted classes than this share of those annotated in the same batch. Missing the rarer half of the classes
is usual with few labels; missing two thirds of them is not. Up to three annotated classes this is never reached."""

PARALLEL = 0.95
"""Cosine over the pairs of prototypes: the mean, or the root mean square, which also sees prototypes that point in two
opposite directions and tell two groups of classes apart but no more. At 0.95 prototypes are 18 degrees apart, so the
cosines of a row with two of them differ by at most 2 sin(9 deg) = 0.31: without a temperature no pseudo-label has one
of these classes 1.4 times as likely as another, whatever the row. The largest cosine says less: on procedural rooms one
pair of classes stays at 0.99 in a training that goes well, while the mean falls from 0.8 to 0."""

PROTOTYPE_COSINES = ("prototype_cosine_mean", "prototype_cosine_rms")

FLAT = 3.0
FLAT_SHARE = 1 / 4
"""Dimensions that the prototypes of n classes spread over: fewer than 3, and fewer than a quarter of the n - 1 they
could. Around a circle 13 directions are 28 degrees apart, and without a temperature no pseudo-label has its class more
than 1.13 times as likely as the next. Procedural rooms of 13 classes: 1.5 to 2.4 where pseudo-labels know much less
than predictions, 4.2 and more where they know nearly as much; the cosines over pairs, 0.5 to 0.8, are alike in both, as
they also hold what all prototypes have in common. Up to 9 classes have room enough in a plane."""

BEHIND = 3 / 4
CERTAIN = 3
"""Pseudo-labels are right on a smaller part than this of the annotated points that predictions are right on, means over
``PATIENCE`` records, and the mean difference is this many of its standard errors above 0: a record has few annotated
points, so one alone says nothing. Predictions have learned these points, pseudo-labels are made of them, and both know
them by heart late in a long training; hence a part, and not just any difference. Procedural rooms: 0.5 to 0.7 where
prototypes lie in a plane, 0.8 and more where they do not."""

NAMES = {"p": "pseudo-labels", "q": "predictions"}


@dataclass(frozen=True)
class Alarm:
    """One warning: its ``kind``, the number of ``step`` s done, and one sentence."""

    kind: str
    step: int
    text: str


class CollapseAlarm:
    """Reads the recorded training scalars of a run, in their order, and warns once of each kind.

    What it says is a function of these records alone. A resumed run feeds it the lines already in ``metrics.jsonl``
    and drops what it answers: every warning stands there already.

    Kinds: ``one_class_p`` and ``one_class_q`` (nearly all pseudo-labels or predictions are of one class, and the
    annotated points are not), ``few_classes_p`` and ``few_classes_q`` (most of the classes annotated in the same batch
    are predicted nowhere), ``parallel_prototypes`` (the class prototypes lie nearly on one line), ``flat_prototypes``
    (those of many classes nearly in one plane), ``pseudo_labels_behind`` (on annotated points they are right much less
    often than predictions). The first two will be wrong where the training scenes really are nearly
    all of one class and labels were drawn evenly from the classes.

    ``prior_kl`` plays no part: how far the mean pseudo-label of a healthy training is from the shares among the
    annotated points depends on how these were drawn.

    Args:
        label_counts: (K,) annotated points of each class in the training set.
        steps: of the whole training.
    """

    def __init__(self, label_counts: Sequence[int], steps: int) -> None:
        self.largest_label_share = max(label_counts) / max(sum(label_counts), 1)
        self.steps = steps
        self.streaks: dict[str, tuple[int, int]] = {}
        self.said: set[str] = set()
        self.accuracies: deque[tuple[float, float]] = deque(maxlen=PATIENCE)

    def observe(self, step: int, scalars: Mapping[str, float]) -> list[Alarm]:
        """Take in one record.

        A kind whose scalars are missing in this record is left as it was.

        Args:
            step: number of steps done.
            scalars: the record, by name.

        Returns:
            The warnings that are due now, each for the first time; mostly none.
        """
        alarms = []
        for kind, text in self._signs(scalars).items():
            if text is None:
                self.streaks.pop(kind, None)
                continue
            first, length = self.streaks.get(kind, (step, 0))
            self.streaks[kind] = (first, length + 1)
            due = length + 1 >= PATIENCE and step - first >= PATIENCE_SHARE * self.steps
            if due and kind not in self.said:
                self.said.add(kind)
                alarms.append(Alarm(kind, step, f"at step {step}, as in the {length} records before, {text}"))
        return alarms

    def _signs(self, scalars: Mapping[str, float]) -> dict[str, str | None]:
        """By kind, for the kinds this record can tell: what is wrong in words, or None where nothing is."""
        signs: dict[str, str | None] = {}
        for letter in NAMES:
            if f"largest_share_{letter}" in scalars:
                signs[f"one_class_{letter}"] = self._one_class(scalars[f"largest_share_{letter}"], letter)
            if f"classes_predicted_{letter}" in scalars and "classes_labelled" in scalars:
                predicted, labelled = scalars[f"classes_predicted_{letter}"], scalars["classes_labelled"]
                signs[f"few_classes_{letter}"] = _few_classes(predicted, labelled, letter)
        cosines = [scalars[name] for name in PROTOTYPE_COSINES if name in scalars]
        if cosines:
            signs["parallel_prototypes"] = _parallel(max(cosines))
        if "prototype_rank" in scalars and "prototype_classes" in scalars:
            signs["flat_prototypes"] = _flat(scalars["prototype_rank"], scalars["prototype_classes"])
        if "accuracy_p_annotated" in scalars and "accuracy_q_annotated" in scalars:
            self.accuracies.append((scalars["accuracy_p_annotated"], scalars["accuracy_q_annotated"]))
            signs["pseudo_labels_behind"] = _behind(self.accuracies)
        return signs

    def _one_class(self, share: float, letter: str) -> str | None:
        if 1 - share >= STARVED * (1 - self.largest_label_share):
            return None
        return (
            f"{share:.1%} of the {NAMES[letter]} were of one class, though no class has more than "
            f"{self.largest_label_share:.0%} of the annotated points; a lower weight of the method's own loss or "
            "loss.class_weights usually helps"
        )


def _few_classes(predicted: float, labelled: float, letter: str) -> str | None:
    if predicted >= FEW_CLASSES * labelled:
        return None
    return (
        f"the {NAMES[letter]} named only {predicted:.0f} classes while {labelled:.0f} are annotated in the same batch; "
        "loss.class_weights, a lower weight of the method's own loss or a lower optimizer.lr usually helps"
    )


def _parallel(cosine: float) -> str | None:
    if cosine <= PARALLEL:
        return None
    return (
        f"the class prototypes lay nearly on one line (cosine {cosine:.3f} over their pairs), so that pseudo-labels "
        "hardly tell one class from another; a lower weight of the method's own loss or a lower optimizer.lr usually "
        "helps"
    )


def _flat(rank: float, classes: float) -> str | None:
    if rank >= min(FLAT, FLAT_SHARE * (classes - 1)):
        return None
    return (
        f"the prototypes of {classes:.0f} classes spread over {rank:.1f} dimensions, too few for pseudo-labels to tell "
        "so many classes apart; method.projection false with a method.temperature of 0.1 usually helps them"
    )


def _behind(accuracies: Iterable[tuple[float, float]]) -> str | None:
    pairs = list(accuracies)
    if len(pairs) < PATIENCE:
        return None
    p, q = (fmean(values) for values in zip(*pairs, strict=True))
    differences = [of_q - of_p for of_p, of_q in pairs]
    if p >= BEHIND * q or q - p <= CERTAIN * stdev(differences) / math.sqrt(len(pairs)):
        return None
    return (
        f"the pseudo-labels were right on {p:.0%} of the annotated points, the predictions on {q:.0%}, so the network "
        "learns from less than it knows; a lower weight of the method's own loss usually helps, and for ERDA "
        "method.projection false with a method.temperature of 0.1"
    )
