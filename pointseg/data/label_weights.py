"""Class weights from the labelled points alone: counting the ground truth's points would use labels nobody gave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pointseg.errors import InputError

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverse": lambda share: 1 / share,
    "sqrt": lambda share: 1 / np.sqrt(share),
    "randla": lambda share: 1 / (share + 0.02),
}
"""Kind of weight -> its formula, a function of the class's share of the labelled points."""


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray:
    """Weights of the classes in a cross-entropy, larger for classes with fewer labels.

    With f_k = n_k / (n_1 + ... + n_K), the class's share of the labelled points, w_k is

    - ``inverse``: 1 / f_k, so every class has the same total weight;
    - ``sqrt``: 1 / sqrt(f_k), half way to that on a logarithmic scale;
    - ``randla``: 1 / (f_k + 0.02), never above 50; RandLA-Net's, kept by the released ERDA code for that network.

    A class without labelled points has weight 0: no term of the loss carries it, and the first two formulas have no
    value there. The weights are not normalised; ``torch.nn.functional.cross_entropy`` divides by their sum over the
    labelled points, so only their ratios matter there.

    Args:
        counts: (K,) labelled points of each class.
        kind: ``"inverse"``, ``"sqrt"`` or ``"randla"``.

    Returns:
        (K,) float64.

    Raises:
        InputError: An unknown kind, or counts that are negative, all zero or not (K,).
    """
    if kind not in KINDS:
        raise InputError(f"there are no class weights of kind {kind!r}; use one of {', '.join(KINDS)}")
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not (counts >= 0).all() or not 0 < counts.sum() < np.inf:
        raise InputError(
            f"class weights of the counts {counts.tolist()} do not exist; give the number of labelled points of each "
            "class, at least one of them above 0"
        )
    there = counts > 0
    weights = np.zeros(len(counts))
    weights[there] = KINDS[kind](counts[there] / counts.sum())
    return weights
