"""Train several runs at the same time, one process and a share of the cores each, and read what they reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointseg.errors import InputError


@dataclass(frozen=True)
class Job:
    """One training: a recipe, a draw (or ``full``), a seed, overrides of the recipe, and the folder of the run."""

    recipe: str
    labels: str
    run: Path
    seed: int = 0
    settings: tuple[str, ...] = ()


def train_side_by_side(data: Path, jobs: Sequence[Job]) -> list[float]:
    """Train the jobs, all at once; finished ones are kept, interrupted ones continued.

    Returns:
        The mIoU in per cent on the held-out raw points of each job's final checkpoint.

    Raises:
        InputError: A training failed.
    """
    threads = max((os.cpu_count() or 2) // len(jobs), 1)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    processes = []
    for job in jobs:
        command = [sys.executable, "-m", "pointseg.cli.main", "train", job.recipe, "--data", str(data)]
        command += ["--labels", job.labels, "--out", str(job.run), "--seed", str(job.seed), "--workers", "0"]
        command += ["--resume", *(["--set", *job.settings] if job.settings else [])]
        processes.append(subprocess.Popen(command, env=environment))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise InputError(f"training ended with exit codes {codes}; what went wrong is printed above")
    return [100 * json.loads((job.run / "checkpoints/final/state.json").read_text())["miou"] for job in jobs]
