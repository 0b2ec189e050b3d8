"""Which points of a scene a run was trained on, so that no score counts them, wherever the scene lies now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.data.label_store import scene_key
from pointseg.data.scene import PreparedScene, open_scene
from pointseg.data.scene_reader import LABELS_FOLDER
from pointseg.data.sparse_labels import SparseLabels, open_labels
from pointseg.errors import InputError
from pointseg.training.config import DataConfig
from pointseg.training.data_record import REMEDY, DataRecord, difference, labels_fact, scene_facts

logger = logging.getLogger(__name__)


class TrainedPoints:
    """Looks up the annotated points of scenes one after another; each draw is read once.

    Args:
        data: of the recipe.
        record: of the data the run was begun with; None for a run of before there were records.
    """

    def __init__(self, data: DataConfig, record: DataRecord | None) -> None:
        self.data = data
        self.record = record
        self.root = Path(data.root).resolve()
        self.draws: dict[Path, SparseLabels | None] = {}
        self.draw_of_scene: dict[tuple[str, Path], SparseLabels | None] = {}
        self.warned = False

    @property
    def home(self) -> bool:
        """Whether the run's own data is still where it was."""
        return (self.root / "classes.yaml").is_file()

    def of(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray] | None:
        """Raw indices (L,) int64 and classes (L,) int16 of the annotated points of a scene.

        A scene of another root is known by its name and coordinates, and the draw, the run's own or the one of the same
        name beside the scene, by the hash of its labels. Without a record the run's own data is compared with; where
        that has gone, it has been moved, as far as anyone can tell, and what lies beside the scene is taken, with a
        warning.

        Returns:
            None if the scene was not trained on, or with the labels of all its points.

        Raises:
            InputError: the draw is damaged, or was made on other data.
        """
        known = None if self.data.labels == "full" else self._known(scene)
        if known is None:
            return None
        place = scene_key(scene), _root(scene)
        if place not in self.draw_of_scene:
            draw = self._recorded_draw(scene) if self.record is not None else self._unrecorded_draw(scene)
            # Scenes prepared after the draw was made are in the same splits as those it covers.
            covered = draw is not None and scene_key(scene) in draw.spec["scenes"]
            self.draw_of_scene[place] = draw if covered else None
        draw = self.draw_of_scene[place]
        if draw is None:
            return None
        # What was recorded is right as it is: the scene's ground truth may be another by now, or missing.
        return draw.stored(known) if self._recorded(known) else draw.for_scene(known)

    def whole(self, scene: PreparedScene) -> bool:
        """Whether a scene was trained on with the labels of all its points, so that its score tells of no other."""
        return self.data.labels == "full" and self._known(scene) is not None

    def require_same(
        self, begun: Sequence[PreparedScene], now: Sequence[PreparedScene], draw: SparseLabels | None
    ) -> None:
        """Refuse scenes of another root unless they are those that a run was begun with, annotated alike.

        Args:
            begun: the scenes of the run's own data that its recipe trains on and scores.
            now: those of the other root.
            draw: of the other root; None where every point's label is used.

        Raises:
            InputError: a scene is missing, new, or another one, or other points of it are annotated.
        """
        for key in sorted({scene_key(scene) for scene in begun} ^ {scene_key(scene) for scene in now}):
            raise InputError(f"scene {key} is not in both {self.root} and the data given now; {REMEDY}")
        for scene in now:
            twin = self._twin(scene)
            if twin is None or not (_equal(twin.color, scene.color) and _equal(twin.segment, scene.segment)):
                raise InputError(f"{scene.path} is another scene than {self.root / scene_key(scene)}; {REMEDY}")
            known = self.of(scene)
            if known is not None and draw is not None and not all(map(np.array_equal, known, draw.for_scene(scene))):
                raise InputError(
                    f"the draw {self.data.labels!r} annotates other points of {scene.path} than of "
                    f"{self.root / scene_key(scene)}; {REMEDY}"
                )

    def _known(self, scene: PreparedScene) -> PreparedScene | None:
        """A scene that was trained on; without a record as the run's own data has it, where that is still there."""
        data, key = self.data, scene_key(scene)
        if self.record is not None:
            trained = key in self.record.trained
        else:
            trained = scene.split in data.train_splits if data.train_splits else scene.split not in data.eval_splits
        if not trained or _root(scene) == self.root:
            return scene if trained else None
        begun, place = {} if self.record is None else self.record.trained[key], _place(scene)
        if self.home and "coord.npy" not in begun.keys() & place.keys():
            return self._twin(scene)
        return None if difference(begun, place) else scene

    def _recorded(self, scene: PreparedScene) -> bool:
        """Whether a scene has the coordinates that were recorded when the run was begun."""
        begun = {} if self.record is None else self.record.trained[scene_key(scene)]
        place = _place(scene)
        return "coord.npy" in begun.keys() & place.keys() and difference(begun, place) is None

    def _twin(self, scene: PreparedScene) -> PreparedScene | None:
        """The scene of the run's own data with the same name and points, if there is one."""
        path = self.root / scene.split / scene.name
        twin = open_scene(path) if (path / "meta.json").is_file() else None
        return twin if twin is not None and np.array_equal(twin.coord, scene.coord) else None

    def _recorded_draw(self, scene: PreparedScene) -> SparseLabels | None:
        """The draw that annotates a scene as it did when the run was begun; a warning where there is none any more."""
        assert self.record is not None
        begun = self.record.trained[scene_key(scene)].get("labels")
        for root in dict.fromkeys((self.root, _root(scene))):
            draw = self._draw(root)
            if draw is not None and labels_fact(draw, scene).get("labels") == begun:
                return draw
        if self.home and self._draw(self.root) is None:
            return open_labels(self.root, self.data.labels)  # which says that it is not there
        if not self.warned:
            self.warned = True
            logger.warning(
                "the draw %r was made again since the run was begun, or is gone, so the points it was trained on "
                "cannot be told from others",
                self.data.labels,
            )
        return None

    def _unrecorded_draw(self, scene: PreparedScene) -> SparseLabels | None:
        """The run's own draw; where its data has gone the one beside the scene, with a warning."""
        if self.home:
            return self._draw(self.root) or open_labels(self.root, self.data.labels)
        root, name = _root(scene), self.data.labels
        draw = self._draw(root)
        if not self.warned:
            self.warned = True
            logger.warning(
                "the data the run was trained on, %s, is not there any more; %s",
                self.root,
                f"{root} has no draw {name!r}, so the points it was trained on cannot be told from others"
                if draw is None
                else f"the points of the draw {name!r} in {root} are taken for those it was trained on",
            )
        return draw

    def _draw(self, root: Path) -> SparseLabels | None:
        """The draw of the recipe's name in a root, if there is one."""
        if root not in self.draws:
            there = (root / LABELS_FOLDER / self.data.labels).is_dir()
            self.draws[root] = open_labels(root, self.data.labels) if there else None
        return self.draws[root]


def _root(scene: PreparedScene) -> Path:
    return scene.path.parent.parent.resolve()


def _place(scene: PreparedScene) -> dict[str, str | int]:
    """What is known of where its points are."""
    return {name: value for name, value in scene_facts(scene).items() if name in ("points", "coord.npy")}


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
