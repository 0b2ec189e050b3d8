"""The nodes that MLLC's graphs can stand on: what each costs and how far its correction helps, in one run.

python scripts/bench_graphs.py
python scripts/bench_graphs.py --rows 10000 --smear 2

A made-up room of 8 x 6 x 3 m: walls, floor, ceiling and boxes, 13 classes with a feature direction each. Features carry
noise of their own and an error shared by all rows of a block of 0.7 m; a linear head that is a little off gives the
class scores. Corrected: accuracy after two rounds of plain propagation, less that of the head, in points. Ratios are
to the first line of a table; memory is the peak beside the input (Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.commandline import Parser, guarded
from pointseg.errors import InputError
from pointseg.methods.correction import GraphInput, MutualCorrection
from pointseg.methods.nodes import Nodes, cell_nodes, sampled_nodes, superpoint_nodes

CLASSES, CHANNELS = 13, 48
SIZE = torch.tensor([8.0, 6.0, 3.0])
BLOCK = 0.7
STATUS = Path("/proc/self/status")

Room = tuple[Tensor, Tensor, Tensor, Tensor]


def room(rows: int, smear: float) -> Room:
    """Coordinates (M, 3) metres, classes (M,), features (M, C) and class scores (M, K)."""
    generator = torch.Generator().manual_seed(0)
    coord = torch.rand(rows, 3, generator=generator) * SIZE
    surface = torch.randint(0, 6 + CLASSES - 3, (rows,), generator=generator)
    for side in range(6):
        coord[surface == side, side % 3] = 0.0 if side < 3 else float(SIZE[side % 3])
    for box in range(6, 6 + CLASSES - 3):
        members = torch.nonzero(surface == box)[:, 0]
        corner, extent = torch.rand(2, 3, generator=generator)
        place = torch.rand(len(members), 3, generator=generator)
        face = torch.randint(0, 3, (len(members),), generator=generator)
        place[torch.arange(len(members)), face] = place[torch.arange(len(members)), face].round()
        coord[members] = corner * torch.tensor([6.5, 4.5, 0.1]) + place * (0.5 + 0.9 * extent)
    classes = torch.tensor([2, 2, 0, 2, 2, 1, *range(3, CLASSES)])[surface]
    centres = F.normalize(torch.randn(CLASSES, CHANNELS, generator=generator), dim=1)
    blocks = ((coord / BLOCK).floor() @ torch.tensor([1.0, 37.0, 997.0])).unique(return_inverse=True)[1]
    shared = torch.randn(int(blocks.max()) + 1, CHANNELS, generator=generator)[blocks]
    noise = torch.randn(rows, CHANNELS, generator=generator)
    features = centres[classes] + (noise + smear * shared) / CHANNELS**0.5
    head = centres + torch.randn(CLASSES, CHANNELS, generator=generator) / CHANNELS**0.5
    return coord, classes, features, 4 * features @ head.t()


def contestants(made: Room) -> dict[str, Callable[[], Nodes]]:
    coord, classes, features, _ = made
    sample, none = torch.zeros_like(classes), torch.zeros_like(classes, dtype=torch.bool)

    def sampled(size: int) -> Nodes:
        return sampled_nodes(features, sample, none, size, torch.Generator().manual_seed(0))

    return {
        "cells 0.2 m": lambda: cell_nodes(coord, sample, 0.2),
        "cells 0.4 m": lambda: cell_nodes(coord, sample, 0.4),
        "superpoints 0.2 m": lambda: superpoint_nodes(coord, sample, features, 0.2),
        "superpoints 0.4 m": lambda: superpoint_nodes(coord, sample, features, 0.4),
        "sample 1024": lambda: sampled(1024),
        "sample 2048": lambda: sampled(2048),
        "sample 4096": lambda: sampled(4096),
    }


@torch.no_grad()
def corrected(nodes: Nodes, made: Room) -> Tensor:
    """Class scores of the rows after two rounds whose layers do nothing."""
    coord, _, features, logits = made
    rounds = MutualCorrection(CLASSES, CHANNELS, CHANNELS)
    rounds.embedding = nn.Identity()
    for correction in rounds.rounds:
        correction.feature_layers = nn.Identity()
    given = GraphInput(nodes.batch_index, nodes.pool(coord), torch.full((CLASSES,), 0.95))
    return nodes.spread(rounds(nodes.pool(features), nodes.pool(logits), given)[-1][0])


def resident(name: str) -> int:
    """Bytes in memory now (``VmRSS``) or at most since the mark was reset (``VmHWM``); 0 where it cannot be read."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name)), 0)


def compare(made: Room) -> None:
    """Print the table of one room."""
    _, classes, _, logits = made
    accuracy = (logits.argmax(1) == classes).double().mean()
    print(f"\n{len(classes):,} rows; the head is right on {accuracy:.1%}")
    print(
        f"{'nodes':18} {'n':>6} {'find s':>8} {'rounds s':>9} {'x first':>8} {'MB':>6} {'pure %':>7} {'corrected':>10}"
    )
    first = 0.0
    for name, make in contestants(made).items():
        if STATUS.exists():
            ctypes.CDLL(None).malloc_trim(0)  # else freed memory of the one before would serve this one unseen
            Path("/proc/self/clear_refs").write_text("5")
        before, start = resident("VmRSS"), time.process_time()
        nodes = make()
        found = time.process_time()
        scores = corrected(nodes, made)
        done = time.process_time()
        memory = (resident("VmHWM") - before) / 1e6
        first = first or done - start
        purity = (nodes.spread(nodes.majority(classes, CLASSES)[:, None])[:, 0] == classes).double().mean()
        gain = 100 * ((scores.argmax(1) == classes).double().mean() - accuracy)
        seconds = f"{found - start:8.2f} {done - found:9.2f} {(done - start) / first:8.2f}"
        print(f"{name:18} {len(nodes.batch_index):6} {seconds} {memory:6.0f} {100 * purity:7.1f} {gain:+10.1f}")


def main() -> int:
    parser = Parser(description="Cost and quality of the nodes of MLLC's graphs.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--smear", type=float, nargs="+", default=[1.0, 2.0], help="strength of the blocks' error")
    args: argparse.Namespace = parser.parse_args()
    if min(args.rows) < 1000:
        raise InputError(f"--rows is {min(args.rows)}; it must be 1000 or more")
    torch.set_num_threads(1)
    small = room(1000, 1.0)
    for make in contestants(small).values():
        corrected(make(), small)
    print("CPU seconds on one thread; pure: rows of their node's most frequent class")
    for smear in args.smear:
        print(f"\nerror shared by a block: {smear:g} x the noise")
        for rows in args.rows:
            compare(room(rows, smear))
    return 0


if __name__ == "__main__":
    sys.exit(guarded("bench_graphs", main))
