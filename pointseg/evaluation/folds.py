"""Cross-validation: every part of a data set is scored by the run that held it out (S3DIS: 6 runs, an area each)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pointseg.errors import InputError


@dataclass(frozen=True)
class Fold:
    """The splits of one run.

    Attributes:
        held_out: scored.
        trained_on: trained on; empty = all others.
    """

    held_out: Sequence[str]
    trained_on: Sequence[str]


def check_folds(folds: Mapping[str, Fold], splits: Sequence[str]) -> None:
    """Refuse folds that do not hold out every split exactly once.

    Args:
        folds: by the run's name.
        splits: all splits of the data.

    Raises:
        InputError: a run holds out nothing, trained on what it scores, or a split is held out twice or by none.
    """
    taken: dict[str, str] = {}
    for run, fold in folds.items():
        if not fold.held_out:
            raise InputError(f"{run} holds out no split; every fold must hold out its own with data.eval_splits")
        if seen := sorted(set(fold.held_out) & set(fold.trained_on)):
            raise InputError(f"{run} was trained on {seen[0]}, which it holds out; train it again without that split")
        for split in fold.held_out:
            if split in taken:
                raise InputError(f"{split} is held out by {taken[split]} and by {run}; give one run for each split")
            taken[split] = run
    if missing := [split for split in splits if split not in taken]:
        raise InputError(f"no run holds out {', '.join(missing)}; add a run for each split of the data")
