"""Predicts a generated cloud in a process of its own and prints what memory it took, as one line of JSON.

python predict_large.py FOLDER POINTS MEMORY
"""

import json
import re
import sys
from pathlib import Path

import laspy
import numpy as np
import torch

from pointseg.data.classes import load_classes
from pointseg.inference import ModelSpec, Predictor, predict_file
from pointseg.inference.model_folder import build
from pointseg.inference.predict_file import Watch

PIECE = 500_000
SIDE = 600.0


def write_hills(path, points):
    """An uncompressed LAS file of hills in scan lines, so that neighbours in the file are neighbours in space."""
    rng = np.random.default_rng(0)
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales = np.array([0.001] * 3)
    y, color = rng.uniform(0, SIDE, PIECE), rng.integers(0, 65536, PIECE)
    record = laspy.ScaleAwarePointRecord.zeros(PIECE, header=header)
    record.y, record.red, record.green, record.blue = y, color, color, color
    with laspy.open(path, "w", header=header) as writer:
        for start in range(0, points, PIECE):
            record.x = x = np.linspace(start, start + PIECE, PIECE, endpoint=False) / points * SIDE
            record.z = 5 * np.sin(x / 30) * np.cos(y / 25)
            writer.write_points(record)


def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def main(folder, points, memory):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source, target = folder / "in.las", folder / "out.las"
    write_hills(source, points)
    spec = ModelSpec(load_classes("asprs"), 1.0, ("ones", "color", "height"), "MinkUNet14", (8,) * 8, 8, 3)
    before, estimates = peak(), []
    predictor, watch = Predictor(build(spec).eval(), spec, torch.device("cpu")), Watch(estimate=estimates.append)
    seconds = predict_file(predictor, source, target, memory=memory, watch=watch)
    facts = {"before": before, "peak": peak(), "bytes": target.stat().st_size, "seconds": dict(seconds)}
    facts |= {"tiles": estimates[0].tiles, "estimate": estimates[0].peak}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
