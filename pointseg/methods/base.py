"""What every learning method receives and returns.

A method sees rows and never asks what they are: M rows may be voxels, points or pixels. The model turns the opaque
``inputs`` of a view into ``(features (M, C), logits (M, K))`` with one row for each row of the view's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationModel(Protocol):
    """A network: ``inputs -> (features (M, C), logits (M, K))``."""

    def __call__(self, inputs: Any) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class View:
    """One augmented version of a batch, as flat tensors of M rows.

    Attributes:
        inputs: whatever the model takes; methods pass it on unread.
        labels: (M,) int64 class of the annotated rows, -1 elsewhere. The only labels a loss may use.
        batch_index: (M,) int64 sample of each row.
        coord: (M, 3) float32 metres.
        row_id: (M,) int64 identity of the row within its sample (raw point id), the link between two views.
        truth: (M,) int64 hidden ground truth, -1 where unknown. For monitoring only.
    """

    inputs: Any
    labels: Tensor
    batch_index: Tensor
    coord: Tensor
    row_id: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Batch:
    """The views of one training step: ``weak`` always, ``strong`` for methods that compare two."""

    weak: View
    strong: View | None = None


@dataclass(frozen=True)
class LossTerms:
    """A step's loss: ``total`` to differentiate, ``log`` with detached scalars worth plotting."""

    total: Tensor
    log: dict[str, Tensor]


class Method(nn.Module):
    """Base of all methods: a loss, an optional hook after the optimiser step, and state kept in ``state_dict``.

    Class attributes:
        Config: the frozen dataclass of the method's settings.
    """

    Config: ClassVar[type]

    def __init__(self, config: Any, *, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.feature_dim = feature_dim

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        """The loss of one step; gradients reach the model and the method's own parameters."""
        raise NotImplementedError

    def after_step(self, model: nn.Module) -> None:
        """Called once after each optimiser step (a teacher's moving average goes here)."""

    def evaluated(self, model: nn.Module) -> nn.Module:
        """The network whose predictions are scored: the student, unless a method says otherwise."""
        return model


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the annotated rows (methods' L_ce), in fp32; 0 with a gradient if there is none.

    Args:
        logits: (M, K).
        labels: (M,) int64, -1 = not annotated.
    """
    count = (labels >= 0).sum().clamp(min=1)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum") / count
