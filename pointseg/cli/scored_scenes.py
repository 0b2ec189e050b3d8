"""What runs are to be scored on, seen before hours of predicting: which scenes, and apart from which points."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pointseg.data.label_store import scene_key
from pointseg.data.scene import PreparedScene
from pointseg.errors import InputError
from pointseg.training import Run
from pointseg.training.data_record import difference, scene_facts


@dataclass(frozen=True)
class ScoredScenes:
    """The scenes that one run is to be scored on.

    Attributes:
        scenes: The scenes.
        left_out: Of each scene, by ``split/scene``: a hash of the points that the run was trained on.
        trained_on: The scenes, as ``split/scene``, that the run was trained on with every label.
        colors: Whether the run takes colours in.
    """

    scenes: Sequence[PreparedScene]
    left_out: Mapping[str, str]
    trained_on: Sequence[str]
    colors: bool

    @classmethod
    def of(cls, run: Run, splits: Sequence[str], data: str | None) -> ScoredScenes:
        """Those of some splits, by default of the held-out ones.

        Args:
            run: The run.
            splits: Names.
            data: Another root than that of the run.
        """
        scenes = run.scenes(splits, data)
        points = {scene_key(scene): run.annotated_points(scene) for scene in scenes}
        left_out = {key: hashlib.sha256(index.tobytes()).hexdigest() for key, index in points.items()}
        trained_on = [scene_key(scene) for scene in scenes if run.trained_whole(scene)]
        return cls(scenes, left_out, trained_on, colors="color" in run.config.data.features)

    def warning(self, name: str) -> str:
        """What is to be said of a run of this name that has been ``trained_on`` some of the scenes."""
        share = f"{len(self.trained_on)} of the {len(self.scenes)} scenes to be scored ({self.trained_on[0]} for one)"
        return f"{name} was trained on every label of {share}: its scores are of what it was shown, not of new scenes"


def require_same_scenes(runs: Mapping[str, ScoredScenes]) -> None:
    """Refuse runs whose own data holds other scenes in the splits to be scored.

    Args:
        runs: By the run's name, at least one.

    Raises:
        InputError: A scene is not there for all of them, or is another one.
    """
    (first, begun), *others = runs.items()
    known = {scene_key(scene): scene for scene in begun.scenes}
    for name, scored in others:
        if only := sorted(known.keys() ^ scored.left_out.keys()):
            where = first if only[0] in known else name
            raise InputError(
                f"scene {only[0]} is in the data of {where} alone, of {first} and {name}; score both on one root with "
                "--data"
            )
        for scene in scored.scenes:
            before, facts = known[scene_key(scene)], scene_facts(scene)
            if not (begun.colors and scored.colors):
                facts.pop("color.npy", None)
            if what := difference(scene_facts(before), facts):
                raise InputError(
                    f"{scene.path} of {name} has {what} than {before.path} of {first}; score both on one root with "
                    "--data"
                )


def unlike_points(one: ScoredScenes, other: ScoredScenes) -> str | None:
    """Why the scores of two runs on the same scenes are not of the same points; None if they are."""
    unlike = [key for key, points in one.left_out.items() if other.left_out[key] != points]
    if not unlike:
        return None
    more = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
    return f"they leave different annotated points of {unlike[0]}{more} out of their scores"
