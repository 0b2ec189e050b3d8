"""Training in bf16 against fp32: the same draws, seeds and schedule, mean and spread of the mIoU reached.

pointseg prepare synthetic --raw data/synthetic_raw --out data/synthetic --voxel-size 0.08
python scripts/bf16_seeds.py --data data/synthetic --runs runs/bf16

Supervised-only, every label, a short schedule. Finished runs are kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_seeds import HELD_OUT, spread
from side_by_side import Job, train_side_by_side

from pointseg.errors import InputError

PRECISIONS = ("fp32", "bf16")


def main() -> int:
    """Train every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared synthetic rooms, with an 8 cm grid")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    args = parser.parse_args()
    shared = (f"steps={args.steps}", f"eval_every={args.steps}")
    try:
        rows = []
        for seed in range(args.seeds):
            jobs = [
                Job("synthetic_supervised", "full", args.runs / f"{name}_{seed}", seed, (*shared, f"precision={name}"))
                for name in PRECISIONS
            ]
            rows.append(train_side_by_side(args.data, jobs))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"mIoU on every raw point of {HELD_OUT}, {args.steps} steps, every label")
    for seed, row in enumerate(rows):
        print(
            f"seed {seed}:  " + "  ".join(f"{name} {value:5.1f}" for name, value in zip(PRECISIONS, row, strict=True))
        )
    for name, values in zip(PRECISIONS, zip(*rows, strict=True), strict=True):
        print(f"{name:11} {spread(values)}")
    print(f"{'difference':11} {spread([half - full for full, half in rows])} (paired)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
