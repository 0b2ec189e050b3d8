"""MLLC's mutual correction: class scores move over the semantic-level graph, features over the class-level graph.

Source: MLLC (Xiao et al., IEEE TMM 2024; arXiv 2404.02065) and its released trainer. The release starts the two K x K
layers at random; starting them at the identity, so that a round begins as plain propagation, is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointseg.methods.base import full_precision
from pointseg.methods.graphs import SemanticGraph, propagate_by_class, semantic_graph
from pointseg.methods.prototypes import ProjectionHead

KEPT_SHARE = 0.8
"""Of its scores kept by a reliable node, which takes the rest from its neighbours; an unreliable one vice versa."""

CLAMPED_LOGIT = 10.0
"""Score of the annotated class of a clamped node; all other scores are 0."""


@dataclass(frozen=True)
class GraphInput:
    """What the rounds read beside features and scores.

    Attributes:
        batch_index: (n,) int64 sample of each node, ascending.
        coord: (n, 3) metres.
        thresholds: (K,) eta, the confidence from which a node of a class counts as reliable.
        clamped: (n,) int64 class that a node's scores are set to before each propagation, -1 = none; None = no node.
    """

    batch_index: Tensor
    coord: Tensor
    thresholds: Tensor
    clamped: Tensor | None = None


def reliable_nodes(logits: Tensor, thresholds: Tensor) -> Tensor:
    """(n,) bool: the confidence reaches the threshold of its class.

    Those thresholds never exceed the base one, so "or at least the base threshold" needs no second test.
    """
    confidence, hard = full_precision(logits).softmax(1).max(1)
    return confidence >= thresholds.to(confidence.dtype)[hard]


def clamp_annotated(logits: Tensor, classes: Tensor | None) -> Tensor:
    """Scores with those of the nodes of a known class replaced by ``CLAMPED_LOGIT`` for that class and 0 elsewhere."""
    if classes is None:
        return logits
    one_hot = nn.functional.one_hot(classes.clamp(min=0), logits.shape[1]).to(logits.dtype)
    return torch.where((classes >= 0)[:, None], CLAMPED_LOGIT * one_hot, logits)


class CorrectionRound(nn.Module):
    """One round with parameters of its own: (P, F) -> (P', F').

    Args:
        num_classes: K.
        width: E of the embeddings.
        identity_init: start the two K x K layers at the identity, else at random (Kaiming normal).
    """

    def __init__(self, num_classes: int, width: int, *, identity_init: bool) -> None:
        super().__init__()
        self.class_layers = nn.Sequential(nn.Linear(num_classes, num_classes), nn.Linear(num_classes, num_classes))
        self.feature_layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        for weight, bias in zip(*[iter(self.class_layers.parameters())] * 2, strict=True):
            if identity_init:
                nn.init.eye_(weight)
            else:
                nn.init.kaiming_normal_(weight)
            nn.init.zeros_(bias)

    def forward(
        self, logits: Tensor, embedding: Tensor, graph: SemanticGraph, given: GraphInput
    ) -> tuple[Tensor, Tensor]:
        """Corrected scores (n, K) and features (n, E); ``graph`` is the semantic-level one of ``embedding``."""
        keep = reliable_nodes(logits.detach(), given.thresholds)[:, None].to(logits.dtype)
        keep = KEPT_SHARE * keep + (1 - KEPT_SHARE) * (1 - keep)
        corrected = self.class_layers(keep * logits + (1 - keep) * graph.propagate(logits))
        hard = logits.detach().argmax(1)
        moved = propagate_by_class(embedding, corrected.detach().softmax(1), hard, given.batch_index)
        return corrected, self.feature_layers(moved)


class MutualCorrection(nn.Module):
    """The embedding head and K rounds on top of it, all in fp32.

    Args:
        num_classes: K.
        feature_dim: C of the network's features.
        width: E of the embeddings.
        rounds: how many.
        neighbours: of a node in the semantic-level graph.
        radius: metres within which they must lie, 0 = anywhere.
        identity_init: see ``CorrectionRound``.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        width: int,
        *,
        rounds: int = 2,
        neighbours: int = 20,
        radius: float = 0.0,
        identity_init: bool = True,
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.radius = radius
        self.embedding = ProjectionHead(feature_dim, width)
        self.rounds = nn.ModuleList(
            CorrectionRound(num_classes, width, identity_init=identity_init) for _ in range(rounds)
        )

    def forward(self, features: Tensor, logits: Tensor, given: GraphInput) -> list[tuple[Tensor, Tensor]]:
        """``[(P^0, F^0), (P^1, F^1), ...]``: what the head gives and what each round makes of it.

        The gradient passes through scores, features and weights, never through an adjacency or a reliability mask.

        Args:
            features: (n, C).
            logits: (n, K), P^0.
            given: the rest.
        """
        with torch.autocast(logits.device.type, enabled=False):
            scores, embedding = full_precision(logits), self.embedding(full_precision(features))
            states = [(scores, embedding)]
            for correction in self.rounds:
                graph = semantic_graph(
                    embedding, given.batch_index, self.neighbours, coord=given.coord, radius=self.radius
                )
                clamped = clamp_annotated(scores, given.clamped)
                scores, embedding = correction(clamped, embedding, graph, given)
                states.append((scores, embedding))
            return states
