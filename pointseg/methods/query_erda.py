"""Query-based ERDA: class queries make the pseudo-labels, from a weak view, for a strong one.

Source: the extension of ERDA (arXiv 2408.16520). Only its outline is public: the loss of ERDA with gradients to both
distributions, a generator of queries with cross-attention, weak and strong views, a teacher that is the student
itself or its moving average. Everything else is a choice of this implementation, and a setting where it matters. With
s the pseudo-logits of the queries, p = softmax(s) on the weak view and q = softmax(z) on the strong one,

    L = L_ce + beta CE(p, y) + alpha mean L_p,   L_p = H(p, q) - (1 - lambda) H(p)

CE(p, y), on annotated rows, is what gives the queries their classes: without it they could repeat the prior.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointseg.methods.base import Batch, FeatureSpace, LossTerms, Method, SegmentationModel, Task, View, full_precision
from pointseg.methods.class_queries import ClassQueries
from pointseg.methods.divergence import EXCLUDED, erda_loss
from pointseg.methods.prototype_watch import pairwise_cosine
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.teacher import Teacher
from pointseg.methods.two_views import paired_divergence, paired_statistics, strong_forward

CHOICES = {"views": ("two", "one"), "teacher": ("shared", "ema"), "query_init": ("random", "centroids")}


@dataclass(frozen=True)
class QueryErdaConfig:
    """Settings of query-based ERDA. The defaults are choices: the published ones are not known.

    Attributes:
        weight: alpha, the weight of L_p.
        entropy_weight: lambda, the weight of H(p) inside L_p.
        query_weight: beta, the weight of the queries' cross-entropy on annotated rows.
        views: ``two``: p from the weak view, q from the strong one. ``one``: both from the weak view, no strong view
            is made, as in the prototypical method.
        teacher: whose weak-view features the queries label. ``shared``: the student's. ``ema``: those of its moving
            average; the queries' losses then train the generator alone.
        teacher_momentum: of the moving average.
        weak_gradient: with the shared teacher, the queries' losses also train the student through its weak-view
            features. False is the first thing to try where training is unstable.
        temperature: tau of ``softmax(cos / tau)``. At 1 one of 13 classes reaches 0.38 at most and the queries'
            cross-entropy cannot be fitted; 0.1 reaches 0.99, and as these queries, unlike centroids, are trained by
            the annotated rows, p is only as sharp as they allow.
        layers: decoder layers.
        heads: attention heads; a divisor of the network's feature channels.
        max_keys: rows of a sample that the queries look at, at most; evenly spaced, others in each step.
        query_init: ``random``, or ``centroids`` of each class's first annotated rows.
    """

    weight: float = 0.1
    entropy_weight: float = 1.0
    query_weight: float = 1.0
    views: str = "two"
    teacher: str = "shared"
    teacher_momentum: float = 0.999
    weak_gradient: bool = True
    temperature: float = 0.1
    layers: int = 1
    heads: int = 8
    max_keys: int = 8192
    query_init: str = "random"

    def __post_init__(self) -> None:
        check = SettingChecks("query ERDA", self)
        for name, allowed in CHOICES.items():
            check.one_of(allowed, name)
        check.at_least(0, "weight", "query_weight")
        check.that("entropy_weight", math.isfinite(self.entropy_weight), "finite")
        check.above_zero("temperature")
        check.below_one("teacher_momentum")
        check.at_least(1, "layers", "heads", "max_keys")


class QueryErda(Method):
    """Supervised cross-entropy, the queries' own, and ``weight`` times the ERDA loss between the two views.

    L_p is the mean over the strong rows that have a counterpart in the weak view, annotated or not; with one view,
    over the rows without an annotation, since the others' q is already given by the cross-entropy.

    Classes that no training row is annotated with are left out of the queries' cross-entropy, but keep their share of
    p. A class that is merely absent from a sample is not left out: its query learns to stay away from the rows there.
    """

    Config = QueryErdaConfig
    config: QueryErdaConfig

    def __init__(self, config: QueryErdaConfig, task: Task) -> None:
        super().__init__(config, task)
        self.generator = ClassQueries(
            task.num_classes,
            task.feature_dim,
            layers=config.layers,
            heads=config.heads,
            temperature=config.temperature,
            max_keys=config.max_keys,
            from_labels=config.query_init == "centroids",
        )
        self.teacher: Teacher | None = None

    @property
    def needs_strong_view(self) -> bool:
        return self.config.views == "two"

    def prepare(self, model: nn.Module) -> None:
        if self.config.teacher == "ema":
            self.teacher = Teacher(model, self.config.teacher_momentum)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak = batch.weak
        features, logits = model(weak.inputs)
        cross_entropy = self.labelled_loss(logits, weak.labels)
        pseudo, queries = self.generator(
            self._looked_at(features, weak), weak.batch_index, weak.labels, step=batch.step
        )
        query_loss = self.labelled_loss(self._without_unknown(pseudo), weak.labels)
        view, weak_row, predicted = self._aligned(model, batch, logits)
        row_loss = functools.partial(erda_loss, entropy_weight=self.config.entropy_weight)
        alignment = paired_divergence(row_loss, pseudo, predicted, weak_row)
        log = {
            "loss_ce": cross_entropy.detach(),
            "loss_query": query_loss.detach(),
            "loss_erda": alignment.detach(),
        }
        if batch.monitor:
            counts = self.label_counts
            log |= paired_statistics(
                pseudo, view, weak_row, predicted, weak=weak, weak_logits=logits, label_counts=counts
            )
            log |= self.generator.statistics(queries)
        total = cross_entropy + self.config.query_weight * query_loss + self.config.weight * alignment
        return LossTerms(total, log)

    def after_step(self, model: nn.Module) -> None:
        if self.teacher is not None:
            self.teacher.update(model)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        looked_at = model if self.teacher is None else self.teacher.model
        features, _ = looked_at(view.inputs)
        pseudo, _ = self.generator(features, view.batch_index, view.labels)
        return pseudo

    def embed(self, model: nn.Module, view: View) -> FeatureSpace:
        """The projected features, and the class queries as they are before they look at a sample."""
        looked_at = model if self.teacher is None else self.teacher.model
        features, _ = looked_at(view.inputs)
        queries = self.generator.queries
        classes = torch.arange(len(queries), device=queries.device)
        return FeatureSpace(self.generator.projection(full_precision(features)), queries, classes)

    def histograms(self) -> dict[str, Tensor]:
        queries = self.generator.queries.detach()
        cosine = pairwise_cosine(queries, torch.ones_like(self.generator.placed))
        return {"query_cosine": cosine, "query_length": torch.linalg.vector_norm(queries, dim=1)}

    def _looked_at(self, features: Tensor, weak: View) -> Tensor:
        """The weak-view features that the queries label, with or without a gradient to the student."""
        if self.config.teacher == "ema":
            if self.teacher is None:
                raise ValueError("teacher is ema; call prepare(model) before the first loss")
            return self.teacher(weak.inputs)[0]
        return features if self.config.weak_gradient else features.detach()

    def _without_unknown(self, pseudo: Tensor) -> Tensor:
        return pseudo.masked_fill(self.label_counts == 0, EXCLUDED)

    def _aligned(self, model: SegmentationModel, batch: Batch, logits: Tensor) -> tuple[View, Tensor, Tensor]:
        """The view that q is of, the weak row of each of its rows (-1: takes no part in L_p), and the logits of q."""
        if self.config.views == "two":
            _, strong, weak_row = batch.pair()
            return strong, weak_row, strong_forward(model, strong.inputs)[1]
        labels = batch.weak.labels
        return batch.weak, torch.where(labels < 0, torch.arange(len(labels), device=labels.device), -1), logits
