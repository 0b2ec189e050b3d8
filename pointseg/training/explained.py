"""Pictures that explain what a method learned, at the end of a training."""

from __future__ import annotations

import logging

from PIL import Image

from pointseg.errors import InputError
from pointseg.methods import Method
from pointseg.models.segmentor import Segmentor
from pointseg.training.pseudo_label_record import PseudoLabelRecord
from pointseg.viewing.evolution import pseudo_label_evolution
from pointseg.viewing.features import feature_map

logger = logging.getLogger(__name__)


def explained(record: PseudoLabelRecord, method: Method, model: Segmentor) -> dict[str, dict[str, Image.Image]]:
    """How pseudo-labels came about, and where features and prototypes lie, by section of the report.

    A picture that cannot be drawn, of a scene of two voxels for example, is left out with a warning: a training must
    not fail at its end for it.
    """
    classes = record.run.classes
    drawn: dict[str, dict[str, Image.Image]] = {}
    try:
        if record.cloud.gt is not None and (record.cloud.gt >= 0).any() and (snapshots := record.snapshots()):
            drawn["Pseudo-labels"] = {f"pseudo-labels of {record.name}": pseudo_label_evolution(snapshots, classes)}
        space = record.feature_space(method, model)
        embedding, prototypes = (part.float().cpu().numpy() for part in (space.embedding, space.prototypes))
        features = feature_map(embedding, record.sample.truth.numpy(), prototypes, space.classes.cpu().numpy(), classes)
        drawn["Features"] = {f"features of {record.name}": features}
    except InputError as error:
        logger.warning("left out of the report: %s", error)
    return drawn
