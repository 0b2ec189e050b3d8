"""One engine in one process: builds the network once, then times what the benchmark asks for on standard input.

Each line in is a command and the number of a draw of rows, each line out its answer as JSON. Processes wait for their
turn without computing, so that engines can be timed alternately on one machine, each with its own thread setting and
its own peak memory (Linux; on a GPU, torch's count).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine_bench.clock import seconds
from engine_bench.networks import CHANNELS, CLASSES
from engine_bench.scene import drawn_rows
from engine_bench.settings import Setting
from engine_bench.sides import side

WARM_UP_ROWS = 2000


class Timed:
    """What can be asked for; every method takes the rows of a draw."""

    def __init__(self, setting: Setting, voxels: str) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision(setting.matmul)
        self.device = setting.device
        self.autocast = None if setting.autocast is None else getattr(torch, setting.autocast)
        self.coordinates = torch.from_numpy(np.load(voxels)).to(self.device)
        self.side = side(setting.engine, self.coordinates, self.device)
        self.side.network.to(self.device)
        self.optimizer = torch.optim.SGD(self.side.network.parameters(), lr=0.01, momentum=0.9)
        self.features = torch.rand(len(self.coordinates), CHANNELS).to(self.device)
        self.labels = torch.randint(CLASSES, (len(self.coordinates),)).to(self.device)
        self.kept: Any = None
        self.base = self._resident("VmRSS")

    def rows(self, draw: int) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates, features and labels of a draw."""
        rows = torch.from_numpy(drawn_rows(len(self.coordinates), draw)).to(self.device)
        return self.coordinates[rows], self.features[rows], self.labels[rows]

    def warm_up(self, *rows: Tensor) -> None:
        """A step on few of the rows: a process's first one also loads libraries and makes the optimiser's state."""
        self.step(*(part[:WARM_UP_ROWS] for part in rows))

    def maps(self, coordinates: Tensor, features: Tensor, labels: Tensor) -> None:
        """Tensor and all maps, nothing multiplied."""
        self.side.maps(coordinates)

    def cold(self, coordinates: Tensor, features: Tensor, labels: Tensor) -> None:
        """Logits of new coordinates, maps included."""
        self.kept = self.side.tensor(features, coordinates)
        self._infer()

    def forward(self, coordinates: Tensor, features: Tensor, labels: Tensor) -> None:
        """Logits once more for the rows of the ``cold`` before, whose maps are there."""
        self._infer()
        self.kept = None

    def step(self, coordinates: Tensor, features: Tensor, labels: Tensor) -> None:
        """A training step on new coordinates: maps, forward, backward, optimiser."""
        self.side.network.train()
        with self._precision():
            logits = self.side.logits(self.side.tensor(features, coordinates))
        nn.functional.cross_entropy(logits.float(), labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> float:
        """Peak memory so far, GiB above the process with its libraries, weights and voxels."""
        return (self._resident("VmHWM") - self.base) / 2**30

    def _infer(self) -> None:
        self.side.network.eval()
        with torch.no_grad(), self._precision():
            self.side.logits(self.kept)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device, self.autocast, enabled=self.autocast is not None)

    def _resident(self, what: str) -> int:
        """Bytes in memory now (``VmRSS``) or at most so far (``VmHWM``)."""
        if self.device == "cuda":
            return torch.cuda.memory_allocated() if what == "VmRSS" else torch.cuda.max_memory_allocated()
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
        return int(line.split()[1]) * 1024


def main() -> None:
    """Answer until the input ends."""
    # Answers go to the original output; whatever a library prints goes to the error stream.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = json.loads(sys.argv[1])
    timed = Timed(Setting(**job["setting"]), job["voxels"])
    answers.write("null\n")
    for line in sys.stdin:
        command, draw = line.split()
        if command == "peak":
            answer = timed.peak()
        else:
            answer = seconds(getattr(timed, command), *timed.rows(int(draw)), device=timed.device)
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
