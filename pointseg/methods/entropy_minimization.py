"""Entropy minimisation: predictions on rows without an annotation are pushed to be certain.

Source: Grandvalet and Bengio, "Semi-supervised Learning by Entropy Minimization", NIPS 2004. A distribution q is its
own pseudo-label: the gradient sharpens whatever the network believes, right or wrong. ERDA's term H(p) is the same
regulariser on its pseudo-labels instead of on the predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, full_precision
from pointseg.methods.distributed import global_mean
from pointseg.methods.monitor import prediction_statistics
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.two_views import ramp_up


@dataclass(frozen=True)
class EntropyMinimizationConfig:
    """Settings of entropy minimisation.

    Attributes:
        weight: of the mean entropy in nats. Released for segmentation (SSL4MIS): 0.1 on H / log K, 0.07 here for its
            4 classes; 0.01 (AADNet, points).
        ramp_up: share of the training over which the weight rises, so that the first guesses are not made certain.
            SSL4MIS: all of it.
    """

    weight: float = 0.05
    ramp_up: float = 1.0

    def __post_init__(self) -> None:
        check = SettingChecks("entropy minimisation", self)
        check.at_least(0, "weight")
        check.shares("ramp_up")


class EntropyMinimization(Method):
    """``L = L_ce + weight r(t) mean H(q)`` over the rows without an annotation, r the ramp-up."""

    Config = EntropyMinimizationConfig

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        view = batch.weak
        _, logits = model(view.inputs)
        cross_entropy = self.labelled_loss(logits, view.labels)
        entropy = mean_entropy(logits, view.labels < 0)
        log = {"loss_ce": cross_entropy.detach(), "loss_entropy": entropy.detach()}
        if batch.monitor:
            log |= prediction_statistics(logits, view)
        weight = self.config.weight * ramp_up(batch.progress, self.config.ramp_up)
        return LossTerms(cross_entropy + weight * entropy, log)


def mean_entropy(logits: Tensor, rows: Tensor) -> Tensor:
    """``H(q) = -sum_k q_k log q_k``, averaged over rows, in fp32 and nats; 0 with a gradient if there is no row.

    In several processes it is the mean over the rows of all of them.

    Args:
        logits: (M, K).
        rows: (M,) bool, which take part.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_q = full_precision(logits).log_softmax(1)
        per_row = -(log_q.exp() * log_q).sum(1)
        return global_mean((per_row * rows).sum(), rows.sum())
