"""What methods that hold two predictions of the same points against each other share.

Rows of the strong view find their prediction in the weak view through ``weak_row``; a divergence compares the two
distributions; a ramp lets the comparison in once the network predicts something.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pointseg.methods.base import SegmentationModel, View, full_precision
from pointseg.methods.distributed import global_mean
from pointseg.methods.divergence import js_divergence, kl_divergence
from pointseg.methods.monitor import accuracy_on_annotated, pseudo_label_statistics


def ramp_up(progress: float, share: float) -> float:
    """``exp(-5 (1 - t)^2)`` with t = ``progress / share`` up to 1: from 0.0067 to 1 over a share of the training.

    Source: Laine and Aila (ICLR 2017), as Mean Teacher and CPCM use it.

    Args:
        progress: share of the training done, 0 to 1.
        share: of the training, after which the ramp is at 1; 0 = at once.
    """
    return 1.0 if progress >= share else math.exp(-5 * (1 - progress / share) ** 2)


def strong_forward(model: SegmentationModel, inputs: Any) -> tuple[Tensor, Tensor]:
    """Features and logits of the strong view, which leaves the running statistics of batch norm as they are."""
    with running_statistics_kept(model):
        return model(inputs)


@contextmanager
def running_statistics_kept(model: SegmentationModel | nn.Module) -> Iterator[None]:
    """While the block runs, batch norm normalises as it would, and its running statistics stay as they are.

    Scored networks, and teachers in evaluation mode, normalise with running statistics. Those of the weak view fit what
    they will see; heavily changed clouds would pull them away, in the methods of two views only.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    norms = [m for m in modules if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    # Without a momentum the statistics are plain means, over as many batches as have been counted.
    tracked = [norm.num_batches_tracked for norm in norms if norm.momentum is None]
    counted = [(count, count.clone()) for count in tracked if count is not None]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, before in counted:
            count.copy_(before)


def to_strong_rows(weak: Tensor, weak_row: Tensor) -> Tensor:
    """Rows (M_weak, K) of the weak view, brought to the strong view's rows (M, K).

    A strong row without a counterpart gets some row; leave it out by ``weak_row >= 0``.
    """
    # Indexing would give the same rows, but its gradient on a CPU adds rows taken thrice in the order of the threads.
    return F.embedding(weak_row.clamp(min=0), weak)


def mse(target: Tensor, logits: Tensor) -> Tensor:
    """``sum_k (p_k - q_k)^2 / K`` of each row: (M, K), (M, K) -> (M,). The mean over classes is Mean Teacher's."""
    return (target.softmax(1) - logits.softmax(1)).square().mean(1)


def kl(target: Tensor, logits: Tensor) -> Tensor:
    """``KL(p || q)`` of each row, p = softmax(target) and q = softmax(logits): (M, K), (M, K) -> (M,), nats."""
    log_p = target.log_softmax(1)
    return kl_divergence(log_p.exp(), log_p, logits.log_softmax(1))


def js(target: Tensor, logits: Tensor) -> Tensor:
    """``KL(p || m) + KL(q || m)`` with m = (p + q) / 2 of each row: (M, K), (M, K) -> (M,), nats.

    Twice the Jensen-Shannon divergence: CPCM's form, without the usual half, so that its published weights apply.
    """
    log_p = target.log_softmax(1)
    return js_divergence(log_p.exp(), log_p, logits.log_softmax(1))


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "kl": kl, "js": js}


def paired_divergence(
    divergence: Callable[[Tensor, Tensor], Tensor], target: Tensor, logits: Tensor, weak_row: Tensor
) -> Tensor:
    """Mean divergence over the strong rows that have a counterpart, in fp32; 0 with a gradient if none has.

    Annotated rows are compared too, as Mean Teacher and CPCM do. In several processes it is the mean over the rows of
    all of them. Gradients reach both sides; detach ``target`` to stop them there.

    Args:
        divergence: of each row, (M, K), (M, K) -> (M,), from fp32 logits: one of ``DISTANCES``, say.
        target: (M_weak, K) logits of p, on the weak view's rows.
        logits: (M, K) logits of q, on the strong view's rows.
        weak_row: (M,) int64, as in ``Batch``.
    """
    with torch.autocast(logits.device.type, enabled=False):
        per_row = divergence(to_strong_rows(full_precision(target), weak_row), full_precision(logits))
        found = weak_row >= 0
        return global_mean((per_row * found).sum(), found.sum())


@torch.no_grad()
def paired_statistics(
    target: Tensor,
    strong: View,
    weak_row: Tensor,
    logits: Tensor,
    *,
    weak: View,
    weak_logits: Tensor,
    used: Tensor | None = None,
    label_counts: Tensor | None = None,
) -> dict[str, Tensor]:
    """``pseudo_label_statistics`` of the strong rows that have a counterpart, and ``share_paired``, their share.

    Annotations are learned on the weak view, so what is over annotated rows is of that view.

    Args:
        target: (M_weak, K) logits of the pseudo-labels, on the weak view's rows.
        strong: the strong view, M rows.
        weak_row: (M,) int64, as in ``Batch``.
        logits: (M, K) of the prediction on the strong view.
        weak: the weak view.
        weak_logits: (M_weak, K) of the prediction on it.
        used: (M,) bool, rows whose pseudo-label enters the loss; None = all that have a counterpart.
        label_counts: (K,) annotated points of each class in the training set, for ``prior_kl``.
    """
    found = weak_row >= 0
    rows = ("labels", "batch_index", "coord", "row_id", "truth")
    view = dataclasses.replace(strong, inputs=None, **{name: getattr(strong, name)[found] for name in rows})
    used = None if used is None else used[found]
    paired = target[weak_row[found]]
    statistics = pseudo_label_statistics(paired, view, used=used, logits=logits[found], label_counts=label_counts)
    statistics |= accuracy_on_annotated(weak, {"p": target, "q": weak_logits})
    return statistics | {"share_paired": found.sum() / max(len(found), 1)}
