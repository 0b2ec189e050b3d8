"""Mean Teacher: the student's prediction on the strong view follows a moving average of itself on the weak view.

Source: Tarvainen and Valpola, NeurIPS 2017, with their released PyTorch code where the paper leaves a choice: no
gradient into the teacher, squared distance of the softmaxes averaged over classes, the comparison on annotated and
unannotated rows alike, the teacher in training mode with batch-norm statistics of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, View
from pointseg.methods.setting_checks import SettingChecks
from pointseg.methods.teacher import Teacher
from pointseg.methods.two_views import DISTANCES, paired_divergence, paired_statistics, ramp_up, strong_forward

NETWORKS = ("teacher", "student")


@dataclass(frozen=True)
class MeanTeacherConfig:
    """Settings of Mean Teacher.

    Attributes:
        weight: of the consistency term at the end of the ramp. Published for ``mse``: 100 (CIFAR-10, released code);
            1 with squared distances summed over 21 classes, which is 21 here (French et al., BMVC 2020); for ``kl``:
            10 (ImageNet, released code). The default is of French et al.'s size for 13 classes.
        divergence: ``mse``, ``kl`` (KL(teacher || student)) or ``js``.
        momentum: m of the teacher. Published: 0.97 to 0.9997, longer trainings higher; 0.99 for segmentation.
        ramp_up: share of the training over which the weight rises. Released code: 5 of 180 epochs for CIFAR-10.
        evaluate: ``teacher`` or ``student``: whose predictions are scored and saved.
    """

    weight: float = 13.0
    divergence: str = "mse"
    momentum: float = 0.99
    ramp_up: float = 0.1
    evaluate: str = "teacher"

    def __post_init__(self) -> None:
        check = SettingChecks("Mean Teacher", self)
        check.at_least(0, "weight")
        check.one_of(DISTANCES, "divergence")
        check.below_one("momentum")
        check.shares("ramp_up")
        check.one_of(NETWORKS, "evaluate")


class MeanTeacher(Method):
    """``L = L_ce + weight r(t) mean D(p, q)``: p of the teacher on the weak view, q of the student on the strong."""

    Config = MeanTeacherConfig
    teacher: Teacher

    @property
    def needs_strong_view(self) -> bool:
        return True

    def prepare(self, model: nn.Module) -> None:
        self.teacher = Teacher(model, self.config.momentum, own_statistics=True)

    def loss(self, model: SegmentationModel, batch: Batch) -> LossTerms:
        weak, strong, weak_row = batch.pair()
        _, weak_logits = model(weak.inputs)
        _, logits = strong_forward(model, strong.inputs)
        _, target = self.teacher(weak.inputs)
        cross_entropy = self.labelled_loss(weak_logits, weak.labels)
        consistency = paired_divergence(DISTANCES[self.config.divergence], target, logits, weak_row)
        log = {"loss_ce": cross_entropy.detach(), "loss_consistency": consistency.detach()}
        if batch.monitor:
            counts = self.label_counts
            log |= paired_statistics(
                target, strong, weak_row, logits, weak=weak, weak_logits=weak_logits, label_counts=counts
            )
        weight = self.config.weight * ramp_up(batch.progress, self.config.ramp_up)
        return LossTerms(cross_entropy + weight * consistency, log)

    def after_step(self, model: nn.Module) -> None:
        self.teacher.update(model)

    def pseudo_logits(self, model: nn.Module, view: View) -> Tensor:
        _, logits = self.teacher.model(view.inputs)
        return logits

    def evaluated(self, model: nn.Module) -> nn.Module:
        return self.teacher.model if self.config.evaluate == "teacher" else model
