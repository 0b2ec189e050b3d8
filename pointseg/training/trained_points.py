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

logger = logging.getLogger(__name__)

_REMEDY = "continue with the data that the run was begun with, or start again under another --out"


class TrainedPoints:
    """Looks up the annotated points of scenes one after another; each draw is read once.

    Args:
        data: of the recipe.
    """

    def __init__(self, data: DataConfig) -> None:
        self.data = data
        self.root = Path(data.root).resolve()
        self.draws: dict[Path, SparseLabels | None] = {}

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
        data, root = self.data, scene.path.parent.parent.resolve()
        trained = scene.split in data.train_splits if data.train_splits else scene.split not in data.eval_splits
        if data.labels == "full" or not trained:
            return None
        home = self.home
        known = scene if root == self.root or not home else self._twin(scene)
        draw = self._draw(self.root if home else root, moved=not home) if known else None
        if known is None or draw is None or (not home and scene_key(scene) not in draw.spec["scenes"]):
            return None
        return draw.for_scene(known)

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
            raise InputError(f"scene {key} is not in both {self.root} and the data given now; {_REMEDY}")
        for scene in now:
            twin = self._twin(scene)
            if twin is None or not (_equal(twin.color, scene.color) and _equal(twin.segment, scene.segment)):
                raise InputError(f"{scene.path} is another scene than {self.root / scene_key(scene)}; {_REMEDY}")
            known = self.of(scene)
            if known is not None and draw is not None and not all(map(np.array_equal, known, draw.for_scene(scene))):
                raise InputError(
                    f"the draw {self.data.labels!r} annotates other points of {scene.path} than of "
                    f"{self.root / scene_key(scene)}; {_REMEDY}"
                )

    def _twin(self, scene: PreparedScene) -> PreparedScene | None:
        """The scene of the run's own data with the same name and points, if there is one."""
        path = self.root / scene.split / scene.name
        twin = open_scene(path) if (path / "meta.json").is_file() else None
        return twin if twin is not None and np.array_equal(twin.coord, scene.coord) else None

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
