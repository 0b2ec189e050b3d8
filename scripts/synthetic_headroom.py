"""How much room to learn the synthetic rooms leave: a forest on colour and height, full labels, 1 point per class.

pointseg prepare synthetic --raw data/synthetic_raw --out data/synthetic --voxel-size 0.08
python scripts/synthetic_headroom.py --data data/synthetic --runs runs/headroom

Without --runs only the forest is trained (a minute); the two networks take some ten minutes each on one core and are
trained side by side. An interrupted call is continued by the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from side_by_side import Job, train_side_by_side
from sklearn.ensemble import RandomForestClassifier

from pointseg.data.classes import load_classes
from pointseg.data.scene import PreparedScene, list_scenes
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError
from pointseg.evaluation import confusion_matrix, scores_from_confusion

HELD_OUT = "Area_5"
VOXEL_SIZE = 0.08
RECIPE = "synthetic_supervised"


def main() -> int:
    """Measure, print, and say whether each bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared synthetic rooms, with an 8 cm grid")
    parser.add_argument("--runs", type=Path, help="also train the two networks, into this folder")
    parser.add_argument("--steps", type=int, default=1200, help="training steps of each network")
    args = parser.parse_args()
    try:
        scores = {"forest": forest(list_scenes(args.data), load_classes(args.data / "classes.yaml").num_classes)}
        print(f"forest on colour and height: {scores['forest']:.1f} mIoU (bar: under 45)")
        if args.runs is None:
            return 0 if scores["forest"] < 45 else 1
        scores |= networks(args.data, args.runs, args.steps)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    gap = scores["full"] - scores["1pt"]
    print(f"full supervision, {args.steps} steps: {scores['full']:.1f} mIoU (bar: at least 80)")
    print(f"1 point per class and room: {scores['1pt']:.1f} mIoU, {gap:.1f} below (bar: at least 15)")
    return 0 if scores["forest"] < 45 and scores["full"] >= 80 and gap >= 15 else 1


def forest(scenes: Sequence[PreparedScene], num_classes: int, *, points: int = 8000, trees: int = 40) -> float:
    """mIoU on every raw point of the held-out area of a forest on red, green, blue and height above the floor.

    Args:
        scenes: Prepared scenes of every area.
        num_classes: K.
        points: Training points drawn from each room.
        trees: Size of the forest.
    """
    train = [scene for scene in scenes if scene.split != HELD_OUT]
    test = [scene for scene in scenes if scene.split == HELD_OUT]
    if not train or not test:
        raise InputError(
            f"there are {len(train)} rooms to train on and {len(test)} in {HELD_OUT}, but both are needed; prepare at "
            "least 5 areas"
        )
    rng = np.random.default_rng(0)
    features, labels = zip(*(_drawn(scene, points, rng) for scene in train), strict=True)
    model = RandomForestClassifier(trees, min_samples_leaf=5, n_jobs=-1, random_state=0)
    model.fit(np.concatenate(features), np.concatenate(labels))
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for scene in test:
        matrix += confusion_matrix(np.asarray(scene.segment), model.predict(_features(scene)), num_classes)
    return 100 * scores_from_confusion(matrix).miou


def networks(data: Path, runs: Path, steps: int) -> dict[str, float]:
    """Train with every label and with one point per class and room, at the same time; mIoU of each."""
    splits = sorted({scene.split for scene in list_scenes(data)} - {HELD_OUT})
    one_point = draw(data, "1pt", seed=0, voxel_size=VOXEL_SIZE, splits=splits).name
    settings = (f"steps={steps}", f"eval_every={steps}")
    jobs = [
        Job(RECIPE, "full", runs / "full", settings=settings),
        Job(RECIPE, one_point, runs / "1pt", settings=settings),
    ]
    full, sparse = train_side_by_side(data, jobs)
    return {"full": full, "1pt": sparse}


def _features(scene: PreparedScene) -> np.ndarray:
    z = np.asarray(scene.coord[:, 2])
    return np.column_stack([np.asarray(scene.color), z - z.min()]).astype(np.float32)


def _drawn(scene: PreparedScene, points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    segment = np.asarray(scene.segment)
    known = np.flatnonzero(segment >= 0)
    rows = rng.choice(known, min(points, len(known)), replace=False)
    return _features(scene)[rows], segment[rows]


if __name__ == "__main__":
    sys.exit(main())
