"""How much room to learn the synthetic rooms leave: what colour and height alone reach on the held-out area.

python -m data_prep.synthetic --out data/synthetic_raw
python scripts/synthetic_headroom.py --raw data/synthetic_raw
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from data_prep.synthetic import CLASS_NAMES
from pointseg.errors import InputError

TEST_AREA = "Area_5"
FOREST_BAR = 45.0
Rooms = dict[str, tuple[np.ndarray, np.ndarray]]


def main() -> int:
    """Print the forest's IoU per class and its mIoU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", type=Path, help="folder with Area_k/<room>/Annotations/*.txt")
    source.add_argument("--prepared", type=Path, help="root of prepared scenes with the splits Area_1, Area_2, ...")
    parser.add_argument("--points", type=int, default=8000, help="training points drawn from each room")
    parser.add_argument("--trees", type=int, default=40, help="trees in the forest")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw and of the forest")
    args = parser.parse_args()
    try:
        rooms = read_raw(args.raw) if args.raw else read_prepared(args.prepared)
        iou = forest(rooms, points=args.points, trees=args.trees, seed=args.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_scores(f"random forest on colour and height, tested on {TEST_AREA}", iou)
    print(f"stays under {FOREST_BAR:.0f}: {'yes' if np.nanmean(iou) * 100 < FOREST_BAR else 'NO'}")
    return 0


def forest(rooms: Rooms, *, points: int, trees: int, seed: int) -> np.ndarray:
    """Train on every area but ``TEST_AREA`` and score on every point of that one.

    Args:
        rooms: Features (N, 4) and classes (N,) by ``<area>/<room>``.
        points: Training points drawn from each room.
        trees: Size of the forest.
        seed: Of the draw and the forest.

    Returns:
        (K,) IoU, 0 to 1; NaN for a class that neither occurs nor is predicted.

    Raises:
        InputError: If there are no rooms to train on or none to test on.
    """
    rng = np.random.default_rng(seed)
    train = [room for name, room in rooms.items() if not name.startswith(TEST_AREA)]
    test = [room for name, room in rooms.items() if name.startswith(TEST_AREA)]
    if not train or not test:
        raise InputError(
            f"there are {len(train)} rooms to train on and {len(test)} in {TEST_AREA}, but both are needed; "
            "generate at least 5 areas."
        )
    draws = [rng.choice(len(label), min(points, len(label)), replace=False) for _, label in train]
    model = RandomForestClassifier(trees, min_samples_leaf=5, n_jobs=-1, random_state=seed)
    model.fit(
        np.concatenate([features[draw] for (features, _), draw in zip(train, draws, strict=True)]),
        np.concatenate([label[draw] for (_, label), draw in zip(train, draws, strict=True)]),
    )
    k = len(CLASS_NAMES)
    confusion = np.zeros((k, k), dtype=np.int64)
    for features, label in test:
        confusion += np.bincount(label * k + model.predict(features), minlength=k * k).reshape(k, k)
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    return np.where(union > 0, hit / np.maximum(union, 1), np.nan)


def print_scores(title: str, iou: np.ndarray) -> None:
    """Print one line a class and the mean, in per cent."""
    print(title)
    for name, value in zip(CLASS_NAMES, iou, strict=True):
        print(f"  {name:<10} {100 * value:6.1f}")
    print(f"  {'mIoU':<10} {100 * np.nanmean(iou):6.1f}")


def read_raw(root: Path) -> Rooms:
    """Read rooms in S3DIS's native layout.

    Raises:
        InputError: If there are none.
    """
    rooms: Rooms = {}
    for folder in sorted(root.glob("Area_*/*/Annotations")):
        files = sorted(folder.glob("*.txt"))
        points = [np.fromfile(file, sep=" ").reshape(-1, 6) for file in files]
        labels = [
            np.full(len(part), CLASS_NAMES.index(file.stem.rsplit("_", 1)[0]))
            for file, part in zip(files, points, strict=True)
        ]
        cloud = np.concatenate(points)
        rooms[f"{folder.parent.parent.name}/{folder.parent.name}"] = (
            _features(cloud[:, 2], cloud[:, 3:]),
            np.concatenate(labels),
        )
    if not rooms:
        raise InputError(
            f"--raw is {root}, which holds no Area_*/*/Annotations; run python -m data_prep.synthetic first."
        )
    return rooms


def read_prepared(root: Path) -> Rooms:
    """Read rooms from prepared scenes.

    Raises:
        InputError: If there are none.
    """
    rooms: Rooms = {}
    for split, scene in _scene_folders(root):
        coord, color = np.load(scene / "coord.npy"), np.load(scene / "color.npy")
        label = np.load(scene / "segment.npy").astype(np.int64)
        known = label >= 0
        rooms[f"{split}/{scene.name}"] = (_features(coord[known, 2], color[known]), label[known])
    if not rooms:
        raise InputError(f"--prepared is {root}, which holds no prepared scenes; prepare the rooms first.")
    return rooms


def _scene_folders(root: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(root.glob("Area_*/*/segment.npy")):
        yield file.parent.parent.name, file.parent


def _features(z: np.ndarray, color: np.ndarray) -> np.ndarray:
    # The floor is the lowest large surface: a low quantile ignores stray points below it.
    height = z - np.quantile(z, 0.02)
    return np.column_stack([color, height]).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
