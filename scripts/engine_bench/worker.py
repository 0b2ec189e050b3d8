"""One engine in one process: builds the network once, then times what the benchmark asks for on standard input.

Each line in is a command, each line out its answer as JSON. Processes wait for their turn without computing, so that
engines can be timed alternately on one machine, each with its own thread setting and its own peak memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine_bench.networks import CHANNELS, CLASSES, MinkowskiUNet, SpconvUNet
from torch import Tensor, nn


class MinkowskiSide:
    """Ours, or the real MinkowskiEngine."""

    def __init__(self, ME: Any) -> None:
        self.ME = ME
        self.network: nn.Module = MinkowskiUNet(ME)

    def tensor(self, features: Tensor, coordinates: Tensor) -> Any:
        return self.ME.SparseTensor(features, coordinates)

    def logits(self, x: Any) -> Tensor:
        return self.network(x).F

    def maps(self, coordinates: Tensor) -> None:
        """Coordinates of five levels, a 3^3 map on each, a 2^3 map between neighbours."""
        x = self.tensor(torch.zeros(len(coordinates), 1), coordinates)
        manager, key = x.coordinate_manager, x.coordinate_map_key
        for level in range(5):
            if level:
                coarse = manager.stride(key, [2, 2, 2])
                self._kernel_map(manager, key, coarse, 2, 2)
                key = coarse
            self._kernel_map(manager, key, key, 3, 1)

    def _kernel_map(self, manager: Any, inputs: Any, outputs: Any, size: int, stride: int) -> None:
        if self.ME.__name__.startswith("pointseg"):
            manager.kernel_map_of(inputs, outputs, self.ME.KernelGenerator(size, stride, dimension=3))
        else:
            manager.kernel_map(inputs, outputs, stride=stride, kernel_size=size, is_transpose=False)


class SpconvSide:
    """spconv; its CPU wheel needs a stand-in for the CUDA stream its backward pass asks for."""

    def __init__(self) -> None:
        import spconv.pytorch as spconv
        from spconv.pytorch import ops

        ops.get_current_stream = lambda: 0
        self.spconv, self.ops = spconv, ops
        self.network: nn.Module = SpconvUNet()

    def tensor(self, features: Tensor, coordinates: Tensor) -> Any:
        shape = ((coordinates[:, 1:].max(dim=0).values + 32) // 16 * 16).tolist()
        return self.spconv.SparseConvTensor(features, coordinates, shape, 1)

    def logits(self, x: Any) -> Tensor:
        return self.network(x)

    def maps(self, coordinates: Tensor) -> None:
        """As :meth:`MinkowskiSide.maps`."""
        shape = ((coordinates[:, 1:].max(dim=0).values + 32) // 16 * 16).tolist()
        native, rows = self.spconv.ConvAlgo.Native, coordinates
        ones, twos, zeros = [1] * 3, [2] * 3, [0] * 3
        for level in range(5):
            if level:
                rows, *_ = self.ops.get_indice_pairs(
                    rows, 1, shape, native, twos, twos, zeros, ones, zeros, False, False
                )
                shape = [s // 2 for s in shape]
            self.ops.get_indice_pairs(rows, 1, shape, native, [3] * 3, ones, ones, ones, zeros, True, False)


def side(engine: str) -> MinkowskiSide | SpconvSide:
    """The engine by its name in the table."""
    if engine == "spconv":
        return SpconvSide()
    if engine == "MinkowskiEngine":
        import MinkowskiEngine

        return MinkowskiSide(MinkowskiEngine)
    import pointseg.minkowski

    return MinkowskiSide(pointseg.minkowski)


class Timed:
    """What can be asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("medium" if settings["medium"] else "highest")
        self.bf16 = settings["bf16"]
        self.side = side(settings["engine"])
        self.base = peak_bytes()
        self.coordinates = torch.from_numpy(np.load(settings["voxels"]))
        self.features = torch.rand(len(self.coordinates), CHANNELS)
        self.labels = torch.randint(CLASSES, (len(self.coordinates),))
        self.optimizer = torch.optim.SGD(self.side.network.parameters(), lr=0.01, momentum=0.9)
        self.warm: Any = None

    def maps(self) -> None:
        """Tensor and all maps, nothing multiplied."""
        self.side.maps(self.coordinates)

    def forward(self) -> None:
        """Logits, maps known from the call before."""
        if self.warm is None:
            self.warm = self.side.tensor(self.features, self.coordinates)
        self._infer(self.warm)

    def cold(self) -> None:
        """Logits of new coordinates, maps included."""
        self._infer(self.side.tensor(self.features, self.coordinates))

    def step(self) -> None:
        """A training step on new coordinates: maps, forward, backward, optimiser."""
        self.warm = None
        self.side.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.side.logits(self.side.tensor(self.features, self.coordinates))
        nn.functional.cross_entropy(logits.float(), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> dict[str, float]:
        """Peak memory of training steps so far, GiB above the process with its libraries and weights."""
        return {"gib": (peak_bytes() - self.base) / 2**30}

    def _infer(self, x: Any) -> None:
        self.side.network.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            self.side.logits(x)


def peak_bytes() -> int:
    """Largest resident set of this process so far (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Answer until the input ends."""
    # Answers go to the original output; whatever a library prints goes to the error stream.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    timed = Timed(json.loads(sys.argv[1]))
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        work: Callable[[], Any] = getattr(timed, line.strip())
        started, cpu = time.perf_counter(), time.process_time()
        answer = work() or {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
