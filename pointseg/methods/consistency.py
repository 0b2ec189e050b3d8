"""Consistency: one network, two views of every scene, and a penalty where its two predictions differ.

This is the two-stream baseline of CPCM (Liu et al., ICCV 2023, "consistency" in its tables): Jensen-Shannon form,
gradients into both streams, every corresponding point. CPCM also learns the annotated points of its second stream;
here, as in all methods, they are learned from the weak view alone. With two views augmented alike and ``mse`` it is
the Pi model (Laine and Aila, ICLR 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, View
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.two_views import DISTANCES, paired_divergence, paired_statistics, ramp_up, strong_forward


@dataclass(frozen=True)
class ConsistencyConfig:
    """Settings of consistency training; the defaults are those of CPCM's released baseline at 0.1 % of the labels.

    Attributes:
        weight: of the consistency term. CPCM's scripts: 1 at 0.1 % of the labels, 5 at 0.01 %.
        divergence: ``js``, ``mse`` or ``kl`` between the two softmaxes; see ``pointseg.methods.two_views``.
        stop_gradient: the weak view's prediction is a constant target.
        ramp_up: share of the training over which the weight rises. CPCM: 5 of 180 epochs.
    """

    weight: float = 1.0
    divergence: str = "js"
    stop_gradient: bool = False
    ramp_up: float = 0.03

    def __post_init__(self) -> None:
        check = SettingChecks("consistency", self)
        check.at_least(0, "weight")
        check.one_of(DISTANCES, "divergence")
        check.shares("ramp_up")


class Consistency(Method):
    """``L = L_ce + weight r(t) mean D(p_weak, q_strong)`` with D a divergence and r the ramp-up."""

    Config = ConsistencyConfig

    @property
    def needs_strong_view(self) -> bool:
        return True

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak, strong, weak_row = batch.pair()
        _, weak_logits = model(weak.inputs)
        _, logits = strong_forward(model, strong.inputs)
        cross_entropy = self.labelled_loss(weak_logits, weak.labels)
        target = weak_logits.detach() if self.config.stop_gradient else weak_logits
        consistency = paired_divergence(DISTANCES[self.config.divergence], target, logits, weak_row)
        log = {"loss_ce": cross_entropy.detach(), "loss_consistency": consistency.detach()}
        if batch.monitor:
            counts = self.label_counts
            log |= paired_statistics(
                weak_logits, strong, weak_row, logits, weak=weak, weak_logits=weak_logits, label_counts=counts
            )
        weight = self.config.weight * ramp_up(batch.progress, self.config.ramp_up)
        return LossTerms(cross_entropy + weight * consistency, log)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        """The weak view's prediction, which the strong view's is drawn to."""
        _, logits = model(view.inputs)
        return logits
