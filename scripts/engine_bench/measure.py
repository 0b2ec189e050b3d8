"""Timing all workers alternately, command by command."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine_bench.processes import Worker, WorkerError
from engine_bench.settings import Setting

# In this order: forward uses the maps that cold has made.
COMMANDS = ("maps", "cold", "forward", "step")
PEAK = "peak"


@dataclass
class Measured:
    """What one engine reached at one setting on one scene.

    Attributes:
        setting: of the engine.
        voxels: file of the scene.
        seconds: of every round, by command.
        peak: GiB.
    """

    setting: Setting
    voxels: Path
    seconds: dict[str, list[float]] = field(default_factory=lambda: {command: [] for command in COMMANDS})
    peak: float = 0.0

    def best(self, figure: str) -> float:
        """The least over the rounds of a command, in seconds; of :data:`PEAK`, the GiB."""
        return self.peak if figure == PEAK else min(self.seconds[figure])

    def summary(self) -> dict[str, object]:
        """For the JSON file."""
        times = {c: {"min": min(t), "median": statistics.median(t)} for c, t in self.seconds.items()}
        return {"engine": self.setting.engine, "setting": self.setting.name, **times, "peak_gib": self.peak}


def measure(
    started: list[Worker], rounds: int, before_round: Callable[[int], None]
) -> tuple[list[Measured], list[str]]:
    """Time every worker, one at a time, each round on another draw of rows, the same one for all.

    Args:
        started: the workers.
        rounds: how often.
        before_round: called with the number of each round, counted from 1.

    Returns:
        Figures of the workers that lasted, and one line for each of the others.
    """
    alive = {worker: Measured(worker.setting, worker.voxels) for worker in started}
    failures: list[str] = []

    def each(work: Callable[[Worker, Measured], None]) -> None:
        for worker, measured in list(alive.items()):
            try:
                work(worker, measured)
            except WorkerError as failure:
                failures.append(str(failure))
                del alive[worker]

    each(lambda worker, _: worker.ready())
    each(lambda worker, _: worker.ask("warm_up"))
    for draw in range(1, rounds + 1):
        before_round(draw)
        for command in COMMANDS:
            each(lambda w, m, command=command, draw=draw: m.seconds[command].append(w.ask(command, draw)))
    each(lambda worker, measured: setattr(measured, "peak", worker.ask("peak")))
    return list(alive.values()), failures
