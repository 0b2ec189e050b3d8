"""What every learning method receives and returns.

A method sees rows and never asks what they are: M rows may be voxels, points or pixels. The model turns the opaque
``inputs`` of a view into ``(features (M, C), logits (M, K))`` with one row for each row of the view's tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.distributed import global_mean
from pointseg.methods.lovasz import lovasz_softmax


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
        row_id: (M,) int64 raw point id of the row within the sample it came from.
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
    """The views of one training step: ``weak`` always, ``strong`` for methods that compare two.

    Attributes:
        weak: lightly augmented; annotated rows are learned from here.
        strong: the same samples, augmented heavily, perhaps mixed with one another.
        weak_row: (M of ``strong``,) int64 row of ``weak`` that holds the raw point of a strong row, -1 if none does.
            It was found through raw point ids, and stays right where strong samples were mixed.
        step: optimiser steps done before this one.
        steps: of the whole training.
        monitor: whether what is only watched, never learned from, should be computed in this step.
    """

    weak: View
    strong: View | None = None
    weak_row: Tensor | None = None
    step: int = 0
    steps: int = 1
    monitor: bool = True

    @property
    def progress(self) -> float:
        """Share of the training done before this step, 0 to 1."""
        return self.step / self.steps

    def pair(self) -> tuple[View, View, Tensor]:
        """The weak view, the strong view and ``weak_row``, for methods that need both."""
        if self.strong is None or self.weak_row is None:
            raise ValueError("this method compares two views; give Batch a strong view and its weak_row")
        return self.weak, self.strong, self.weak_row


@dataclass(frozen=True)
class LossTerms:
    """A step's loss: ``total`` to differentiate, ``log`` with detached values to plot: scalars, or (K,) by class."""

    total: Tensor
    log: dict[str, Tensor]


@dataclass(frozen=True)
class FeatureSpace:
    """What a method compares by direction.

    Attributes:
        embedding: (M, E) of the rows of a view.
        prototypes: (P, E), P may be 0.
        classes: (P,) int64, the class of each prototype.
    """

    embedding: Tensor
    prototypes: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Task:
    """What a method is told about the training when it is made.

    Attributes:
        num_classes: K.
        feature_dim: C of the network's features.
        label_counts: (K,) int64 annotated points of each class in the whole training set. Never counts of hidden truth.
        class_weights: (K,) float32 weights of the annotated rows' cross-entropy; None = all alike.
        label_smoothing: share of an annotated row's target that goes evenly to all classes with annotated points.
        lovasz: weight of the Lovasz-Softmax of the annotated rows beside their cross-entropy.
    """

    num_classes: int
    feature_dim: int
    label_counts: Tensor
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    lovasz: float = 0.0


