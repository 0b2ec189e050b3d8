"""What is watched while a method learns, and never learned from: quality and calibration of pseudo-labels."""

from __future__ import annotations

import torch
from torch import Tensor

from pointseg.methods.base import View, full_precision


@torch.no_grad()
def pseudo_label_statistics(
    pseudo_logits: Tensor, view: View, *, used: Tensor | None = None, logits: Tensor | None = None
) -> dict[str, Tensor]:
    """Scalars over the rows of a view without an annotation.

    Args:
        pseudo_logits: (M, K) of the pseudo-labels p = softmax; any shift of log p will do.
        view: whose rows they are.
        used: (M,) bool, rows whose pseudo-label enters the loss; None = every unannotated row.
        logits: (M, K) of the prediction q on the same rows, if there is one to compare with.

    Returns:
        ``entropy_p``, ``pseudo_label_coverage`` (share of unannotated rows used), ``pseudo_label_accuracy`` (share of
        the used rows of known truth whose most likely class is right), and with ``logits`` also ``entropy_q`` and
        ``kl_p_q``; nats. A value that does not exist is left out.
    """
    rows = view.labels < 0
    if not rows.any():
        return {}
    used = rows if used is None else used & rows
    log_p = full_precision(pseudo_logits)[rows].log_softmax(1)
    p = log_p.exp()
    statistics = {
        "entropy_p": -(p * log_p).sum(1).mean(),
        "pseudo_label_coverage": used.sum() / rows.sum(),
    }
    if logits is not None:
        log_q = full_precision(logits)[rows].log_softmax(1)
        statistics["entropy_q"] = -(log_q.exp() * log_q).sum(1).mean()
        statistics["kl_p_q"] = (p * (log_p - log_q)).sum(1).mean()
    known = (used & (view.truth >= 0))[rows]
    if known.any():
        statistics["pseudo_label_accuracy"] = (log_p.argmax(1) == view.truth[rows])[known].float().mean()
    return statistics
