"""Train cells, several at a time, keeping what is finished and continuing what was interrupted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import BinaryIO

from methods_bench.cells import Cell
from methods_bench.prepare import labels_name
from methods_bench.results import begun_by, record, refuse_other_settings, scores
from methods_bench.version import origin
from pointseg.progress import progress_bar


class Trainer:
    """Trains cells as ``pointseg train`` processes.

    Finished cells are kept whatever code made them; the tables tell. A training that another version of the code or of
    the benchmark's settings began starts anew.

    Args:
        out: folder of the benchmark.
        jobs: processes at a time; each gets an equal share of the cores.
        device: ``--device`` of the processes.
    """

    def __init__(self, out: Path, jobs: int, device: str) -> None:
        self.out, self.jobs, self.device = out, jobs, device
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def train(self, cells: Sequence[Cell]) -> list[Cell]:
        """Train the cells that are not finished; returns those that failed. Ctrl-C stops them all.

        Each is recorded (``results.record``) when it ends, those finished before at once.

        Raises:
            InputError: a finished cell has other settings.
        """
        refuse_other_settings(self.out, cells)
        record(self.out, cells)
        waiting = [cell for cell in cells if scores(self.out, cell) is None]
        failed: list[Cell] = []
        bar = progress_bar()
        task = bar.add_task(f"{len(cells) - len(waiting)} of {len(cells)} cells kept", total=len(waiting), status="")
        with bar, ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self._train, cell): cell for cell in waiting}
            try:
                for future in as_completed(futures):
                    cell = futures[future]
                    failed += [] if future.result() else [cell]
                    record(self.out, [cell])
                    bar.update(task, advance=1, description=_label(cell), status=self._status(cell))
            except KeyboardInterrupt:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failed

    def _train(self, cell: Cell) -> bool:
        run = cell.run(self.out)
        run.parent.mkdir(parents=True, exist_ok=True)
        now = origin(cell)
        if run.exists() and begun_by(self.out, cell) != now:
            shutil.rmtree(run)
        cell.origin_file(self.out).write_text(f"{now.code} {now.settings}\n")
        train = ["train", f"synthetic_{cell.variant.recipe}", "--data", str(self.out / cell.suite.data)]
        train += ["--labels", labels_name(cell), "--out", str(run), "--seed", str(cell.seed), "--workers", "0"]
        train += ["--device", self.device, "--resume", "--set", *cell.suite.settings, *cell.variant.settings]
        score = ["evaluate", str(run), "--device", self.device, "--splits", *cell.training_splits]
        with run.with_suffix(".log").open("wb") as log:
            done = self._run(train, log) and (not cell.scores_own or self._run(score, log))
        for checkpoint in (run / "checkpoints").glob("step_*") if done else ():
            shutil.rmtree(checkpoint)
        return done

    def _run(self, arguments: Sequence[str], log: BinaryIO) -> bool:
        command = [sys.executable, "-m", "pointseg.cli.main", *arguments]
        with self._lock:
            if self._stopped:
                return False
            process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code == 0

    def _environment(self) -> dict[str, str]:
        threads = max((os.cpu_count() or 1) // self.jobs, 1)
        return {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _status(self, cell: Cell) -> str:
        found = scores(self.out, cell)
        return "failed, see its .log" if found is None else f"mIoU {found['final']:.1f}"


def _label(cell: Cell) -> str:
    return f"{cell.suite.name} {cell.rule} {cell.variant.name} seed {cell.seed}"
