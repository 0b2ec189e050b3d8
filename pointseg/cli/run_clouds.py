"""A run's scenes as clouds: what it predicted, or predicts now, and the points it was trained on."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pointseg.data.classes import Classes
from pointseg.data.label_store import scene_key
from pointseg.data.scene import PreparedScene, hash_file
from pointseg.device import pick_device
from pointseg.errors import InputError
from pointseg.inference.predict import ScenePrediction
from pointseg.training import Run
from pointseg.training.checkpoint import scored_weights
from pointseg.training.loop import predictor
from pointseg.training.pseudo_label_record import FOLDER as PSEUDO_LABELS
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.holding import within_memory
from pointseg.viewing.ply import read_ply
from pointseg.viewing.sources import Source, Wishes, scene_cloud


@dataclass(frozen=True)
class WrittenFiles:
    """What wrote the prediction files of a folder: ``made_by.jsonl`` in it, a line a scene; the last one counts.

    Attributes:
        folder: Such as ``RUN/predictions``.
        maker: The hash of the weights and the root of the scenes.
    """

    folder: Path
    maker: dict[str, str]

    @classmethod
    def of(cls, folder: Path, run: Run, checkpoint: str, data: str | Path | None) -> WrittenFiles:
        """Of one checkpoint's predictions for the scenes of one root."""
        weights = hash_file(scored_weights(run.checkpoints / checkpoint))
        return cls(folder, {"weights": weights, "data": str(Path(data or run.config.data.root).resolve())})

    def path(self, scene: PreparedScene) -> Path:
        """Where the prediction of a scene is."""
        return self.folder / scene.split / f"{scene.name}.ply"

    def holds(self, scene: PreparedScene) -> bool:
        """Whether a scene's file is there, this maker's, and neither it nor the scene has changed since."""
        entry = self._entries().get(scene_key(scene))
        return self.path(scene).is_file() and entry is not None and entry == self._entry(scene)

    def add(self, scene: PreparedScene) -> None:
        """Note that a scene's file has been written."""
        line = json.dumps({"scene": scene_key(scene), **self._entry(scene)})
        with self._file.open("a", encoding="utf-8") as file:
            # A line that a kill cut short is no JSON, and a new one begins after it.
            file.write(f"\n{line}\n")

    def _entry(self, scene: PreparedScene) -> dict[str, str]:
        # As it was opened: where a scene is prepared again while it is predicted, that is not taken for the new one's.
        meta = json.dumps(scene.meta, sort_keys=True).encode()
        return self.maker | {"meta": hashlib.sha256(meta).hexdigest(), "file": hash_file(self.path(scene))}

    @property
    def _file(self) -> Path:
        return self.folder / "made_by.jsonl"

    def _entries(self) -> dict[str, dict[str, str]]:
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return {}  # nothing is known of the files then, and they are predicted anew
        entries: dict[str, dict[str, str]] = {}
        for line in lines:
            with suppress(ValueError, RecursionError, TypeError, AttributeError, KeyError):
                entry = json.loads(line)
                entries[entry.pop("scene")] = entry
        return entries


def predicted_cloud(run: Run, scene: PreparedScene, prediction: ScenePrediction) -> Cloud:
    """A scene with a run's prediction for all its points, and the points the run was trained on."""
    # All points, however many: a prediction is written whole.
    cloud = scene_cloud(scene, run.annotation(scene), max_points=scene.num_points)
    return replace(cloud, pred=prediction.pred, confidence=prediction.confidence, entropy=prediction.entropy)


def open_run(path: Path, wishes: Wishes, checkpoint: str, device: str | None) -> list[Source]:
    """The scenes of a run: those it holds out and its pseudo-labels of a training scene, or those of the wished splits.

    Predictions are those of ``RUN/predictions`` where the checkpoint made them, and made when a scene is opened where
    not.

    Raises:
        InputError: No run, no such checkpoint, split or classes, or wishes that do not fit a run.
    """
    if wishes.labels is not None or wishes.label_field is not None:
        raise InputError("a run shows its own labels; leave out --labels and --label-field.")
    run = Run.open(path)
    if not (run.checkpoints / checkpoint).is_dir():
        run.load_model(checkpoint)  # which says what there is
    shown = _ShownRun(run, wishes, checkpoint, device)
    scenes = [
        Source(scene_key(scene), str(path), scene.path, functools.partial(shown.load, scene))
        for scene in run.scenes(wishes.splits)
    ]
    kept = () if wishes.splits else sorted((path / PSEUDO_LABELS).glob("*.ply"))
    return scenes + [
        Source(
            f"{PSEUDO_LABELS}/{file.stem}",
            str(path),
            file,
            functools.partial(shown.load_file, file),
            place=f"{path}/{PSEUDO_LABELS}",
        )
        for file in kept
    ]


@dataclass(frozen=True)
class _ShownRun:
    run: Run
    wishes: Wishes
    checkpoint: str
    device: str | None

    @functools.cached_property
    def written(self) -> WrittenFiles:
        return WrittenFiles.of(self.run.path / "predictions", self.run, self.checkpoint, None)

    @functools.cached_property
    def predict(self) -> Callable[[PreparedScene], ScenePrediction]:
        device = pick_device(self.device)
        return predictor(self.run, self.run.load_model(self.checkpoint, device), device)

    def load(self, scene: PreparedScene) -> tuple[Cloud, Classes]:
        cloud = self._written(scene) or self._predicted(scene)
        return cloud, self.wishes.classes_of(cloud, self.run.classes)

    def load_file(self, file: Path) -> tuple[Cloud, Classes]:
        cloud = read_ply(file)
        return cloud, self.wishes.classes_of(cloud, self.run.classes)

    def _written(self, scene: PreparedScene) -> Cloud | None:
        if not self.written.holds(scene):
            return None
        return within_memory(read_ply(self.written.path(scene)))

    def _predicted(self, scene: PreparedScene) -> Cloud:
        print(f"predicting {scene_key(scene)} of {self.run.path} ({scene.num_points:,} points) ...", file=sys.stderr)
        return within_memory(predicted_cloud(self.run, scene, self.predict(scene)))
