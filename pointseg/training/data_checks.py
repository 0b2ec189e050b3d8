"""Whether the data of a recipe is there and fit for it, seen before anything is trained or written."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pointseg.data.classes import IGNORED
from pointseg.data.scene import PreparedScene
from pointseg.data.sparse_labels import SparseLabels
from pointseg.errors import InputError
from pointseg.methods import METHODS
from pointseg.training.processes import require_shareable

if TYPE_CHECKING:
    from pointseg.training.run import Run

logger = logging.getLogger(__name__)


def check_data(run: Run) -> None:
    """See that everything a run's recipe names is there.

    Raises:
        InputError: a batch is too small for the processes of the job; a split, a draw, a scene's labels or ground
            truth, colours that the network takes, or a voxel grid is missing; labels outside the class file; a
            split without any.
    """
    require_shareable(run.config.batch_size, run.config.compile)
    _check_scored(run)
    _check_trained(run)


def check_left_to_score(run: Run) -> None:
    """See that not every point to be scored is one that is trained on; a run begun all the same can still be ended.

    Raises:
        InputError: nothing is left of a scored split.
    """
    left = Counter[str]()
    for scene in run.scored_scenes():
        unseen = np.array(scene.segment)
        unseen[run.annotated_points(scene)] = IGNORED
        left[scene.split] += int((unseen >= 0).sum())
    for split in (name for name, count in left.items() if count == 0):
        raise InputError(
            f"every point of split {split} that has a class is annotated in {run.config.data.labels!r} and trained on, "
            "so none is left to score; score another split, or none with data.eval_splits=[]"
        )


def _check_scored(run: Run) -> None:
    labelled = Counter[str]()
    for scene in run.scored_scenes():
        _require_colors(run, scene)
        scene.grid(run.config.data.voxel_size)
        if scene.segment is None:
            raise InputError(
                f"scene {scene.split}/{scene.name} has no ground truth and cannot be scored; leave its "
                "split out of data.eval_splits, which may be []"
            )
        labelled[scene.split] += _labelled(run, scene, scene.segment)
    for split in (name for name, count in labelled.items() if count == 0):
        raise InputError(f"the ground truth of split {split} is empty; leave it out of data.eval_splits")


def _check_trained(run: Run) -> None:
    sparse, method = run.sparse_labels(), run.config.method_name
    if sparse is None and METHODS[method].needs_unannotated and not run.config.method.get("all_points"):
        raise InputError(
            f"{method} would have no unannotated point to learn from when data.labels is full; name a draw with "
            "--labels, or take the method supervised" + (", or set method.all_points to true" * (method == "erda"))
        )
    _tell_of_left_out(run, sparse)
    labelled = Counter[str](dict.fromkeys(run.config.data.train_splits, 0))
    for scene in run.training_scenes():
        _require_colors(run, scene)
        if sparse is not None and scene.segment is not None:
            # What methods take the other points for is compared with it.
            _require_known(run, scene, scene.segment)
        labels = scene.segment if sparse is None else sparse.for_scene(scene)[1]
        if labels is None:
            raise InputError(
                f"scene {scene.split}/{scene.name} has no ground truth; annotate some of its points ('pointseg "
                "label') and train on those"
            )
        labelled[scene.split] += _labelled(run, scene, labels)
    for split in (name for name, count in labelled.items() if count == 0):
        raise InputError(
            f"split {split} has no labelled point in {run.config.data.labels!r}; leave it out of "
            "data.train_splits, or annotate some of its points ('pointseg label')"
        )


def _tell_of_left_out(run: Run, sparse: SparseLabels | None) -> None:
    splits = run.training_splits()
    without = sorted(key for key in (sparse.left_out if sparse else ()) if key.split("/")[0] in splits)
    if without:
        shown = ", ".join(without[:5]) + f" and {len(without) - 5} more" * (len(without) > 5)
        logger.warning("left out of the training, for want of a label in %r: %s", run.config.data.labels, shown)


def _require_colors(run: Run, scene: PreparedScene) -> None:
    if "color" in run.config.data.features and "color" not in scene.meta["arrays"]:
        raise InputError(
            f"scene {scene.split}/{scene.name} has no colour, but data.features contains 'color'; leave its split "
            "out, or train without colours, for example with data.features=[ones, height]"
        )


def _labelled(run: Run, scene: PreparedScene, labels: np.ndarray) -> int:
    """How many of the labels (N,) of a scene are of a class; all must be known to the class file, or -1."""
    _require_known(run, scene, labels)
    return int((labels >= 0).sum())


def _require_known(run: Run, scene: PreparedScene, labels: np.ndarray) -> None:
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (-1, -1)
    if low < -1 or high >= run.classes.num_classes:
        raise InputError(
            f"scene {scene.split}/{scene.name} has the label {high if low >= -1 else low}, but the class file "
            f"has 0 to {run.classes.num_classes - 1}, and -1 for ignored; prepare it again with the right one"
        )
