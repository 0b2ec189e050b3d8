"""Which scenes and labels a run was begun with: hashes in its ``data.json``, so that it never goes on with others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointseg.atomic import replacing_file
from pointseg.data.label_store import label_file, scene_key
from pointseg.data.scene import PreparedScene, hash_file
from pointseg.data.sparse_labels import SparseLabels
from pointseg.errors import InputError
from pointseg.untrusted import parse_json

if TYPE_CHECKING:
    from pointseg.training.run import Run

FILE = "data.json"

REMEDY = "continue with the data that the run was begun with, or start again under another --out"

Facts = Mapping[str, str | int]
"""What is known of a scene, by the keys of ``_NAMES``; what a scene does not tell is left out."""

_NAMES = {
    "points": "another number of points",
    "coord.npy": "other coordinates",
    "color.npy": "other colours",
    "segment.npy": "another ground truth",
    "labels": "other annotated points",
}


@dataclass(frozen=True)
class DataRecord:
    """The data of a run when it was begun.

    Attributes:
        trained: of each scene trained on, by ``split/scene``: its facts, and the hash of its sparse labels.
        scored: the same of the scored ones, without labels.
        counts: K annotated points of the whole draw; None where every point's label is used.
    """

    trained: Mapping[str, Facts]
    scored: Mapping[str, Facts]
    counts: list[int] | None

    @classmethod
    def of(cls, run: Run) -> DataRecord:
        """What a run's recipe names as it is now.

        Raises:
            InputError: The data is missing or damaged.
        """
        sparse = run.sparse_labels()
        return cls(
            {scene_key(scene): scene_facts(scene) | labels_fact(sparse, scene) for scene in run.training_scenes()},
            {scene_key(scene): scene_facts(scene) for scene in run.scored_scenes()},
            None if sparse is None else sparse.counts.tolist(),
        )

    @classmethod
    def read(cls, folder: Path) -> DataRecord | None:
        """The record in a run folder; None in one of before there were records.

        Raises:
            InputError: It is damaged.
        """
        file = folder / FILE
        try:
            entries = parse_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read ({error}); {_UNCOMPARED}") from error
        if not _is_record(entries):
            raise InputError(f"{file} holds other entries than it was written with; {_UNCOMPARED}")
        return cls(**entries)

    def is_of(self, run: Run) -> bool:
        """Whether a run's recipe still names this data."""
        try:
            return DataRecord.of(run) == self
        except InputError:
            return False

    def write(self, folder: Path) -> None:
        """Store the record in a run folder."""
        with replacing_file(folder / FILE) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def require_same(self, now: DataRecord, root: Path) -> None:
        """Refuse data other than that of this record.

        Args:
            now: What ``root`` holds.
            root: The prepared scenes, for the message.

        Raises:
            InputError: A scene is missing, new or another one, or other points are annotated.
        """
        for begun, there, use in ((self.trained, now.trained, "trained on"), (self.scored, now.scored, "scored")):
            for key in sorted(begun.keys() ^ there.keys()):
                change = "was not yet" if key in there else "is no longer"
                raise InputError(f"scene {key} of {root} {change} among those {use} by this run; {REMEDY}")
            for key, facts in begun.items():
                if name := difference(facts, there[key]):
                    raise InputError(f"scene {key} of {root} has {name} than when the run was begun; {REMEDY}")
        if self.counts != now.counts:
            raise InputError(
                f"the draw in {root} has {now.counts} labels of the classes, but {self.counts} when the run was begun; "
                f"{REMEDY}"
            )


def scene_facts(scene: PreparedScene) -> dict[str, str | int]:
    """The number of points of a scene, and the hashes of what a run uses of it, as its ``meta.json`` has them."""
    hashes = scene.meta.get("sha256", {})
    return {"points": scene.num_points} | {name: hashes[name] for name in _NAMES if name in hashes}


def labels_fact(sparse: SparseLabels | None, scene: PreparedScene) -> dict[str, str | int]:
    """The hash of a scene's sparse labels, if it has any."""
    file = None if sparse is None else label_file(sparse.path, scene)
    return {"labels": hash_file(file)} if file is not None and file.is_file() else {}


def difference(one: Facts, other: Facts) -> str | None:
    """What the second has other than the first, in words; None if all that both know is equal."""
    return next((name for key, name in _NAMES.items() if key in one and key in other and one[key] != other[key]), None)


_UNCOMPARED = "delete it to go on without comparing the data with that of the beginning"


def _is_record(entries: Any) -> bool:
    return (
        isinstance(entries, dict)
        and entries.keys() == {"trained", "scored", "counts"}
        and all(_are_scenes(entries[key]) for key in ("trained", "scored"))
        and (entries["counts"] is None or _are(int, entries["counts"]))
    )


def _are_scenes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(facts, dict) and _are(str | int, list(facts.values())) for facts in value.values()
    )


def _are(kind: Any, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
