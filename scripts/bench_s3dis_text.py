"""Reading S3DIS's text: ours, which is strict and mends, beside numpy.loadtxt and pandas.

python scripts/bench_s3dis_text.py
python scripts/bench_s3dis_text.py --points 3000000

All read the same generated file, ``x y z r g b`` a line with three decimals, from the disk's cache; rounds take turns
and the best counts. Ours includes the check of every byte and every value. Pandas is left out where it is missing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep._s3dis_text import parse_points
from pointseg.commandline import Parser, guarded
from pointseg.errors import InputError

ROUNDS = 3


def write_room(path: Path, points: int) -> None:
    """Random points in the published files' format."""
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.uniform(-30, 30, (points, 3)), rng.integers(0, 256, (points, 3))])
    np.savetxt(path, table, fmt=["%.3f"] * 3 + ["%d"] * 3)


def ours(path: Path) -> int:
    """Number of points."""
    return len(parse_points(path, path.read_bytes()).coord)


def loadtxt(path: Path) -> int:
    """Number of points."""
    return len(np.loadtxt(path))


def pandas(path: Path) -> int:
    """Number of points."""
    return len(importlib.import_module("pandas").read_csv(path, sep=" ", header=None))


READERS: dict[str, Callable[[Path], int]] = {"ours": ours, "numpy.loadtxt": loadtxt, "pandas": pandas}


def main() -> int:
    """Measure and print."""
    parser = Parser(prog="bench_s3dis_text", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000, help="of the file")
    args = parser.parse_args()
    return guarded(parser.prog, lambda: compare(args.points))


def compare(points: int) -> int:
    """Time the readers."""
    if points < 1:
        raise InputError(f"--points is {points}; it must be at least 1")
    readers = dict(READERS)
    try:
        importlib.import_module("pandas")
    except ImportError as error:
        print(f"pandas is left out: it cannot be imported ({error})")
        del readers["pandas"]
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wall_1.txt"
        write_room(path, points)
        print(f"{points:,} points, {path.stat().st_size / 1e6:.0f} MB, best of {ROUNDS}")
        for _ in range(ROUNDS):
            for name, read in readers.items():
                start = time.perf_counter()
                found = read(path)
                seconds[name].append(time.perf_counter() - start)
                if found != points:
                    raise InputError(f"{name} read {found} of {points} points; its figures would mean nothing")
    for name, times in seconds.items():
        ratio = min(times) / min(seconds["ours"])
        print(f"{name:14} {min(times):8.2f} s {points / min(times) / 1e6:7.2f} M points/s, {ratio:.2f} times ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
