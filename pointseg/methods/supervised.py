"""Supervised-only: cross-entropy on the annotated rows and nothing else. The baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel


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
        return LossTerms(cross_entropy, {"loss_ce": cross_entropy.detach()})
