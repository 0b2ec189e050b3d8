"""U2PL and U2PL+: reliable pseudo-labels are learned, unreliable ones say which classes a row is certainly not of.

Source: Wang et al., "Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels", CVPR 2022, and "Using
Unreliable Pseudo-Labels for Label-Efficient Semantic Segmentation", IJCV (U2PL+). With t/T the share of the training
done and alpha_t = alpha_0 (1 - t/T),

    L = L_ce + weight * L_u + contrast_weight * L_c

L_u is the cross-entropy of the student on the strong view with the teacher's pseudo-labels, without the alpha_t share
of rows of highest entropy. L_c draws rows of low entropy to the prototype of their class and away from remembered
embeddings of rows that are not of that class (``contrast``, ``memory_bank``).

Labelled and unlabelled rows need not lie in different scenes: whatever carries an annotation is the labelled set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

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
    evaluating,
    full_precision,
)
from pointseg.methods.contrast import contrastive_loss, draw_members, negative_classes, remember, step_generator
from pointseg.methods.distributed import all_reduce_sum, global_mean
from pointseg.methods.entropy_partition import entropy, tail_thresholds
from pointseg.methods.memory_bank import MemoryBank
from pointseg.methods.monitor import prediction_statistics, pseudo_label_statistics
from pointseg.methods.prototype_watch import PrototypeWatch, pairwise_cosine
from pointseg.methods.prototypes import ProjectionHead, Prototypes
from pointseg.methods.representation import Represented, embed_rows
from pointseg.methods.teacher import Teacher
from pointseg.methods.two_views import running_statistics_kept, strong_forward
from pointseg.methods.u2pl_config import BANK_DTYPES, U2plConfig

LABEL_FLOOR = 1e-4
"""Probability that the reverse cross-entropy gives to the classes a pseudo-label is not, as in the released code."""


@dataclass(frozen=True)
class Teaching:
    """What the teacher says about the M rows of the weak view.

    Attributes:
        embedding: (M, E).
        probability: (M, K).
        pseudo_logits: (M, K) of the pseudo-labels: the log-probabilities, denoised if asked.
        reliable: (M,) bool, unannotated rows that may be learned from.
        surest: (M,) bool, the alpha_t share of lowest entropy among the unannotated rows.
        unreliable: (M,) bool, the alpha_t share of highest entropy.
        low: entropy up to which a row is among the surest.
        high: entropy from which a row is unreliable.
    """

    embedding: Tensor
    probability: Tensor
    pseudo_logits: Tensor
    reliable: Tensor
    surest: Tensor
    unreliable: Tensor
    low: Tensor
    high: Tensor

    @property
    def pseudo_label(self) -> Tensor:
        """(M,) int64."""
        return self.pseudo_logits.argmax(1)


class U2pl(Method):
    """U2PL, and with three settings U2PL+.

    Where the sources leave it open: the teacher sees the weak view once, for pseudo-labels and entropies alike; anchors
    are rows of the strong view, annotated or not, and positives and negatives rows of the weak view; an annotated
    row is no part of L_u. In several processes thresholds, prototypes and bank are those of the whole batch; what is
    drawn at random differs between processes and depends on nothing but the step.
    """

    Config = U2plConfig
    teacher: Teacher
    reliable_below: Tensor

    def __init__(self, config: U2plConfig, task: Task) -> None:
        super().__init__(config, task)
        self.low_rank = min(config.low_rank, task.num_classes - 1)
        self.high_rank = min(config.high_rank or task.num_classes, task.num_classes)
        self.representation = ProjectionHead(task.feature_dim, config.rep_dim)
        self.prototypes = Prototypes(
            task.num_classes, config.rep_dim, momentum=config.prototype_momentum, mask_unseen=False
        )
        self.watch = PrototypeWatch(task.num_classes, config.rep_dim)
        self.bank = MemoryBank(
            task.num_classes,
            config.rep_dim,
            config.bank_size,
            larger=dict.fromkeys(config.large_classes, config.large_bank_size),
            dtype=BANK_DTYPES[config.bank_dtype],
        )
        self.warming = config.warmup > 0
        self.register_buffer("reliable_below", torch.zeros(()), persistent=False)

    @property
    def needs_strong_view(self) -> bool:
        return True

    def prepare(self, model: nn.Module) -> None:
        network = Represented(model, self.representation)
        self.teacher = Teacher(network, self.config.teacher_momentum, own_statistics=self.config.own_statistics)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak, strong, weak_row = batch.pair()
        features, logits = model(weak.inputs)
        cross_entropy = self.labelled_loss(logits, weak.labels)
        log = {"loss_ce": cross_entropy.detach()}
        self.warming = batch.progress < self.config.warmup
        if self.warming:
            return LossTerms(cross_entropy, log | (prediction_statistics(logits, weak) if batch.monitor else {}))
        strong_features, strong_logits = strong_forward(model, strong.inputs)
        if not self.config.own_statistics:
            with torch.no_grad():  # for the head's running statistics
                embed_rows(self.representation, features, weak_row[:0])
        embedding, taught_logits = self.teacher(weak.inputs)
        with torch.autocast(logits.device.type, enabled=False):
            teaching = self._teach(embedding, taught_logits, weak.labels, batch.progress)
            unsupervised, kept = self._unsupervised_loss(strong_logits, strong, weak_row, weak, teaching)
            contrast, classes = self._contrastive_loss(strong_features, strong, weak_row, weak, teaching, batch.step)
        log |= {"loss_unsupervised": unsupervised.detach(), "loss_contrast": contrast.detach()}
        if batch.monitor:
            filled = self.bank.filled()
            log |= {
                "threshold_low": teaching.low,
                "threshold_high": teaching.high,
                "kept_share": kept,
                "bank_fill": filled.mean(),
                "bank_fill_min": filled.min(),
                "bank_fill_class": filled,
                "anchor_classes": classes,
            }
            log |= self.watch.look(self.prototypes.value, self.prototypes.seen)
            log |= pseudo_label_statistics(
                teaching.pseudo_logits, weak, used=teaching.reliable, logits=logits, label_counts=self.label_counts
            )
        total = cross_entropy + self.config.weight * unsupervised + self.config.contrast_weight * contrast
        return LossTerms(total, log)

    def after_step(self, model: nn.Module) -> None:
        network = Represented(model, self.representation)
        if self.warming:
            self.teacher.model.load_state_dict(network.state_dict())
        else:
            self.teacher.update(network)

    def evaluated(self, model: nn.Module) -> nn.Module:
        return cast(Represented, self.teacher.model).model

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        embedding, logits = self.teacher.model(view.inputs)
        return self._denoised(embedding, full_precision(logits).log_softmax(1))

    @torch.no_grad()
    def uses(self, p: Tensor, view: View) -> Tensor:
        """The rows that the last step's threshold of entropy would call reliable."""
        with evaluating(self):
            _, logits = self.teacher.model(view.inputs)
        return (view.labels < 0) & (entropy(logits) < self.reliable_below) & (not self.warming)

    def embed(self, model: nn.Module, view: View) -> FeatureSpace:
        """The teacher's embedding and the positives of the contrast."""
        embedding, _ = self.teacher.model(view.inputs)
        seen = self.prototypes.seen
        return FeatureSpace(embedding, self.prototypes.value[seen], seen.nonzero()[:, 0])

    def histograms(self) -> dict[str, Tensor]:
        return {"prototype_cosine": pairwise_cosine(self.prototypes.value, self.prototypes.seen)}

    @torch.no_grad()
    def _teach(self, embedding: Tensor, logits: Tensor, labels: Tensor, progress: float) -> Teaching:
        log_p = full_precision(logits).log_softmax(1)
        unannotated, uncertainty = labels < 0, entropy(logits)
        low, high = tail_thresholds(uncertainty[unannotated], self.config.unreliable_share * (1 - progress))
        self.reliable_below = high
        return Teaching(
            embedding=embedding,
            probability=log_p.exp(),
            pseudo_logits=self._denoised(embedding, log_p),
            reliable=unannotated & (uncertainty < high),
            surest=unannotated & (uncertainty <= low),
            unreliable=unannotated & (uncertainty >= high),
            low=low,
            high=high,
        )

    def _denoised(self, embedding: Tensor, log_p: Tensor) -> Tensor:
        """(M, K) pseudo-logits: the teacher's log p, with ``denoise`` times the nearness to the prototypes."""
        if not self.config.denoise:
            return log_p
        return log_p + (self.prototypes.similarity(embedding) / self.config.temperature).log_softmax(1)

    def _unsupervised_loss(
        self, logits: Tensor, strong: View, weak_row: Tensor, weak: View, teaching: Teaching
    ) -> tuple[Tensor, Tensor]:
        """L_u and the share of the rows kept for it: ``CE(q, y) + xi_2 RCE(q, y)`` with y the pseudo-label.

        ``RCE = -sum_k q_k log clamp(onehot_k, 1e-4, 1)``, which is ``-log(1e-4) (1 - q_y)`` with ``q_y = exp(-CE)``.
        """
        row = weak_row.clamp(min=0)
        learnt = (weak_row >= 0) & (strong.labels < 0) & (weak.labels < 0)[row]
        kept = learnt & teaching.reliable[row]
        target = torch.where(kept, teaching.pseudo_label[row], -1)
        per_row = F.cross_entropy(full_precision(logits), target, ignore_index=-1, reduction="none")
        if self.config.symmetric_weight:
            per_row = per_row + self.config.symmetric_weight * math.log(LABEL_FLOOR) * torch.expm1(-per_row)
        mean = global_mean(per_row.sum(), kept.sum())
        of_all, of_kept = all_reduce_sum(torch.stack([learnt.sum(), kept.sum()]))
        return mean * of_all / of_kept.clamp(min=1) if self.config.rescale else mean, of_kept / of_all.clamp(min=1)

    def _contrastive_loss(
        self, features: Tensor, strong: View, weak_row: Tensor, weak: View, teaching: Teaching, step: int
    ) -> tuple[Tensor, Tensor]:
        """L_c and the number of classes with anchors; moves the prototypes and fills the bank first."""
        config = self.config
        generator = step_generator(step, features.device)
        keys, negative = negative_classes(
            teaching.probability, weak.labels, teaching.unreliable, self.low_rank, self.high_rank
        )
        remember(self.bank, teaching.embedding[keys], negative, config.keys_per_class, generator)
        sure = teaching.reliable if config.anchor_rows == "reliable" else teaching.surest
        sure_label = torch.where(sure, teaching.pseudo_label, weak.labels)
        self.prototypes.update(teaching.embedding, sure_label)

        row = weak_row.clamp(min=0)
        label = torch.where(strong.labels >= 0, strong.labels, sure_label[row])
        likely = teaching.probability[row, label.clamp(min=0)] > config.min_probability
        label = torch.where((weak_row >= 0) & likely, label, -1)
        candidates = _class_counts(label, self.num_classes)
        present = all_reduce_sum(_class_counts(sure_label, self.num_classes)) > 0
        classes, drawn = draw_members(label, candidates, config.anchors, generator)
        with running_statistics_kept(self.representation):
            anchors = embed_rows(self.representation, features, drawn)
        loss = contrastive_loss(
            anchors,
            classes,
            self.prototypes.value,
            self.bank,
            candidates=candidates,
            usable=present & (self.bank.fill > 0),
            present=present,
            negatives=config.negatives,
            temperature=config.temperature,
            generator=generator,
        )
        return loss, (candidates > 0).sum()


def _class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Rows of each class, (K,) int64; -1 = of no class."""
    return torch.bincount(labels + 1, minlength=num_classes + 1)[1:]
