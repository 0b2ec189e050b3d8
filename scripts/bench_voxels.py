"""Voxelising: ours beside Open3D, MinkowskiEngine's sparse_quantize and numpy.unique, in one run.

python scripts/bench_voxels.py
python scripts/bench_voxels.py --points 1000000 --voxel-size 0.02

A made-up room of random points in random order. Each contestant has a process of its own, which times three rounds and
measures its memory in a fourth (Linux); the best round counts. What each gives back differs and is printed: nobody
else gives a majority label, and Open3D no way back from voxels to points. What is not installed is said and left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.commandline import Parser, guarded
from pointseg.errors import InputError

ROUNDS = 3
LEAST_POINTS = 1000
STATUS = Path("/proc/self/status")

Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]
Task = Callable[[], int]
"""Does the work and returns the number of voxels."""


def room(points: int) -> Cloud:
    """Points on the six sides of a hall of 20 x 15 x 4 m and on tables in it: 17 bytes a point.

    Returns:
        coord (N, 3) float32 metres with 5 mm noise, color (N, 3) uint8, segment (N,) int16.
    """
    rng = np.random.default_rng(0)
    size = np.array([20, 15, 4], np.float32)
    coord = rng.random((points, 3), dtype=np.float32) * size
    surface = rng.integers(0, 8, points, dtype=np.int16)
    for side in range(6):
        coord[surface == side, side % 3] = 0 if side < 3 else size[side - 3]
    coord[surface >= 6, 2] = np.float32(0.8)
    coord += rng.standard_normal(coord.shape, dtype=np.float32) * np.float32(0.005)
    return coord, rng.integers(0, 256, (points, 3), dtype=np.uint8), surface


def ours(cloud: Cloud, size: float) -> Task:
    """Everything the prepared scenes hold."""
    from pointseg.data.voxel import voxelize

    coord, color, segment = cloud
    return lambda: len(voxelize(coord, size, color=color, segment=segment).coord)


def ours_bare(cloud: Cloud, size: float) -> Task:
    """Voxels and the inverse index."""
    from pointseg.data.voxel import voxelize

    return lambda: len(voxelize(cloud[0], size).coord)


def open3d(cloud: Cloud, size: float) -> Task:
    """Its point cloud holds float64 coordinates and colours; making it is not timed, but counts as memory."""
    import open3d as o3d

    points = o3d.geometry.PointCloud()
    points.points = o3d.utility.Vector3dVector(cloud[0].astype(np.float64))
    points.colors = o3d.utility.Vector3dVector(cloud[1] / 255.0)
    return lambda: len(points.voxel_down_sample(size).points)


def open3d_tensor(cloud: Cloud, size: float) -> Task:
    """Its tensor point cloud, float32; making it is not timed, but counts as memory."""
    import open3d as o3d

    points = o3d.t.geometry.PointCloud(o3d.core.Tensor(cloud[0]))
    points.point.colors = o3d.core.Tensor(cloud[1].astype(np.float32))
    return lambda: len(points.voxel_down_sample(size).point.positions)


def sparse_quantize(cloud: Cloud, size: float) -> Task:
    """As MinkowskiEngine's examples call it."""
    from pointseg.minkowski.utils import sparse_quantize as quantize

    coord, color, segment = cloud
    return lambda: len(
        quantize(coord, color, segment, quantization_size=size, return_index=True, return_inverse=True)[0]
    )


def numpy_unique(cloud: Cloud, size: float) -> Task:
    """What one writes without a library."""

    def work() -> int:
        cells = np.floor(cloud[0].astype(np.float64) / size).astype(np.int64)
        return len(np.unique(cells, axis=0, return_index=True, return_inverse=True)[0])

    return work


CONTESTANTS: dict[str, tuple[Callable[[Cloud, float], Task], str, str]] = {
    "ours": (ours, "numpy", "inverse, first point, mean colour, majority label"),
    "ours, bare": (ours_bare, "numpy", "inverse, first point"),
    "Open3D": (open3d, "open3d", "mean position, mean colour"),
    "Open3D tensor": (open3d_tensor, "open3d", "mean position, mean colour"),
    "sparse_quantize": (sparse_quantize, "torch", "inverse, first point, its colour, agreed label"),
    "numpy.unique": (numpy_unique, "numpy", "inverse, first point"),
}
"""What each does, the package it needs, and what it gives besides the voxels."""


def main() -> int:
    """Measure and print."""
    parser = Parser(prog="bench_voxels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000, help="of the cloud")
    parser.add_argument("--voxel-size", type=float, default=0.05, help="metres")
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    return guarded(parser.prog, lambda: measure(args) if args.only else compare(args))


def compare(args: argparse.Namespace) -> int:
    """Run the contestants one after another; 1 where one that is installed failed."""
    if args.points < LEAST_POINTS:
        raise InputError(f"--points is {args.points}; it must be at least {LEAST_POINTS}")
    failed = 0
    best = 0.0
    print(f"{args.points:,} points, voxels of {args.voxel_size:g} m, best of {ROUNDS}")
    print(f"{'':16} {'seconds':>8} {'M pts/s':>8} {'ours x':>7} {'voxels':>10} {'memory/input':>13}")
    for name, (_, package, gives) in CONTESTANTS.items():
        command = [sys.executable, __file__, "--only", name, "--points", str(args.points)]
        command += ["--voxel-size", str(args.voxel_size)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            failed = 1
            print(f"{name:16} failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}")
            continue
        figures = json.loads(run.stdout.splitlines()[-1])
        if "missing" in figures:
            print(f"{name:16} left out: {package} cannot be imported ({figures['missing']})")
            continue
        seconds = figures["seconds"]
        best = best or seconds
        memory = "-" if figures["memory"] is None else f"{figures['memory']:.2f}"
        print(
            f"{name:16} {seconds:8.2f} {args.points / seconds / 1e6:8.2f} {seconds / best:7.2f} "
            f"{figures['voxels']:10,} {memory:>13}  {gives}"
        )
    print("ours x: how many times as long as ours. memory/input: peak beside the input arrays, over their size.")
    return failed


def measure(args: argparse.Namespace) -> int:
    """One contestant; prints its figures as JSON."""
    make, package, _ = CONTESTANTS[args.only]
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as error:
        print(json.dumps({"missing": str(error).splitlines()[0] if str(error) else type(error).__name__}))
        return 0
    make(room(LEAST_POINTS), args.voxel_size)()
    cloud = room(args.points)
    task = make(cloud, args.voxel_size)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        voxels = task()
        seconds.append(time.perf_counter() - start)
    figures: dict[str, Any] = {"seconds": min(seconds), "voxels": voxels, "memory": None}
    if STATUS.exists():
        del task
        figures["memory"] = peak(lambda: make(cloud, args.voxel_size)()) / sum(array.nbytes for array in cloud)
    print(json.dumps(figures))
    return 0


def peak(task: Task) -> int:
    """Bytes in memory at most during the task, less those before it."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident("VmRSS")
    task()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    """Bytes in memory now (``VmRSS``) or at most so far (``VmHWM``)."""
    return next(int(line.split()[1]) << 10 for line in STATUS.read_text().splitlines() if line.startswith(name))


if __name__ == "__main__":
    sys.exit(main())
