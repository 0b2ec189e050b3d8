"""MLLC: pseudo-labels and features that correct one another over two graphs, at the level of semantics and of classes.

Source: Xiao et al., "Multi-Level Label Correction by Distilling Proximate Patterns for Semi-supervised Semantic
Segmentation", IEEE TMM 2024 (arXiv 2404.02065), and its released trainer. With P^0 the network's scores, F^0 an
embedding of its features, and (P^k, F^k) what round k makes of them,

    L = sum_k CE(P^k, y) + weight * sum_k w CE(P^k of the strong view, argmax P^K of the weak view)
        + contrast_weight * sum_k InfoNCE(F^k, class prototypes of round k)

The release has dense graphs over 1 to 3 thousand pixels of a coarse map; here they stand on nodes (``nodes.py``). Where
neither paper nor release decides, or the release is at fault: each round has prototypes of its own (the release always
updates the first round's), they are means of directions and kept from the first step; counts behind the thresholds are
moving averages of at least 1, so that they forget and all classes start at ``base_threshold``; annotated nodes are
clamped where pseudo-labels are made, and not where the rounds learn, which would show them the answer. Only P^0 is
evaluated.

A class threshold follows the number of its confident rows, as released. Where one class has thousands, a class that is
rarely predicted with confidence soon has no threshold to speak of; ``minimum_threshold`` keeps it one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, Task, View, full_precision
from pointseg.methods.correction import GraphInput, MutualCorrection, reliable_nodes
from pointseg.methods.distributed import all_reduce_sum
from pointseg.methods.mllc_losses import (
    confidence_weights,
    pair_contrast,
    prototype_contrast,
    weighted_cross_entropy,
)
from pointseg.methods.monitor import pseudo_label_statistics
from pointseg.methods.nodes import Nodes, cell_nodes, sampled_nodes, superpoint_nodes
from pointseg.methods.prototype_watch import PrototypeWatch, pairwise_cosine
from pointseg.methods.prototypes import Prototypes
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.teacher import Teacher
from pointseg.methods.two_views import running_statistics_kept, strong_forward

State = tuple[Tensor, Tensor]
"""Scores (n, K) and embeddings (n, E) of the nodes after a round."""


@dataclass(frozen=True)
class MllcConfig:
    """Settings of MLLC. Defaults are the release's where it has the setting; ours are marked (inferred).

    Attributes:
        weight: of the cross-entropy on pseudo-labels.
        weighting: of its rows: ``uniform`` (by the share of confident rows, as released) or ``threshold`` (each by its
            own confidence to the power of 6).
        teacher: who makes pseudo-labels: ``ema``, a moving average of network and rounds as in the paper's figure
            (inferred), or ``student``, as the released trainer does.
        momentum: of the teacher.
        rounds: of mutual correction.
        neighbours: of a node in the semantic-level graph.
        embedding_dim: E; 256 in the release, whose features have 2048 channels.
        identity_init: the rounds' class layers start at the identity (inferred), else at random as released.
        clamp: annotated nodes keep their class while pseudo-labels are made (inferred).
        base_threshold: confidence that counts for the class counts, and the highest class threshold.
        minimum_threshold: no class threshold is lower (inferred; the release has 0).
        count_momentum: of the class counts (inferred; the release adds up from the start).
        nodes: what graphs stand on: ``sample`` (random rows, annotated ones first), ``cells`` or ``superpoints``.
        sample_size: rows drawn from a sample with ``nodes: sample``.
        cell: edge in metres (pixels for images) with ``nodes: cells`` and ``superpoints``.
        spatial_radius: neighbours must also lie within it, in metres; 0 = anywhere in the sample.
        contrast_weight: of the contrast with class prototypes.
        contrast_start: share of the training before it begins; 2 000 of 16 000 steps in the release.
        prototype_momentum: of these prototypes.
        pair_weight: of the contrast between the nodes of one sample, which the release has switched off; it uses 0.1.
    """

    weight: float = 1.0
    weighting: str = "uniform"
    teacher: str = "ema"
    momentum: float = 0.99
    rounds: int = 2
    neighbours: int = 20
    embedding_dim: int = 64
    identity_init: bool = True
    clamp: bool = True
    base_threshold: float = 0.95
    minimum_threshold: float = 0.0
    count_momentum: float = 0.99
    nodes: str = "sample"
    sample_size: int = 2048
    cell: float = 0.4
    spatial_radius: float = 0.0
    contrast_weight: float = 0.1
    contrast_start: float = 0.125
    prototype_momentum: float = 0.99
    pair_weight: float = 0.0

    def __post_init__(self) -> None:
        check = SettingChecks("MLLC", self)
        check.one_of(("uniform", "threshold"), "weighting")
        check.one_of(("ema", "student"), "teacher")
        check.one_of(("sample", "cells", "superpoints"), "nodes")
        check.at_least(0, "weight", "spatial_radius", "contrast_weight", "pair_weight")
        check.at_least(1, "rounds", "neighbours", "embedding_dim", "sample_size")
        check.below_one("momentum", "count_momentum", "prototype_momentum")
        check.shares("base_threshold", "minimum_threshold", "contrast_start")
        allowed = f"at most base_threshold, which is {self.base_threshold}"
        check.that("minimum_threshold", self.minimum_threshold <= self.base_threshold, allowed)
        check.above_zero("cell")


class Mllc(Method):
    """Labels, pseudo-labels and features corrected over graphs; see the module."""

    Config = MllcConfig
    confident_count: Tensor
    teacher: Teacher | None
    correction_teacher: Teacher | None

    def __init__(self, config: MllcConfig, task: Task) -> None:
        super().__init__(config, task)
        self.correction = MutualCorrection(
            task.num_classes,
            task.feature_dim,
            config.embedding_dim,
            rounds=config.rounds,
            neighbours=config.neighbours,
            radius=config.spatial_radius,
            identity_init=config.identity_init,
        )
        self.prototypes = nn.ModuleList(
            Prototypes(task.num_classes, config.embedding_dim, config.prototype_momentum)
            for _ in range(config.rounds + 1)
        )
        self.watch = PrototypeWatch(task.num_classes, config.embedding_dim)
        self.register_buffer("confident_count", torch.ones(task.num_classes))
        self.teacher = self.correction_teacher = None

    @property
    def needs_strong_view(self) -> bool:
        return True

    def prepare(self, model: nn.Module) -> None:
        if self.config.teacher == "ema":
            self.teacher = Teacher(model, self.config.momentum)
            self.correction_teacher = Teacher(self.correction, self.config.momentum)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak, strong, weak_row = batch.pair()
        features, logits = model(weak.inputs)
        cross_entropy = self.labelled_loss(logits, weak.labels)
        self._count_confident(logits)
        weak_nodes = self._nodes(weak, features, draw=2 * batch.step)
        weak_states = self.correction(
            weak_nodes.pool(features), weak_nodes.pool(logits), self._graph_input(weak_nodes, weak)
        )
        weak_scores = _row_scores(logits, weak_nodes, weak_states)
        corrected = torch.stack([self.labelled_loss(z, weak.labels) for z in weak_scores[1:]]).sum()
        uncorrected, pseudo_logits = self._pseudo_logits(weak, weak_nodes, features, logits)

        features, strong_logits = strong_forward(model, strong.inputs)
        strong_nodes = self._nodes(strong, features, draw=2 * batch.step + 1)
        with running_statistics_kept(self.correction):
            strong_states = self.correction(
                strong_nodes.pool(features), strong_nodes.pool(strong_logits), self._graph_input(strong_nodes, strong)
            )
        confidence, pseudo_labels = pseudo_logits.softmax(1).max(1)
        used = (weak_row >= 0) & (strong.labels < 0)
        classes = torch.where(used, pseudo_labels[weak_row.clamp(min=0)], -1)
        weights = confidence_weights(confidence[weak_row.clamp(min=0)], used, self.config.weighting)
        strong_scores = _row_scores(strong_logits, strong_nodes, strong_states)
        unlabelled = torch.stack([weighted_cross_entropy(z, classes, weights) for z in strong_scores]).sum()

        known = (
            (weak_nodes, weak_states, weak_nodes.majority(weak.labels, self.num_classes)),
            (strong_nodes, strong_states, strong_nodes.majority(classes, self.num_classes)),
        )
        begun = batch.progress >= self.config.contrast_start
        contrast = self._contrast(known, begun=begun)
        log = {
            "loss_ce": cross_entropy.detach(),
            "loss_ce_rounds": corrected.detach(),
            "loss_unlabelled": unlabelled.detach(),
            "loss_contrast": contrast.detach(),
        }
        if batch.monitor:
            log |= self._watched(weak, weak_nodes, weak_states, weights[used], uncorrected, pseudo_logits, logits)
            # Before, nothing parts them, and all lie on one line.
            if begun:
                prototypes = self._last_prototypes()
                log |= self.watch.look(prototypes.value, prototypes.seen)
        return LossTerms(cross_entropy + corrected + self.config.weight * unlabelled + contrast, log)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        if self.teacher is not None and self.correction_teacher is not None:
            self.teacher.update(model)
            self.correction_teacher.update(self.correction)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        features, logits = model(view.inputs)
        return self._pseudo_logits(view, self._nodes(view, features, draw=0), features, logits)[1]

    def histograms(self) -> dict[str, Tensor]:
        """Cosines of the pairs of the last round's prototypes."""
        prototypes = self._last_prototypes()
        return {"prototype_cosine": pairwise_cosine(prototypes.value, prototypes.seen)}

    def thresholds(self) -> Tensor:
        """eta, (K,): ``base_threshold`` for the class most often predicted with confidence, less for slower classes."""
        relative = self.config.base_threshold * self.confident_count / self.confident_count.max()
        return relative.clamp(min=self.config.minimum_threshold)

    def _last_prototypes(self) -> Prototypes:
        return cast(Prototypes, self.prototypes[-1])

    @torch.no_grad()
    def _count_confident(self, logits: Tensor) -> None:
        """Move the counts n_c towards the rows that P^0 of this step gives to a class with confidence."""
        confidence, hard = full_precision(logits.detach()).softmax(1).max(1)
        now = torch.bincount(hard[confidence >= self.config.base_threshold], minlength=self.num_classes)
        now = all_reduce_sum(now.to(self.confident_count.dtype))
        self.confident_count.lerp_(now, 1 - self.config.count_momentum).clamp_(min=1)

    def _nodes(self, view: View, features: Tensor, draw: int) -> Nodes:
        config = self.config
        if config.nodes == "cells":
            return cell_nodes(view.coord, view.batch_index, config.cell)
        if config.nodes == "superpoints":
            return superpoint_nodes(view.coord, view.batch_index, features, config.cell)
        generator = torch.Generator(device=features.device).manual_seed(draw)
        return sampled_nodes(features, view.batch_index, view.labels >= 0, config.sample_size, generator)

    def _graph_input(self, nodes: Nodes, view: View, *, clamp: bool = False) -> GraphInput:
        clamped = nodes.majority(view.labels, self.num_classes) if clamp else None
        return GraphInput(nodes.batch_index, nodes.pool(view.coord), self.thresholds(), clamped)

    @torch.no_grad()
    def _pseudo_logits(self, view: View, nodes: Nodes, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """P^0 and P^K of each row, (M, K) both, by the teacher if there is one; graphs on the student's nodes."""
        correction: nn.Module = self.correction
        if self.teacher is not None and self.correction_teacher is not None:
            features, logits = self.teacher(view.inputs)
            correction = self.correction_teacher.model.eval()
        given = self._graph_input(nodes, view, clamp=self.config.clamp)
        states = correction(nodes.pool(features), nodes.pool(logits), given)
        return full_precision(logits), nodes.spread(states[-1][0])

    def _contrast(self, known: tuple[tuple[Nodes, list[State], Tensor], ...], *, begun: bool) -> Tensor:
        """Contrast terms of annotated and of pseudo-labelled nodes over all rounds, weighted.

        Before it has begun the weight is 0: the layers that only this term trains get gradients of 0 rather than none.
        """
        inter: list[Tensor] = []
        intra: list[Tensor] = []
        classes = torch.cat([labels for *_, labels in known])
        for number, prototypes in enumerate(cast(Iterable[Prototypes], self.prototypes)):
            embedding = torch.cat([states[number][1].detach() for _, states, _ in known])
            prototypes.update(F.normalize(embedding, dim=1), classes)
            for nodes, states, labels in known:
                inter.append(prototype_contrast(states[number][1], labels, prototypes))
                if self.config.pair_weight > 0:
                    intra.append(pair_contrast(states[number][1], labels, nodes.batch_index))
        total = self.config.contrast_weight * torch.stack(inter).sum()
        if intra:
            total = total + self.config.pair_weight * torch.stack(intra).sum()
        return total if begun else 0 * total

    @torch.no_grad()
    def _watched(
        self,
        view: View,
        nodes: Nodes,
        states: list[State],
        weights: Tensor,
        uncorrected: Tensor,
        pseudo_logits: Tensor,
        logits: Tensor,
    ) -> dict[str, Tensor]:
        thresholds = self.thresholds()
        log = pseudo_label_statistics(pseudo_logits, view, logits=logits, label_counts=self.label_counts)
        before = pseudo_label_statistics(uncorrected, view).get("pseudo_label_accuracy")
        if before is not None:
            log["pseudo_label_accuracy_uncorrected"] = before
        changed = (pseudo_logits.argmax(1) != uncorrected.argmax(1))[view.labels < 0]
        return log | {
            "changed_by_graphs": changed.sum() / max(len(changed), 1),
            "weight_unlabelled": weights.sum() / max(len(weights), 1),
            "reliable_nodes": reliable_nodes(states[0][0], thresholds).float().mean(),
            "nodes": thresholds.new_tensor(len(nodes.batch_index)),
            "threshold_min": thresholds.min(),
            "threshold_mean": thresholds.mean(),
            "threshold_class": thresholds,
        }


def _row_scores(logits: Tensor, nodes: Nodes, states: list[State]) -> list[Tensor]:
    """P^0, P^1, ... of each row: the network's own scores, then those of its node."""
    return [logits, *(nodes.spread(scores) for scores, _ in states[1:])]
