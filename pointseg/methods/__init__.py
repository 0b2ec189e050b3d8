"""Label-efficient learning methods on flat (M, C) tensors: points, voxels or pixels alike."""

from pointseg.methods.base import Batch, LossTerms, Method, SegmentationModel, Task, View, labelled_cross_entropy
from pointseg.methods.erda import Erda, ErdaConfig, ErdaLoss, erda_loss
from pointseg.methods.prototypes import ProjectionHead, Prototypes
from pointseg.methods.supervised import Supervised, SupervisedConfig

METHODS: dict[str, type[Method]] = {"supervised": Supervised, "erda": Erda}

__all__ = [
    "METHODS",
    "Batch",
    "Erda",
    "ErdaConfig",
    "ErdaLoss",
    "LossTerms",
    "Method",
    "ProjectionHead",
    "Prototypes",
    "SegmentationModel",
    "Supervised",
    "SupervisedConfig",
    "Task",
    "View",
    "erda_loss",
    "labelled_cross_entropy",
]