class Method(nn.Module):
    """Base of all methods: a loss, an optional hook after the optimiser step, and state kept in ``state_dict``.

    Class attributes:
        Config: the frozen dataclass of the method's settings.
        needs_unannotated: the method learns from rows without an annotation, so there must be some.
    """

    Config: ClassVar[type]
    needs_unannotated: ClassVar[bool] = True
    label_counts: Tensor
    class_weights: Tensor | None
    smoothing: Tensor | None
    labelled_share: Tensor | float = 1.0
    """Factor of the annotated rows' cross-entropy, set from outside where the batches of one step differ in them."""

    def __init__(self, config: Any, task: Task) -> None:
        super().__init__()
        self.config = config
        self.num_classes = task.num_classes
        self.feature_dim = task.feature_dim
        self.register_buffer("label_counts", task.label_counts, persistent=False)
        self.register_buffer("class_weights", task.class_weights, persistent=False)
        annotated = (task.label_counts > 0).float()
        smoothing = task.label_smoothing * annotated / annotated.sum().clamp(min=1)
        self.register_buffer("smoothing", smoothing if task.label_smoothing else None, persistent=False)
        self.lovasz = task.lovasz

    @property
    def needs_strong_view(self) -> bool:
        """Whether ``loss`` needs ``batch.strong``."""
        return False

    def prepare(self, model: nn.Module) -> None:
        """Called once, before the first step and before a checkpoint is loaded: a teacher is copied here."""

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        """The loss of one step; gradients reach the model and the method's own parameters.

        In several processes the names in the log must be the same in each of them.
        """
        raise NotImplementedError

    def after_step(self, model: nn.Module) -> None:
        """Called once after each optimiser step (a teacher's moving average goes here)."""

    def evaluated(self, model: nn.Module) -> nn.Module:
        """The network whose predictions are scored: the student, unless a method says otherwise."""
        return model

    @torch.no_grad()
    def pseudo_labels(self, model: nn.Module, view: View) -> Tensor | None:
        """The method's p on the rows of a view, to look at outside of training; no state of anything changes.

        Every process may call this for itself.

        Args:
            model: the student.
            view: unchanged by augmentation; its labels are those the method knows.

        Returns:
            (M, K) fp32 probabilities; None if the method makes no pseudo-labels.
        """
        with evaluating(model, self):
            logits = self.pseudo_logits(model, view)
        return None if logits is None else logits.float().softmax(1)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor | None:
        """What ``pseudo_labels`` takes the softmax of: (M, K); called in evaluation mode without gradients."""
        return None

    @torch.no_grad()
    def uses(self, p: Tensor, view: View) -> Tensor:
        """(M,) bool: which of the ``pseudo_labels`` of a view would be learned from; all, unless overridden."""
        return torch.ones_like(view.labels, dtype=torch.bool)

    @torch.no_grad()
    def feature_space(self, model: nn.Module, view: View) -> FeatureSpace:
        """Where the rows of a view lie, and the prototypes among them, under the conditions of ``pseudo_labels``."""
        with evaluating(model, self):
            return self.embed(model, view)

    def embed(self, model: nn.Module, view: View) -> FeatureSpace:
        """``feature_space`` in evaluation mode: the decoder's features, without prototypes, unless overridden."""
        features, _ = model(view.inputs)
        nothing = view.labels.new_zeros(0)
        return FeatureSpace(features, features.new_zeros(0, features.shape[1]), nothing)

    def histograms(self) -> dict[str, Tensor]:
        """Tensors whose distribution is worth watching (similarities of prototypes, say), by name."""
        return {}

    def labelled_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """L_ce by the settings of the task: ``labelled_cross_entropy``, plus Lovasz-Softmax where it has a weight.

        Raises:
            InputError: a label is neither a class nor -1.
        """
        require_class_ids(labels, self.num_classes)
        loss = labelled_cross_entropy(logits, labels, self.class_weights, self.smoothing) * self.labelled_share
        return loss + self.lovasz * lovasz_softmax(logits, labels) if self.lovasz else loss

    def labelled_weight(self, labels: Tensor) -> Tensor:
        """What ``labelled_cross_entropy`` divides by: the annotated rows of ``labels`` (M,), weighted by class."""
        return _label_weights(labels, self.class_weights).sum()


def labelled_cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, smoothing: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the annotated rows (methods' L_ce), in fp32; 0 with a gradient if there is none.

    With class weights the mean is the weighted one, as in ``torch.nn.CrossEntropyLoss``, and so is label smoothing
    if ``smoothing`` is the same for every class. In several processes it is the mean over the rows of all of them.

    Args:
        logits: (M, K).
        labels: (M,) int64, -1 = not annotated.
        class_weights: (K,) or None.
        smoothing: (K,) parts of each row's target that go to the classes, whichever it is annotated with; their sum is
            below 1. A class with part 0 may have a logit of any size. None = no smoothing.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = full_precision(logits)
        per_row = F.cross_entropy(logits, labels, weight=class_weights, ignore_index=-1, reduction="none")
        if smoothing is not None:
            spread = smoothing if class_weights is None else smoothing * class_weights
            surprise = -logits.log_softmax(1).masked_fill(spread == 0, 0)
            per_row = (1 - smoothing.sum()) * per_row + torch.where(labels >= 0, surprise @ spread.to(logits.dtype), 0)
        return global_mean(per_row.sum(), _label_weights(labels, class_weights).to(per_row.dtype).sum())


def require_class_ids(labels: Tensor, num_classes: int) -> None:
    """Refuse labels that name no class: on a GPU the loss itself would end the whole process.

    Raises:
        InputError: a label is below -1, or K or more.
    """
    if len(labels) == 0:
        return
    low, high = torch.stack(labels.aminmax()).tolist()  # one wait for the device, not two
    if low < -1 or high >= num_classes:
        raise InputError(
            f"a row's label is {low if low < -1 else high}; it must be a class, 0 to {num_classes - 1}, or -1 for not "
            "annotated: give rows without a class the label -1"
        )


def _label_weights(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """(M,) weight of each row in the mean over annotated rows: 0 where there is no annotation."""
    annotated = (labels >= 0).float()
    return annotated if class_weights is None else annotated * class_weights[labels.clamp(min=0)]


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode while the block runs; every part is left as it was."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def full_precision(x: Tensor) -> Tensor:
    """``x`` in fp32, or as it is if it is fp64: losses are computed in full precision under autocast."""
    return x if x.dtype == torch.float64 else x.float()
