"""Pseudo-labels chosen by confidence: the practice that methods learning from every point set out to improve.

Sources: FixMatch (Sohn et al., NeurIPS 2020) for two views, a threshold and no gradient into the label, in its
segmentation form (UniMatch's ``fixmatch.py``); Lee (ICML workshop 2013) for one view. ``top_n`` chooses the most
confident rows of every sample instead, the "one-hot pseudo-labels" that ERDA (NeurIPS 2023) is compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, Task, View, full_precision
from pointseg.methods.distributed import global_mean
from pointseg.methods.monitor import prediction_statistics
from pointseg.methods.selection import most_confident
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.teacher import Teacher
from pointseg.methods.two_views import paired_statistics, strong_forward, to_strong_rows

VIEWS = ("two", "one")
TEACHERS = ("shared", "ema")


@dataclass(frozen=True)
class PseudoLabelConfig:
    """Settings of confidence-chosen pseudo-labels; the defaults are FixMatch's.

    Attributes:
        threshold: a row is used if its most likely class has at least this probability; 0 = every row (UniMatch's
            FixMatch: 0.95 on Pascal VOC, 0 on Cityscapes).
        top_n: instead of the threshold, use this many rows of every sample, the most confident first; 0 = threshold.
        hard: the label is the most likely class; otherwise the whole distribution.
        views: ``two``: labels made on the weak view are learned on the strong one; ``one``: on the weak view itself.
        weight: of the pseudo-label term.
        warmup: share of the training before the term is switched on. FixMatch: 0; with few labels a network's first
            confident guesses are mostly wrong, and 0.05 to 0.1 is prudent.
        teacher: ``shared``: the student makes the labels; ``ema``: a moving average of it does.
        momentum: m of the ``ema`` teacher.
    """

    threshold: float = 0.95
    top_n: int = 0
    hard: bool = True
    views: str = "two"
    weight: float = 1.0
    warmup: float = 0.0
    teacher: str = "shared"
    momentum: float = 0.99

    def __post_init__(self) -> None:
        check = SettingChecks("pseudo-labels", self)
        check.shares("threshold")
        check.at_least(0, "top_n", "weight")
        check.one_of(VIEWS, "views")
        check.one_of(TEACHERS, "teacher")
        check.below_one("warmup", "momentum")
        itself = (self.views, self.teacher, self.hard) == ("one", "shared", False)
        check.that("hard", not itself, "true with views one and teacher shared, or p would be held against itself")


class PseudoLabel(Method):
    """``L = L_ce + weight sum_used CE(p, q) / n`` over rows without an annotation, and with a counterpart.

    n is the number of such rows, used or not (FixMatch: few confident rows weigh little), but with ``top_n`` the
    number of rows used: there it is fixed, and dividing by all would only hide it in the weight.
    """

    Config = PseudoLabelConfig
    teacher: Teacher

    def __init__(self, config: PseudoLabelConfig, task: Task) -> None:
        super().__init__(config, task)
        self.warming = config.warmup > 0

    @property
    def needs_strong_view(self) -> bool:
        return bool(self.config.views == "two")

    def prepare(self, model: nn.Module) -> None:
        if self.config.teacher == "ema":
            self.teacher = Teacher(model, self.config.momentum, own_statistics=True)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak = batch.weak
        _, weak_logits = model(weak.inputs)
        cross_entropy = self.labelled_loss(weak_logits, weak.labels)
        log = {"loss_ce": cross_entropy.detach()}
        self.warming = batch.progress < self.config.warmup
        if self.warming:
            return LossTerms(cross_entropy, log | (prediction_statistics(weak_logits, weak) if batch.monitor else {}))
        target = weak_logits.detach() if self.config.teacher == "shared" else self.teacher(weak.inputs)[1]
        if self.config.views == "two":
            _, view, weak_row = batch.pair()
            _, logits = strong_forward(model, view.inputs)
        else:
            view, logits = weak, weak_logits
            weak_row = torch.arange(len(weak.labels), device=weak.labels.device)
        pseudo, used = self._pseudo_label_loss(to_strong_rows(target, weak_row), logits, view, weak_row >= 0)
        if batch.monitor:
            counts = self.label_counts
            log |= paired_statistics(
                target, view, weak_row, logits, weak=weak, weak_logits=weak_logits, used=used, label_counts=counts
            )
        log["loss_pseudo"] = pseudo.detach()
        return LossTerms(cross_entropy + self.config.weight * pseudo, log)

    def after_step(self, model: nn.Module) -> None:
        if self.config.teacher == "shared":
            return
        if self.warming:
            self.teacher.model.load_state_dict(model.state_dict())
        else:
            self.teacher.update(model)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        labelling = model if self.config.teacher == "shared" else self.teacher.model
        _, logits = labelling(view.inputs)
        return logits

    def uses(self, p: Tensor, view: View) -> Tensor:
        return self._used(p.log(), (view.labels < 0) & (not self.warming), view.batch_index)

    def _used(self, target: Tensor, candidates: Tensor, batch_index: Tensor) -> Tensor:
        """(M,) bool: the candidates that are confident enough, by pseudo-logits (M, K)."""
        if self.config.top_n:
            return most_confident(log_odds(full_precision(target)), batch_index, candidates, self.config.top_n)
        return candidates & (full_precision(target).softmax(1).amax(1) >= self.config.threshold)

    def _pseudo_label_loss(self, target: Tensor, logits: Tensor, view: View, found: Tensor) -> tuple[Tensor, Tensor]:
        """The term and the rows it uses (M,), from pseudo-logits and logits (M, K) on the rows of a view."""
        with torch.autocast(logits.device.type, enabled=False):
            p = full_precision(target).softmax(1)
            candidates = found & (view.labels < 0)
            used = self._used(target, candidates, view.batch_index)
            wanted = p.argmax(1) if self.config.hard else p
            per_row = F.cross_entropy(full_precision(logits), wanted, reduction="none")
            count = used.sum() if self.config.top_n else candidates.sum()
            return global_mean((per_row * used).sum(), count), used


def log_odds(logits: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of each row's most likely class: (M, K) -> (M,).

    Ordered as its probability is, but a probability rounds to 1 for thousands of rows of a trained network alike.
    """
    highest, label = logits.max(1)
    return highest - logits.scatter(1, label[:, None], -math.inf).logsumexp(1)
