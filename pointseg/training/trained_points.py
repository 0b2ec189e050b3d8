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
        self.warned: set[Path] = set()

    @property
    def home(self) -> bool:
        """Whether the run's own data is still where it was."""
        return (self.root / "classes.yaml").is_file()

    def of(self, scene: PreparedScene) -> tuple[np.ndarray, np.ndarray] | None:
        """Raw indices (L,) int64 and classes (L,) int16 of the annotated points of a scene.

        A scene of another root is known by its name and coordinates. Where the run's own data has gone, it has been
        moved, as far as anyone can tell: the draw of the same name beside the scene is taken, with a warning.

        Returns:
            None if the scene was not trained on, or with the labels of all its points.

        Raises:
            InputError: the draw is damaged, or was made on other data.
        """
        known = None if self.data.labels == "full" else self._known(scene)
        if known is None:
            return None
        home = self.home
        draw = self._draw(self.root if home else scene.path.parent.parent.resolve(), moved=not home)
        # Scenes prepared after the draw was made are in the same splits as those it covers.
        if draw is None or scene_key(scene) not in draw.spec["scenes"] or self._made_again(draw, known):
            return None
        return draw.for_scene(known)

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
        """A scene that was trained on, as the run's own data has it; where that is gone, as it is now."""
        data, key = self.data, scene_key(scene)
        if self.record is not None:
            trained = key in self.record.trained
        else:
            trained = scene.split in data.train_splits if data.train_splits else scene.split not in data.eval_splits
        if not trained or scene.path.parent.parent.resolve() == self.root:
            return scene if trained else None
        if self.home:
            return self._twin(scene)
        place = {name: value for name, value in scene_facts(scene).items() if name in ("points", "coord.npy")}
        other = self.record is not None and difference(self.record.trained[key], place)
        return None if other else scene

    def _twin(self, scene: PreparedScene) -> PreparedScene | None:
        """The scene of the run's own data with the same name and points, if there is one."""
        path = self.root / scene.split / scene.name
        twin = open_scene(path) if (path / "meta.json").is_file() else None
        return twin if twin is not None and np.array_equal(twin.coord, scene.coord) else None

    def _made_again(self, draw: SparseLabels, scene: PreparedScene) -> bool:
        """Whether a draw annotates other points of a scene than it did when the run was begun; a warning says so."""
        if self.record is None:
            return False
        again = difference(self.record.trained[scene_key(scene)], labels_fact(draw, scene)) is not None
        if again and draw.path not in self.warned:
            self.warned.add(draw.path)
            logger.warning(
                "the draw %s was made again since the run was begun, so the points it was trained on cannot be told "
                "from others",
                draw.path,
            )
        return again

    def _draw(self, root: Path, *, moved: bool) -> SparseLabels | None:
        if root not in self.draws:
            name = self.data.labels
            there = not moved or (root / LABELS_FOLDER / name).is_dir()
            if moved:
                logger.warning(
                    "the data the run was trained on, %s, is not there any more; %s",
                    self.root,
                    f"the points of the draw {name!r} in {root} are taken for those it was trained on"
                    if there
                    else f"{root} has no draw {name!r}, so the points it was trained on cannot be told from others",
                )
            self.draws[root] = open_labels(root, name) if there else None
        return self.draws[root]


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
