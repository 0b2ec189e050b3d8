"""The sparse convolution engine against its peers: time and memory of one MinkUNet18, side by side in one run.

python scripts/bench_engine.py
python scripts/bench_engine.py --growth

Ours, and spconv and MinkowskiEngine where they are installed, each in one process a setting (precision, threads), which
take turns command by command. Every round and every training step has new coordinates: another random 3 % of the room's
voxels is left out, the same for all. Linux. `--device cuda` is there, but has not been measured on a GPU yet.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_bench.bars import verdicts
from engine_bench.dense import DenseRates
from engine_bench.machine import machine
from engine_bench.measure import measure
from engine_bench.processes import workers
from engine_bench.report import (
    print_dense,
    print_engines,
    print_failures,
    print_growth,
    print_machine,
    print_scene,
    print_verdicts,
)
from engine_bench.scene import DROPPED, drawn_rows, room_voxels
from engine_bench.settings import OURS, PACKAGES, installed, settings_of
from engine_bench.work import demand, layers, pairs

from pointseg.commandline import Parser, guarded
from pointseg.errors import InputError

VOXELS = (60_000, 240_000)
GROWTH = (30_000, 60_000, 120_000, 240_000, 480_000)
LEAST_VOXELS = 2000


def main() -> int:
    """Measure and print."""
    parser = Parser(prog="bench_engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, nargs="+", help="of each scene, by default 60000 240000")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is timed")
    parser.add_argument("--engines", nargs="+", choices=PACKAGES, help="by default all that are installed")
    parser.add_argument("--growth", action="store_true", help="ours only, from 30 k to 480 k voxels")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: not measured on a GPU yet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure, least and median")
    args = parser.parse_args()
    return guarded(parser.prog, lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """0, or 1 where a worker failed."""
    engines = _checked(args)
    found = machine(args.device, engines)
    print_machine(found)
    with tempfile.TemporaryDirectory() as folder:
        if args.growth:
            scenes = [growth(args, Path(folder))]
        else:
            scenes = [compare(args, engines, count, Path(folder)) for count in args.voxels or VOXELS]
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": found, "rounds": args.rounds, "scenes": scenes}, indent=1) + "\n")
    return 1 if any(scene["failed"] for scene in scenes) else 0


def compare(args: argparse.Namespace, engines: list[str], count: int, folder: Path) -> dict[str, Any]:
    """All engines on one scene: prints its tables and returns them for the JSON file."""
    path, size = _save_scene(count, folder)
    voxels = np.load(path)
    network, counts = layers(), pairs(voxels[drawn_rows(len(voxels), 1)])
    scene = {"voxel_size_m": size, **demand(network, counts)}
    print_scene(scene)
    rates = DenseRates(network, args.device)

    def before_round(number: int) -> None:
        _progress(f"{count} voxels, round {number} of {args.rounds}")
        rates.measure()

    jobs = [(setting, path) for setting in settings_of(engines, args.device, torch.get_num_threads())]
    with workers(jobs) as started:
        measured, failures = measure(started, args.rounds, before_round)
    floors = {bf16: rates.floor(network, counts, bf16) for bf16 in (False, True)}
    print_dense(rates, floors)
    print_engines(measured, scene["gflop"], floors, args.rounds)
    print_failures(failures)
    reached = verdicts(measured, floors[False], count) if args.device == "cpu" else []
    print_verdicts(reached)
    return {
        **scene,
        "floor_s": {"fp32": floors[False], "bf16": floors[True]},
        "dense": rates.summary(),
        "figures": [one.summary() for one in measured],
        "bars": [vars(one) for one in reached],
        "failed": failures,
    }


def growth(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Ours on scenes of more and more voxels: prints the table and returns it for the JSON file."""
    paths = [_save_scene(count, folder)[0] for count in GROWTH]
    voxels = {path: len(drawn_rows(len(np.load(path)), 1)) for path in paths}
    threads = torch.get_num_threads()
    settings = [setting for setting in settings_of([OURS], args.device, threads) if setting.threads == threads]
    jobs = [(setting, path) for setting in settings for path in paths]
    with workers(jobs) as started:
        measured, failures = measure(started, args.rounds, lambda n: _progress(f"round {n} of {args.rounds}"))
    print_growth(measured, voxels, args.rounds)
    print_failures(failures)
    figures = [{"voxels": voxels[one.voxels], **one.summary()} for one in measured]
    return {"figures": figures, "failed": failures}


def _checked(args: argparse.Namespace) -> list[str]:
    """The engines to measure.

    Raises:
        InputError: a request that cannot be met.
    """
    if args.growth and (args.voxels or args.engines):
        raise InputError("--growth measures ours at its own sizes: leave out --voxels and --engines.")
    if args.rounds < 1:
        raise InputError(f"--rounds is {args.rounds}, but at least 1 is needed.")
    for count in args.voxels or ():
        if count < LEAST_VOXELS:
            raise InputError(f"--voxels is {count}, but a scene of five levels needs at least {LEAST_VOXELS}.")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, but torch sees no GPU: leave it out to measure the CPU.")
    there = installed()
    for engine in args.engines or ():
        if engine not in there:
            raise InputError(f"--engines names {engine}, which is not installed here: install it, or leave it out.")
    return args.engines or there


def _save_scene(count: int, folder: Path) -> tuple[Path, float]:
    """The file of a scene of which a draw has about ``count`` voxels, and the voxel size in metres."""
    voxels, size = room_voxels(round(count / (1 - DROPPED)))
    path = folder / f"{count}.npy"
    np.save(path, voxels)
    return path, size


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
