"""ERDA: entropy regularisation and distribution alignment of dense prototypical pseudo-labels.

Source: Tang et al., "All Points Matter: Entropy-Regularized Distribution Alignment for Weakly-supervised 3D
Segmentation", NeurIPS 2023. With p the pseudo-label distribution and q the prediction,

    L = L_ce + alpha L_p,   L_p = lambda H(p) + KL(p || q) = H(p, q) - (1 - lambda) H(p)

Both p and q receive gradients; p is not thresholded, sharpened or detached. Every departure from that is a setting of
its own, for ablations: see ``ErdaConfig``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.methods.base import (
    Batch,
    FeatureSpace,
    LossTerms,
    Method,
    SegmentationModel,
    Task,
    View,
    full_precision,
    require_class_ids,
)
from pointseg.methods.distributed import global_mean
from pointseg.methods.divergence import DIVERGENCES, erda_loss
from pointseg.methods.monitor import pseudo_label_statistics
from pointseg.methods.prototype_watch import PrototypeWatch, effective_rank, pairwise_cosine
from pointseg.methods.prototypes import ProjectionHead, Prototypes, SubPrototypes
from pointseg.methods.selection import most_confident
from pointseg.methods.setting_checks import SettingChecks

UNSEEN = ("mask", "zero")
INITIAL = ("zeros", "random")


@dataclass(frozen=True)
class ErdaConfig:
    """Settings of prototypical ERDA; the defaults are those of the released weakly supervised configurations.

    The five of them part in ``weight``, whose default is RandLA-Net's, in ``initial`` (SensatUrban's alone), and in
    when prototypes move: before p is computed, as here, or only after the step (Point Transformer on S3DIS and
    CloserLook3D on ScanNet).

    The arms of the published comparisons: *ER only* ``form: none``; *DA only* ``entropy_weight: 0``; *one-hot
    pseudo-labels, no gradient to p* ``hard: true``, with the same ``top_n`` as the ERDA arm beside it.

    Attributes:
        weight: alpha, the weight of L_p. Released: 0.1 (RandLA-Net, whose cross-entropy is weighted by class) and 0.01
            (CloserLook3D, Point Transformer, with plain cross-entropy).
        entropy_weight: lambda, the weight of H(p) inside L_p.
        form: D of L_p = lambda H(p) + D(p, q): ``kl``, ``kl_reverse``, ``js``, ``mse`` or ``none``; see
            ``pointseg.methods.divergence``.
        detach_p: no gradient reaches the pseudo-labels. Nothing trains the projection then: it stays as initialised.
        detach_q: no gradient of L_p reaches the prediction.
        hard: the pseudo-label is the one-hot most likely class of p, which carries no gradient (as ``detach_p``).
        temperature: tau, p = softmax(cosine / tau).
        momentum: m of the prototypes.
        projection: a two-layer projection between the features and the prototypes.
        prototypes_per_class: n; a row's similarity with a class is the largest over its n.
        initial: a class's one prototype before its first update: ``random`` (Xavier, the released ``mom-I``) or
            ``zeros`` (its ``mom``, of SensatUrban). Several prototypes per class start from annotated rows instead.
        unseen: a class without an annotated row so far has no probability (``mask``) or cosine 0 (``zero``, as
            released), wherever its prototype starts.
        confidence_threshold: L_p only on rows whose max p is at least this; 0 = off. At temperature 1 max p cannot
            exceed e / (e + (K - 1) / e), which is 0.38 for 13 classes.
        top_n: L_p only on this many rows of each sample, those of the largest max p; 0 = all. The mean is over the rows
            chosen.
        all_points: L_p on annotated rows too, as the fully supervised configurations do.
    """

    weight: float = 0.1
    entropy_weight: float = 1.0
    form: str = "kl"
    detach_p: bool = False
    detach_q: bool = False
    hard: bool = False
    temperature: float = 1.0
    momentum: float = 0.999
    projection: bool = True
    prototypes_per_class: int = 1
    initial: str = "random"
    unseen: str = "mask"
    confidence_threshold: float = 0.0
    top_n: int = 0
    all_points: bool = False

    def __post_init__(self) -> None:
        check = SettingChecks("ERDA", self)
        check.at_least(0, "weight", "top_n")
        check.that("entropy_weight", math.isfinite(self.entropy_weight), "finite")
        check.at_least(1, "prototypes_per_class")
        check.above_zero("temperature")
        check.below_one("momentum", "confidence_threshold")
        for name, allowed in (("form", DIVERGENCES), ("unseen", UNSEEN), ("initial", INITIAL)):
            check.one_of(allowed, name)
        check.that("hard", not self.hard or self.form == "kl", f"false with form {self.form!r}; it needs form kl")
        nothing = self.constant_p and (self.detach_q or self.form == "none")
        check.that("detach_q", not nothing, "false, and form not none, with detach_p or hard: nothing would be trained")

    @property
    def constant_p(self) -> bool:
        """Whether the pseudo-labels carry no gradient."""
        return self.detach_p or self.hard


class ErdaLoss(nn.Module):
    """The prototypical generator with the ERDA loss, free of any network: features and logits in, L_p out.

    Works on points, voxels or pixels: flatten them to rows.

    Args:
        num_classes: K.
        feature_dim: C of the decoder features.
        config: settings; ``config.weight`` is for the caller to apply.
    """

    def __init__(self, num_classes: int, feature_dim: int, config: ErdaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ErdaConfig()
        self.projection: nn.Module = ProjectionHead(feature_dim) if config.projection else nn.Identity()
        if config.constant_p:
            self.projection.requires_grad_(False)
        self.prototypes = _prototypes(num_classes, feature_dim, config)

    def pseudo_logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """s (M, K): cosine similarities of the projected features with the prototypes, divided by the temperature.

        In training mode the prototypes are moved first and the moved ones are used in the same step.
        """
        with torch.autocast(features.device.type, enabled=False), torch.set_grad_enabled(self._learns_p()):
            embedding = self.projection(full_precision(features))
            if self.training:
                self.prototypes.update(embedding.detach(), labels)
            return self.prototypes.similarity(embedding) / self.config.temperature

    def _learns_p(self) -> bool:
        return torch.is_grad_enabled() and not self.config.constant_p

    @torch.no_grad()
    def used_rows(self, pseudo_logits: Tensor, labels: Tensor, batch_index: Tensor | None = None) -> Tensor:
        """(M,) bool, the rows L_p applies to: none before the first class has been seen.

        Args:
            pseudo_logits: s, (M, K).
            labels: (M,) int64, -1 = not annotated.
            batch_index: (M,) int64 sample of each row, for ``top_n``; None = all rows are of one sample.
        """
        config = self.config
        rows = torch.ones_like(labels, dtype=torch.bool) if config.all_points else labels < 0
        rows = rows & self.prototypes.seen.any()
        if not (config.confidence_threshold or config.top_n):
            return rows
        s = full_precision(pseudo_logits)
        confidence = (s.amax(1) - s.logsumexp(1)).exp()
        rows = rows & (confidence >= config.confidence_threshold)
        if config.top_n:
            sample = torch.zeros_like(labels) if batch_index is None else batch_index
            rows = most_confident(confidence, sample, rows, config.top_n)
        return rows

    def forward(
        self, features: Tensor, logits: Tensor, labels: Tensor, batch_index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean L_p over the rows it applies to, those of all processes together.

        Args:
            features: (M, C) decoder features.
            logits: (M, K) of the segmentation head.
            labels: (M,) int64, -1 = not annotated.
            batch_index: (M,) int64 sample of each row, for ``top_n``; None = all rows are of one sample.

        Returns:
            L_p (a scalar; 0 if it applies to no row or no class has been seen yet) and the pseudo-logits (M, K).

        Raises:
            InputError: a label is neither a class nor -1.
        """
        require_class_ids(labels, logits.shape[1])
        config = self.config
        s = self.pseudo_logits(features, labels)
        z = full_precision(logits.detach() if config.detach_q else logits)
        with torch.autocast(z.device.type, enabled=False):
            if config.hard:
                per_row = F.cross_entropy(z, s.argmax(1), reduction="none")
            else:
                per_row = erda_loss(s, z, config.entropy_weight, config.form)
            used = self.used_rows(s, labels, batch_index).to(per_row.dtype)
            return global_mean((per_row * used).sum(), used.sum()), s


