"""Predict a generated LAZ file from end to end: points a second, the share of each stage, the peak memory (Linux).

python scripts/bench_predict.py
python scripts/bench_predict.py --points 2500000 --side 600 --memory 900MB --width 8

Hills with boxes on them, points in scan lines like those of an aircraft; an untrained network, which takes as long as a
trained one. Everything is written to a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import torch

from pointseg.commandline import Parser, guarded
from pointseg.data.classes import load_classes
from pointseg.device import pick_device
from pointseg.inference import ModelSpec, Predictor, predict_file
from pointseg.inference.memory import Estimate
from pointseg.inference.model_folder import build
from pointseg.inference.predict_file import Watch
from pointseg.inference.stopwatch import STAGES
from pointseg.memory_size import parse_memory

PIECE = 500_000


def write_ground(path: Path, points: int, side: float) -> None:
    """A square of ``side`` metres with hills and boxes, coloured at random."""
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.array([0.001] * 3), np.array([600_000, 6_000_000, 0])
    rng = np.random.default_rng(0)
    with laspy.open(path, "w", header=header) as writer:
        for start in range(0, points, PIECE):
            count = min(PIECE, points - start)
            x = (start + np.arange(count)) / points * side
            y = rng.uniform(0, side, count)
            record = laspy.ScaleAwarePointRecord.zeros(count, header=header)
            record.x, record.y = x + 600_000, y + 6_000_000
            record.z = 3 * np.sin(x / 20) * np.cos(y / 15) + 4 * ((x % 20 < 6) & (y % 20 < 6))
            record.red = record.green = record.blue = rng.integers(0, 65536, count)
            writer.write_points(record)


def predictor(args: argparse.Namespace) -> Predictor:
    """An untrained network; ``--width`` gives all its levels that many channels."""
    torch.manual_seed(0)
    planes, stem = ((args.width,) * 8, args.width) if args.width else ((), 32)
    network = args.network.rstrip("ABCD") if args.width else args.network
    features = ("ones", "color", "height")
    spec = ModelSpec(load_classes("asprs"), args.voxel_size, features, network, planes, stem, 3)
    device = pick_device(args.device)
    return Predictor(build(spec).to(device).eval(), spec, device)


def peak_bytes() -> int:
    """Most memory that this process has held."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def main() -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000_000)
    parser.add_argument("--side", type=float, default=800.0, help="of the square, metres (default: %(default)s)")
    parser.add_argument("--voxel-size", type=float, default=0.5, help="metres (default: %(default)s)")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--network", default="MinkUNet14A")
    parser.add_argument("--width", type=int, help="channels of every level, instead of the network's own")
    parser.add_argument("--device", help="cpu, cuda (default: CUDA if there is one)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead")
    return guarded("bench_predict", lambda: run(parser.parse_args()))


def run(args: argparse.Namespace) -> int:
    estimates: list[Estimate] = []
    memory = parse_memory(args.memory)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "ground.laz"
        write_ground(source, args.points, args.side)
        watch = Watch(estimate=estimates.append)
        seconds = predict_file(predictor(args), source, source.with_name("out.laz"), memory=memory, watch=watch)
    report(args, estimates[0], {stage: seconds[stage] for stage in STAGES})
    return 0


def report(args: argparse.Namespace, estimate: Estimate, seconds: dict[str, float]) -> None:
    total = sum(seconds.values())
    facts: dict[str, Any] = {"points_per_second": args.points / total, "seconds": seconds, "peak": peak_bytes()}
    if args.json:
        shown = {name: getattr(estimate, name) for name in ("voxels", "tiles", "largest", "overlap", "memory")}
        print(json.dumps(facts | shown | {"estimate": estimate.peak}))
        return
    print(estimate)
    print(f"{args.points / total:,.0f} points a second ({total:.0f} s), {peak_bytes() / 1e9:.2f} GB at the peak")
    print("  ".join(f"{stage} {100 * value / total:.0f} %" for stage, value in seconds.items()))


if __name__ == "__main__":
    sys.exit(main())
