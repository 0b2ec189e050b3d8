"""Label-efficient learning methods on flat (M, C) tensors: points, voxels or pixels alike."""

from pointseg.methods.base import (
    Batch,
    FeatureSpace,
    LossTerms,
    Method,
    SegmentationModel,
    Task,
    View,
    labelled_cross_entropy,
)
from pointseg.methods.class_queries import ClassQueries
from pointseg.methods.consistency import Consistency, ConsistencyConfig
from pointseg.methods.divergence import erda_loss
from pointseg.methods.entropy_minimization import EntropyMinimization, EntropyMinimizationConfig
from pointseg.methods.erda import Erda, ErdaConfig, ErdaLoss
from pointseg.methods.mean_teacher import MeanTeacher, MeanTeacherConfig
from pointseg.methods.mllc import Mllc, MllcConfig
from pointseg.methods.prototypes import ProjectionHead, Prototypes, SubPrototypes
from pointseg.methods.pseudo_label import PseudoLabel, PseudoLabelConfig
from pointseg.methods.query_erda import QueryErda, QueryErdaConfig
from pointseg.methods.supervised import Supervised, SupervisedConfig
from pointseg.methods.teacher import Teacher
from pointseg.methods.u2pl import U2pl
from pointseg.methods.u2pl_config import U2plConfig

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "entropy_minimization": EntropyMinimization,
    "pseudo_label": PseudoLabel,
    "mean_teacher": MeanTeacher,
    "consistency": Consistency,
    "u2pl": U2pl,
    "mllc": Mllc,
    "erda": Erda,
    "query_erda": QueryErda,
}

__all__ = [
    "METHODS",
    "Batch",
    "ClassQueries",
    "Consistency",
    "ConsistencyConfig",
    "EntropyMinimization",
    "EntropyMinimizationConfig",
    "Erda",
    "ErdaConfig",
    "ErdaLoss",
    "FeatureSpace",
    "LossTerms",
    "MeanTeacher",
    "MeanTeacherConfig",
    "Method",
    "Mllc",
    "MllcConfig",
    "ProjectionHead",
    "Prototypes",
    "PseudoLabel",
    "PseudoLabelConfig",
    "QueryErda",
    "QueryErdaConfig",
    "SegmentationModel",
    "SubPrototypes",
    "Supervised",
    "SupervisedConfig",
    "Task",
    "Teacher",
    "U2pl",
    "U2plConfig",
    "View",
    "erda_loss",
    "labelled_cross_entropy",
]
