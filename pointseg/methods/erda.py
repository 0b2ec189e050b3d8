"""ERDA: entropy regularisation and distribution alignment of dense prototypical pseudo-labels.

Source: Tang et al., "All Points Matter: Entropy-Regularized Distribution Alignment for Weakly-supervised 3D
Segmentation", NeurIPS 2023. With p the pseudo-label distribution and q the prediction,

    L = L_ce + alpha L_p,   L_p = lambda H(p) + KL(p || q) = H(p, q) - (1 - lambda) H(p)

Both p and q receive gradients; p is not thresholded, sharpened or detached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, Task
from pointseg.methods.monitor import pseudo_label_statistics
from pointseg.methods.prototypes import ProjectionHead, Prototypes


@dataclass(frozen=True)
class ErdaConfig:
    """Settings of prototypical ERDA; the defaults are those of the released weakly supervised configurations.

    Attributes:
        weight: alpha, the weight of L_p. Released: 0.1 (RandLA-Net) and 0.01 (CloserLook3D, Point Transformer).
        entropy_weight: lambda, the weight of H(p) inside L_p.
        momentum: m of the prototypes.
        all_points: L_p on annotated rows too, as the fully supervised configurations do.
    """

    weight: float = 0.1
    entropy_weight: float = 1.0
    momentum: float = 0.999
    all_points: bool = False

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise InputError(f"ERDA's weight is {self.weight}; it must be 0 or more")
        if not 0 <= self.momentum < 1:
            raise InputError(f"ERDA's momentum is {self.momentum}; it must be at least 0 and below 1")


def erda_loss(pseudo_logits: Tensor, logits: Tensor, entropy_weight: float = 1.0) -> Tensor:
    """L_p of each row: ``H(p, q) - (1 - lambda) H(p)`` with p = softmax(s), q = softmax(z), in fp32.

    Gradients (both are needed): ``dL/ds_i = p_i (-log q_i - H(p,q) + (1 - lambda)(log p_i + H(p)))`` and
    ``dL/dz_i = q_i - p_i``.

    Args:
        pseudo_logits: s, (M, K), finite.
        logits: z, (M, K).
        entropy_weight: lambda; at 1 the loss is the plain cross-entropy between p and q.

    Returns:
        (M,) fp32 (fp64 for fp64 input).
    """
    with torch.autocast(logits.device.type, enabled=False):
        s = pseudo_logits if pseudo_logits.dtype == torch.float64 else pseudo_logits.float()
        z = logits if logits.dtype == torch.float64 else logits.float()
        p = s.softmax(1)
        cross = -(p * z.log_softmax(1)).sum(1)
        if entropy_weight == 1.0:
            return cross
        return cross + (1 - entropy_weight) * (p * s.log_softmax(1)).sum(1)


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
        self.config = config or ErdaConfig()
        self.projection = ProjectionHead(feature_dim)
        self.prototypes = Prototypes(num_classes, feature_dim, self.config.momentum)

    def pseudo_logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cosine similarities s (M, K) of the projected features with the prototypes.

        In training mode the prototypes are moved first and the moved ones are used in the same step.
        """
        with torch.autocast(features.device.type, enabled=False):
            embedding = self.projection(features.float())
            if self.training:
                self.prototypes.update(embedding.detach(), labels)
            return self.prototypes.similarity(embedding)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean L_p over the rows it applies to.

        Args:
            features: (M, C) decoder features.
            logits: (M, K) of the segmentation head.
            labels: (M,) int64, -1 = not annotated.

        Returns:
            L_p (a scalar; 0 if it applies to no row or no class has been seen yet) and the pseudo-logits (M, K).
        """
        s = self.pseudo_logits(features, labels)
        rows = torch.ones_like(labels, dtype=torch.bool) if self.config.all_points else labels < 0
        if not self.prototypes.seen.any():
            rows = torch.zeros_like(rows)
        per_row = erda_loss(s[rows], logits[rows], self.config.entropy_weight)
        return per_row.sum() / rows.sum().clamp(min=1), s


class Erda(Method):
    """Supervised cross-entropy plus ``weight`` times the ERDA loss on rows without an annotation."""

    Config = ErdaConfig

    def __init__(self, config: ErdaConfig, task: Task) -> None:
        super().__init__(config, task)
        self.erda = ErdaLoss(task.num_classes, task.feature_dim, config)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        view = batch.weak
        features, logits = model(view.inputs)
        cross_entropy = self.labelled_loss(logits, view.labels)
        loss_p, pseudo = self.erda(features, logits, view.labels)
        log = {"loss_ce": cross_entropy.detach(), "loss_erda": loss_p.detach()}
        if batch.monitor:
            log |= pseudo_label_statistics(pseudo, view, logits=logits)
        return LossTerms(cross_entropy + self.config.weight * loss_p, log)
