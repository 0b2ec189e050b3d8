"""Supervised-only: cross-entropy on the annotated rows and nothing else. The baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel
from pointseg.methods.monitor import prediction_statistics


@dataclass(frozen=True)
class SupervisedConfig:
    """Supervised-only has no settings of its own."""


class Supervised(Method):
    """``L = mean over annotated rows of CE(y, z)``, weighted by class where the task says so."""

    Config = SupervisedConfig
    needs_unannotated = False

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        _, logits = model(batch.weak.inputs)
        cross_entropy = self.labelled_loss(logits, batch.weak.labels)
        log = {"loss_ce": cross_entropy.detach()}
        if batch.monitor:
            log |= prediction_statistics(logits, batch.weak)
        return LossTerms(cross_entropy, log)