def _prototypes(num_classes: int, width: int, config: ErdaConfig) -> Prototypes | SubPrototypes:
    masked = config.unseen == "mask"
    if config.prototypes_per_class > 1:
        return SubPrototypes(num_classes, width, config.prototypes_per_class, config.momentum, mask_unseen=masked)
    return Prototypes(num_classes, width, config.momentum, mask_unseen=masked, random=config.initial == "random")


class Erda(Method):
    """Supervised cross-entropy plus ``weight`` times the ERDA loss on rows without an annotation."""

    Config = ErdaConfig

    def __init__(self, config: ErdaConfig, task: Task) -> None:
        super().__init__(config, task)
        self.erda = ErdaLoss(task.num_classes, task.feature_dim, config)
        self.watch = PrototypeWatch(task.num_classes, task.feature_dim)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        view = batch.weak
        features, logits = model(view.inputs)
        cross_entropy = self.labelled_loss(logits, view.labels)
        loss_p, pseudo = self.erda(features, logits, view.labels, view.batch_index)
        log = {"loss_ce": cross_entropy.detach(), "loss_erda": loss_p.detach()}
        if batch.monitor:
            used = self.erda.used_rows(pseudo, view.labels, view.batch_index)
            log |= pseudo_label_statistics(pseudo, view, used=used, logits=logits, label_counts=self.label_counts)
            value, seen = self.erda.prototypes.value, self.erda.prototypes.seen
            log |= self.watch.look(value, seen) | effective_rank(value, seen)
        return LossTerms(cross_entropy + self.config.weight * loss_p, log)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        features, _ = model(view.inputs)
        return self.erda.pseudo_logits(features, view.labels)

    def uses(self, p: Tensor, view: View) -> Tensor:
        return self.erda.used_rows(p.log(), view.labels, view.batch_index)

    def embed(self, model: nn.Module, view: View) -> FeatureSpace:
        """The projected features, and the prototypes of the classes seen so far (of several, their mean)."""
        features, _ = model(view.inputs)
        prototypes = self.erda.prototypes
        embedding = self.erda.projection(full_precision(features))
        return FeatureSpace(embedding, prototypes.value[prototypes.seen], prototypes.seen.nonzero()[:, 0])

    def histograms(self) -> dict[str, Tensor]:
        """Cosines of the pairs of prototypes, and their norms."""
        value, seen = self.erda.prototypes.value, self.erda.prototypes.seen
        return {"prototype_cosine": pairwise_cosine(value, seen), "prototype_norm": value[seen].norm(dim=1)}
