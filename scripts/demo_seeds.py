"""The demo's comparison over several seeds: supervised-only and ERDA on the same draws, mean and spread.

pointseg prepare synthetic --raw data/synthetic_raw --out data/synthetic --voxel-size 0.08
python scripts/demo_seeds.py --data data/synthetic --runs runs/seeds

A seed fixes the label draw, the initial weights, the order of the rooms and their augmentation. Finished runs are kept.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from side_by_side import Job, train_side_by_side

from pointseg.data.scene import list_splits
from pointseg.data.sparse_labels import draw
from pointseg.errors import InputError

METHODS = ("supervised", "erda")
HELD_OUT = "Area_5"
VOXEL_SIZE = 0.08


def main() -> int:
    """Train every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared synthetic rooms, with an 8 cm grid")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--rule", default="0.1%", help="of the label draws")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    args = parser.parse_args()
    try:
        rows = [compare(args.data, args.runs, args.rule, seed) for seed in range(args.seeds)]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"mIoU on every raw point of {HELD_OUT}, final checkpoint, {args.rule} labels")
    for seed, row in enumerate(rows):
        print(f"seed {seed}:  " + "  ".join(f"{name} {value:5.1f}" for name, value in zip(METHODS, row, strict=True)))
    for name, values in zip(METHODS, zip(*rows, strict=True), strict=True):
        print(f"{name:11} {spread(values)}")
    print(f"{'difference':11} {spread([erda - supervised for supervised, erda in rows])} (paired)")
    return 0


def compare(data: Path, runs: Path, rule: str, seed: int) -> list[float]:
    """Draw the labels of a seed and train both methods on them; mIoU of each."""
    splits = [split for split in list_splits(data) if split != HELD_OUT]
    labels = draw(data, rule, seed=seed, voxel_size=VOXEL_SIZE, splits=splits).name
    return train_side_by_side(
        data, [Job(f"synthetic_{name}", labels, runs / f"{name}_{seed}", seed) for name in METHODS]
    )


def spread(values: list[float] | tuple[float, ...]) -> str:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):5.1f} +- {deviation:.1f}"


if __name__ == "__main__":
    sys.exit(main())
