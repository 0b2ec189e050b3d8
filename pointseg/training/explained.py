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
    sections = {"Pseudo-labels": _pseudo_labels, "Features": _features}
    drawn: dict[str, dict[str, Image.Image]] = {}
    for title, draw in sections.items():
        try:
            drawn[title] = draw(record, method, model)
        except InputError as error:
            logger.warning("left out of the report: %s", error)
    return drawn


def _pseudo_labels(record: PseudoLabelRecord, method: Method, model: Segmentor) -> dict[str, Image.Image]:
    snapshots = record.snapshots() if record.cloud.gt is not None and (record.cloud.gt >= 0).any() else []
    if not snapshots:
        return {}
    return {f"pseudo-labels of {record.name}": pseudo_label_evolution(snapshots, record.run.classes)}


def _features(record: PseudoLabelRecord, method: Method, model: Segmentor) -> dict[str, Image.Image]:
    space = record.feature_space(method, model)
    embedding, prototypes = (part.detach().float().cpu().numpy() for part in (space.embedding, space.prototypes))
    truth, owners = record.sample.truth.numpy(), space.classes.cpu().numpy()
    features = feature_map(embedding, truth, prototypes, owners, record.run.classes)
    return {f"features of {record.name}": features}
