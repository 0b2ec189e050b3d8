"""Furnished rooms made up from nothing, scanned by a simulated laser scanner, in S3DIS's own layout and classes.

They stand in for S3DIS where the real data set is not at hand: for demonstrations, tests and quick comparisons. The
same rooms as meshes stand in for ScanNet, and a made-up town for SensatUrban, each in that data set's own layout.
"""

from __future__ import annotations

import argparse
import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data_prep.synthetic.furnish import build_room
from data_prep.synthetic.palette import room_palette
from data_prep.synthetic.plan import RoomPlan, plan_area
from data_prep.synthetic.scanner import Scan, scan_room
from data_prep.synthetic.scannet_writer import write_scannet
from data_prep.synthetic.sensaturban_writer import write_sensaturban
from data_prep.synthetic.writer import CLASS_NAMES, write_room
from pointseg.errors import InputError

HELP = "Generate rooms (S3DIS's or ScanNet's native layout) or city tiles (SensatUrban's), from nothing."

DENSITY = {"s3dis": 1500.0, "scannet": 400.0, "sensaturban": 60.0}
"""Points per square metre of seen surface that each layout gets unless told otherwise."""

logger = logging.getLogger(__name__)

__all__ = ["CLASS_NAMES", "HELP", "add_arguments", "generate", "make_room", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--out", required=True, type=Path, help="folder that receives Area_1, Area_2, ...")
    parser.add_argument("--layout", choices=sorted(DENSITY), default="s3dis", help="(default: %(default)s)")
    parser.add_argument("--areas", type=int, default=6, help="S3DIS: number of areas (default: %(default)s)")
    parser.add_argument("--rooms", type=int, default=4, help="S3DIS: rooms per area (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=5, help="the others: scenes or tiles (default: %(default)s)")
    defaults = ", ".join(f"{value:g} {name}" for name, value in DENSITY.items())
    parser.add_argument("--density", type=float, help=f"points per square metre of seen surface (default: {defaults})")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that make rooms side by side (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Generate the scenes and print what was made; of S3DIS's rooms also each class's share of the points."""
    density = DENSITY[args.layout] if args.density is None else args.density
    if args.layout == "scannet":
        vertices = write_scannet(args.out, scenes=args.scenes, seed=args.seed, density=density)
        print(f"{len(vertices)} scenes, {sum(vertices.values()):,} vertices in {args.out}")
        return 0
    if args.layout == "sensaturban":
        tiles = write_sensaturban(args.out, tiles=args.scenes, seed=args.seed, density=density)
        print(f"{len(tiles)} tiles in {args.out}")
        return 0
    counts = generate(
        args.out,
        areas=args.areas,
        rooms_per_area=args.rooms,
        density=density,
        seed=args.seed,
        workers=args.workers,
    )
    total = np.sum(list(counts.values()), axis=0)
    print(f"{len(counts)} rooms, {total.sum():,} points in {args.out}")
    print(f"{'class':<10} {'points':>11} {'share %':>8} {'rooms':>6}")
    for k, name in enumerate(CLASS_NAMES):
        rooms = sum(int(count[k] > 0) for count in counts.values())
        print(f"{name:<10} {total[k]:>11,} {100 * total[k] / total.sum():>8.2f} {rooms:>6}")
    return 0


def generate(
    out: str | Path,
    *,
    areas: int = 6,
    rooms_per_area: int = 4,
    density: float = DENSITY["s3dis"],
    seed: int = 0,
    workers: int = 2,
) -> dict[str, np.ndarray]:
    """Write ``out/Area_k/<type>_<n>/Annotations/<class>_<i>.txt`` for every room.

    Rooms already there under the same name are replaced. The files depend on everything but ``workers``.

    Args:
        out: Folder that receives the areas.
        areas: Number of areas, at least 1.
        rooms_per_area: At least 1; from 4 on, every class occurs in every area.
        density: Points per square metre of seen surface, on average over a room.
        seed: At least 0.
        workers: Processes, at least 1.

    Returns:
        Points per class, (13,) int64, for each room's path below ``out``.

    Raises:
        InputError: If a number is out of its range or ``out`` is a file.
    """
    out = Path(out)
    _check(out, areas, rooms_per_area, density, seed, workers)
    plans = [plan for area in range(1, areas + 1) for plan in plan_area(area, rooms_per_area, seed)]
    tasks = [(out, plan, seed, density) for plan in plans]
    if workers == 1:
        results = [_write(*task) for task in tasks]
    else:
        with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
            results = list(pool.map(_write, *zip(*tasks, strict=True)))
    return {plan.folder: counts for plan, counts in zip(plans, results, strict=True)}


def make_room(plan: RoomPlan, seed: int, density: float) -> Scan:
    """Build and scan one planned room, in its own frame.

    Args:
        plan: From ``plan_area``.
        seed: The data set's seed.
        density: Points per square metre of seen surface.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, plan.area, plan.index, 0]))
    area_rng = np.random.default_rng(np.random.SeedSequence([seed, plan.area]))
    room = build_room(plan, rng, room_palette(area_rng, rng))
    return scan_room(room, rng, density)


def _write(out: Path, plan: RoomPlan, seed: int, density: float) -> np.ndarray:
    scan = make_room(plan, seed, density)
    # Rooms stand side by side in their area's frame, as in the real areas, so coordinates are not all near zero.
    place = np.array([11.0 * (plan.index % 6) - 24.0, 11.0 * (plan.index // 6) - 8.0, 0.0])
    write_room(out / plan.folder, scan.coord + place, scan.color, scan.segment, scan.instance)
    logger.info("%s: %d points", plan.folder, len(scan.coord))
    return np.bincount(scan.segment, minlength=len(CLASS_NAMES))


def _check(out: Path, areas: int, rooms: int, density: float, seed: int, workers: int) -> None:
    for name, value in (("areas", areas), ("rooms", rooms), ("workers", workers)):
        if value < 1:
            raise InputError(f"--{name} is {value}, but must be at least 1; give a positive whole number.")
    if not 1 <= density <= 100_000:
        raise InputError(
            f"--density is {density}, but must be 1 to 100000 points per square metre; give such a number."
        )
    if seed < 0:
        raise InputError(f"--seed is {seed}, but must not be negative; give 0 or more.")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {out}, which is a file, but must be a folder; give another path.")
