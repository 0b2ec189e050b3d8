"""What is watched while a method learns, and never learned from: pseudo-labels p and predictions q.

Everything is over the rows of a view without an annotation unless its name says ``annotated``, in all processes
together; each of these must make the same calls. Hidden truth enters the numbers that say so (accuracy, precision, ECE;
not those ``annotated``) and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointseg.methods.base import View, full_precision
from pointseg.methods.calibration import expected_calibration_error
from pointseg.methods.distributed import all_reduce_sum


@torch.no_grad()
def pseudo_label_statistics(
    pseudo_logits: Tensor,
    view: View,
    *,
    used: Tensor | None = None,
    logits: Tensor | None = None,
    label_counts: Tensor | None = None,
) -> dict[str, Tensor]:
    """Scalars on the pseudo-labels of a view, and on the predictions if there are some to compare with.

    Args:
        pseudo_logits: (M, K) of the pseudo-labels p = softmax; any shift of log p will do.
        view: whose rows they are.
        used: (M,) bool, rows whose pseudo-label enters the loss; None = every unannotated row.
        logits: (M, K) of the prediction q on the same rows.
        label_counts: (K,) annotated points of each class in the training set, for ``prior_kl``.

    Returns:
        A value that does not exist is left out. Nats, shares of 1, or classes:

        - of p: ``entropy_p``, ``accuracy_p``, ``ece_p``, ``largest_share_p``, ``classes_predicted_p``, and
          ``classes_labelled``, as ``prediction_statistics`` has them of q;
        - ``pseudo_label_coverage``: share of the unannotated rows used;
        - ``pseudo_label_accuracy``: share of the used rows of known truth whose most likely class is right;
        - ``pseudo_label_precision``: the same for each class that p names, averaged over these classes;
        - ``accuracy_p_annotated``: share of the annotated rows whose most likely class is the annotated one; with
          ``logits`` also ``accuracy_q_annotated``. Predictions have learned these very rows;
        - with ``logits`` all of ``prediction_statistics``, and ``kl_p_q``, the mean KL(p || q);
        - with ``label_counts``: ``prior_kl``, KL(mean p || prior). The prior is the share of a class among the
          annotated points, each class counted once more than it is so that one without a point stays finite. A draw
          of as many points from every class makes it flat, and the value is far from 0 for a perfect p too.
    """
    rows = view.labels < 0
    num_classes = pseudo_logits.shape[1]
    log_p = full_precision(pseudo_logits)[rows].log_softmax(1)
    p, top, truth = log_p.exp(), log_p.argmax(1), view.truth[rows]
    chosen = torch.ones_like(top, dtype=torch.bool) if used is None else used[rows]
    known = chosen & (truth >= 0)
    statistics = _distribution_statistics(log_p, truth, "p") | _classes_labelled(view, num_classes)
    statistics |= accuracy_on_annotated(
        view, {"p": pseudo_logits} if logits is None else {"p": pseudo_logits, "q": logits}
    )
    divergence = p.new_zeros(1)
    if logits is not None:
        log_q = full_precision(logits)[rows].log_softmax(1)
        statistics |= _distribution_statistics(log_q, truth, "q")
        divergence = torch.where(p > 0, p * (log_p - log_q), 0).sum()
    count, taken, mass, divergence, named, right = _summed(
        p.new_tensor([len(p)]),
        chosen.sum(),
        p.sum(0),
        divergence,
        top[known].bincount(minlength=num_classes),
        top[known & (top == truth)].bincount(minlength=num_classes),
    )
    if count == 0:
        return {}
    statistics["pseudo_label_coverage"] = (taken / count).squeeze()
    if named.any():
        statistics["pseudo_label_accuracy"] = right.sum() / named.sum()
        statistics["pseudo_label_precision"] = (right / named)[named > 0].mean()
    if logits is not None:
        statistics["kl_p_q"] = (divergence / count).squeeze()
    if label_counts is not None:
        statistics["prior_kl"] = _divergence_from_prior(mass / count, label_counts)
    return statistics


@torch.no_grad()
def prediction_statistics(logits: Tensor, view: View) -> dict[str, Tensor]:
    """Scalars on the predictions of a view, for methods without pseudo-labels.

    Args:
        logits: (M, K) of the prediction q.
        view: whose rows they are.

    Returns:
        ``entropy_q`` (mean, nats); ``accuracy_q`` and ``ece_q`` (expected calibration error in 15 bins), on rows of
        known truth; ``largest_share_q``, the share of rows whose most likely class is the one most frequent so;
        ``classes_predicted_q``, how many classes are most likely somewhere; ``classes_labelled``, how many have an
        annotated row in this view; ``accuracy_q_annotated``, the share of the annotated rows whose most likely class is
        theirs, which tells whether the labels are learned by heart. Empty if every row is annotated.
    """
    rows = view.labels < 0
    log_q = full_precision(logits)[rows].log_softmax(1)
    statistics = _distribution_statistics(log_q, view.truth[rows], "q")
    of_annotated = _classes_labelled(view, logits.shape[1]) | accuracy_on_annotated(view, {"q": logits})
    return statistics | of_annotated if statistics else {}


def _distribution_statistics(log_q: Tensor, truth: Tensor, letter: str) -> dict[str, Tensor]:
    """What is told of p and of q alike; ``log_q`` (M, K), ``truth`` (M,) of the unannotated rows."""
    q = log_q.exp()
    confidence, top = q.max(1)
    known = truth >= 0
    hit = (top == truth)[known]
    error = expected_calibration_error(confidence[known], hit)
    count, entropy, votes, hits, judged = _summed(
        q.new_tensor([len(q)]),
        torch.special.xlogy(q, q).sum().neg(),
        top.bincount(minlength=q.shape[1]),
        hit.sum(),
        known.sum(),
    )
    if count == 0:
        return {}
    statistics = {
        f"entropy_{letter}": (entropy / count).squeeze(),
        f"largest_share_{letter}": votes.max() / count.squeeze(),
        f"classes_predicted_{letter}": (votes > 0).sum(),
    }
    if judged > 0:
        statistics |= {f"accuracy_{letter}": (hits / judged).squeeze(), f"ece_{letter}": error}
    return statistics


def _classes_labelled(view: View, num_classes: int) -> dict[str, Tensor]:
    """How many classes have an annotated row: in a class-poor scene few, and few are to be predicted then."""
    present = all_reduce_sum(view.labels[view.labels >= 0].bincount(minlength=num_classes))
    return {"classes_labelled": (present > 0).sum()}


def accuracy_on_annotated(view: View, logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shares of the annotated rows whose most likely class is the annotated one: ``accuracy_p_annotated`` and so on.

    Args:
        view: whose rows they are.
        logits: (M, K) by letter.

    Returns:
        Empty if no row is annotated in any process.
    """
    rows = view.labels >= 0
    hits = [(scores[rows].argmax(1) == view.labels[rows]).sum() for scores in logits.values()]
    count, *hits = _summed(rows.sum(), *hits)
    if count == 0:
        return {}
    return {f"accuracy_{letter}_annotated": (hit / count).squeeze() for letter, hit in zip(logits, hits, strict=True)}


def _divergence_from_prior(mean_p: Tensor, label_counts: Tensor) -> Tensor:
    prior = (label_counts + 1).to(mean_p.dtype)
    return (torch.special.xlogy(mean_p, mean_p) - mean_p * (prior / prior.sum()).log()).sum()


def _summed(*parts: Tensor) -> list[Tensor]:
    """Scalars and vectors, each summed over all processes, in one call and in the first one's dtype."""
    flat = torch.cat([part.reshape(-1).to(parts[0].dtype) for part in parts])
    return list(all_reduce_sum(flat).split([part.numel() for part in parts]))
