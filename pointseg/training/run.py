"""A run: one folder that holds everything about one training.

config.yaml  classes.yaml  environment.json  data.json  metrics.jsonl  tensorboard/
checkpoints/step_*/  checkpoints/best/  checkpoints/final/  evaluation/  predictions/
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from pointseg.atomic import replacing_file
from pointseg.data.classes import Classes, load_classes, save_classes
from pointseg.data.dataset import feature_channels
from pointseg.data.label_store import scene_key
from pointseg.data.label_weights import class_weights
from pointseg.data.scene import PreparedScene, list_scenes, list_splits
from pointseg.data.sparse_labels import SparseLabels, open_labels
from pointseg.errors import InputError
from pointseg.evaluation.evaluate import NOTHING
from pointseg.methods import Task
from pointseg.models.segmentor import Segmentor, build_segmentor
from pointseg.training.checkpoint import FINAL, known_damage, load_weights, require_undamaged, scored_weights
from pointseg.training.config import TrainConfig
from pointseg.training.data_checks import check_data, check_left_to_score
from pointseg.training.data_record import DataRecord
from pointseg.training.environment import environment
from pointseg.training.lock import locked
from pointseg.training.plain import flatten
from pointseg.training.recipe import load_recipe, to_dict
from pointseg.training.trained_points import TrainedPoints

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run folder with its recipe and classes.

    Attributes:
        path: the folder.
        config: the resolved recipe.
        classes: the class file of the data it was trained on.
    """

    path: Path
    config: TrainConfig
    classes: Classes

    @classmethod
    def create(cls, path: str | Path, config: TrainConfig, *, resume: bool = False) -> Run:
        """Start a run folder, or with ``resume`` take up the one that is there.

        A run whose data has been moved is told so by ``config.data.root``, and looks there from then on.

        Raises:
            InputError: the folder holds a run and ``resume`` was not asked for, or it was made with another recipe,
                or the data of the recipe is not there, or is not that which the run was begun with.
        """
        path = Path(path)
        existing = (path / "config.yaml").is_file()
        if existing and not resume:
            raise InputError(f"{path} already holds a run; continue it with --resume, or choose another --out")
        if existing:
            run = cls.open(path)
            _require_same(run.config, config, path)
            run = run._with_data_of(config)
            if not run.finished:
                if (run.checkpoints / FINAL).is_dir():
                    logger.warning("the final weights of %s are damaged; they are made again", path)
                check_data(run)
            return run
        classes = load_classes(_data_root(config) / "classes.yaml")
        run = cls(path, config, classes)
        check_data(run)
        check_left_to_score(run)
        record = DataRecord.of(run)
        path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if (path / "config.yaml").is_file():
                raise InputError(f"another process has just started a run in {path}; choose another --out")
            save_classes(classes, path / "classes.yaml")
            (path / "environment.json").write_text(json.dumps(environment(), indent=1))
            record.write(path)
            # Last: it makes the folder a run.
            run._write_config()
        # Anew: what was checked had no record yet.
        return cls(path, config, classes)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run folder."""
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path} is not a run folder (it has no config.yaml); give the --out folder of a training")
        return cls(path, load_recipe(path / "config.yaml"), load_classes(path / "classes.yaml"))

    def _with_data_of(self, config: TrainConfig) -> Run:
        """This run with its data in the root of ``config``, which must hold the scenes and labels it was begun with."""
        there, root, record = self._trained_points, _data_root(config), DataRecord.read(self.path)
        if root.resolve() == there.root:
            if record is not None and not self.finished:
                record.require_same(DataRecord.of(self), root)
            return self
        moved = Run(self.path, config, self.classes)
        moved._require_classes(root)
        if there.home and (record is None or record.is_of(self)):
            begun, now = ([*run.training_scenes(), *run.scored_scenes()] for run in (self, moved))
            there.require_same(begun, now, moved.sparse_labels())
        if record is not None:
            record.require_same(DataRecord.of(moved), root)
        elif not there.home:
            logger.warning(
                "the data the run was begun with, %s, is not there any more, so that nothing is left to compare with; "
                "what %s holds by the same names is taken for it",
                there.root,
                root,
            )
        with locked(self.path):
            moved._write_config()
        return moved

    def _write_config(self) -> None:
        with replacing_file(self.path / "config.yaml") as unfinished:
            unfinished.write_text(yaml.safe_dump(to_dict(self.config), sort_keys=False))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def scenes(self, splits: Sequence[str] = (), data_root: str | Path | None = None) -> list[PreparedScene]:
        """The prepared scenes of the named splits, by default the held-out ones, or all if none are; they must exist.

        Args:
            splits: split names.
            data_root: where the prepared scenes are; None = where they were in training.
        """
        root = _data_root(self.config) if data_root is None else Path(data_root)
        self._require_classes(root)
        return list_scenes(root, splits or self.config.data.eval_splits or None)

    def _require_classes(self, root: Path) -> None:
        there = load_classes(root / "classes.yaml").names
        if there != self.classes.names:
            raise InputError(
                f"{root} has the classes {', '.join(there)}, but the run {self.path} was trained on "
                f"{', '.join(self.classes.names)}; use a run and data of one class file"
            )

    def scored_scenes(self) -> list[PreparedScene]:
        """The held-out scenes; none if the recipe holds none out."""
        return self.scenes() if self.config.data.eval_splits else []

    def training_scenes(self) -> list[PreparedScene]:
        """The scenes of ``training_splits``, but for those that the draw was made without.

        Raises:
            InputError: no scene is left, or there are no such splits or no such draw.
        """
        splits, sparse = self.training_splits(), self.sparse_labels()
        there = list_scenes(_data_root(self.config), splits)
        left_out = frozenset[str]() if sparse is None else sparse.left_out
        kept = [scene for scene in there if scene_key(scene) not in left_out]
        if not kept:
            raise InputError(
                f"no scene of {', '.join(splits)} has a label in {self.config.data.labels!r}; annotate some of their "
                "points ('pointseg label'), or name other splits with data.train_splits"
            )
        return kept

    def training_splits(self) -> list[str]:
        """The splits trained on: the named ones, or all that are not held out.

        A split may be in both lists only with sparse labels; its annotated points are left out of the score then.
        """
        data = self.config.data
        there = list_splits(_data_root(self.config))
        splits = list(data.train_splits) or [name for name in there if name not in data.eval_splits]
        shared = set(splits) & set(data.eval_splits)
        if shared and data.labels == "full":
            raise InputError(f"splits {sorted(shared)} are both trained on with all labels and scored; name each once")
        if not splits:
            raise InputError(f"{data.root} holds only the held-out splits {list(data.eval_splits)}; prepare others too")
        return splits

    def annotated_points(self, scene: PreparedScene) -> np.ndarray:
        """Raw indices of the annotated points of a scene that this run was trained on; none of a scene it never saw."""
        annotation = self.annotation(scene)
        return NOTHING if annotation is None else annotation[0]

    def annotation(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray] | None:
        """Raw indices and classes of the annotated points of a scene, see ``TrainedPoints.of``."""
        return self._trained_points.of(scene)

    def trained_whole(self, scene: PreparedScene) -> bool:
        """Whether this run was trained on the labels of all points of a scene."""
        return self._trained_points.whole(scene)

    @functools.cached_property
    def _trained_points(self) -> TrainedPoints:
        # Without a config.yaml it is no run yet, and what lies there was left by a start that failed.
        begun = (self.path / "config.yaml").is_file()
        return TrainedPoints(self.config.data, DataRecord.read(self.path) if begun else None)

    def sparse_labels(self) -> SparseLabels | None:
        """The draw of the recipe, or None where every point's label is used."""
        name = self.config.data.labels
        return None if name == "full" else open_labels(_data_root(self.config), name)

    def task(self, feature_dim: int) -> Task:
        """What the method is told: classes, feature width, labelled points of each class, and the labelled loss."""
        sparse, loss = self.sparse_labels(), self.config.loss
        counts = sparse.counts if sparse is not None else self._full_counts()
        weighted = loss.class_weights != "none"
        weights = torch.from_numpy(class_weights(counts, loss.class_weights)).float() if weighted else None
        return Task(
            self.classes.num_classes,
            feature_dim,
            torch.from_numpy(counts),
            weights,
            label_smoothing=loss.label_smoothing,
            lovasz=loss.lovasz,
        )

    def _full_counts(self) -> np.ndarray:
        counts = np.zeros(self.classes.num_classes, np.int64)
        for scene in self.training_scenes():
            segment = np.asarray(scene.segment)
            counts += np.bincount(segment[segment >= 0], minlength=len(counts))
        return counts

    def build_model(self) -> Segmentor:
        """The recipe's network, freshly initialised from torch's current seed."""
        model = self.config.model
        return build_segmentor(
            model.name,
            feature_channels(self.config.data.features),
            self.classes.num_classes,
            planes=model.planes,
            init_dim=model.init_dim,
            stem_kernel=model.stem_kernel,
        )

    def load_model(self, checkpoint: str = "final", device: torch.device | str = "cpu") -> Segmentor:
        """The scored network of a checkpoint, in evaluation mode.

        Args:
            checkpoint: ``final``, ``best``, or the name of a folder in ``checkpoints``.
            device: where to put it.
        """
        folder = self.checkpoints / checkpoint
        if not folder.is_dir():
            there = sorted(p.name for p in self.checkpoints.glob("[!.]*"))
            raise InputError(
                f"run {self.path} has no checkpoint {checkpoint!r}; there are: {', '.join(there) or 'none yet'}"
            )
        require_undamaged(folder)
        model = self.build_model()
        load_weights(scored_weights(folder), model.net)
        return model.to(device).eval()

    @property
    def finished(self) -> bool:
        """Whether the final weights are there, as they were written."""
        final = self.checkpoints / FINAL
        return (final / "state.json").is_file() and known_damage(final) is None


def _data_root(config: TrainConfig) -> Path:
    if not config.data.root:
        raise InputError("the recipe names no data.root; give the folder of prepared scenes with --data")
    root = Path(config.data.root)
    if not (root / "classes.yaml").is_file():
        raise InputError(f"{root} holds no prepared scenes (no classes.yaml); make them with 'pointseg prepare'")
    return root


def _require_same(saved: TrainConfig, given: TrainConfig, path: Path) -> None:
    old, new = flatten(to_dict(saved)), flatten(to_dict(given))
    # Data may be moved; whether it is the same is seen by looking at it.
    keys = sorted((old | new).keys() - {"data.root"})
    changed = [f"{key}: {old.get(key)} there, {new.get(key)} now" for key in keys if old.get(key) != new.get(key)]
    if changed:
        raise InputError(
            f"{path} was started with other settings ({'; '.join(changed)}); use the same ones or choose another --out"
        )
