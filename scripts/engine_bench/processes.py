"""Worker processes: started together, asked one at a time, gone when the benchmark ends however it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from engine_bench.settings import Setting

SCRIPTS = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")


class WorkerError(Exception):
    """A worker has ended before it answered; the message is one line."""


class Worker:
    """A process that runs one engine at one setting on one scene.

    Args:
        setting: of the engine.
        voxels: .npy file of the scene's int32 voxels (V, 4).
    """

    def __init__(self, setting: Setting, voxels: Path) -> None:
        self.setting, self.voxels = setting, voxels
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        # -P: not the package that happens to lie in the current folder, but the one this program runs with.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine_bench.worker", self._job()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(setting.threads),
        )

    def ready(self) -> None:
        """Wait until the network is built.

        Raises:
            WorkerError: it could not be.
        """
        self._answer("start")

    def ask(self, command: str, draw: int = 0) -> float:
        """The answer to a command of :mod:`engine_bench.worker`: seconds, or GiB for ``peak``.

        Raises:
            WorkerError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            print(command, draw, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._last_words(command)) from None
        return self._answer(command)

    def end(self) -> None:
        """Stop the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _job(self) -> str:
        return json.dumps({"setting": asdict(self.setting), "voxels": str(self.voxels)})

    def _answer(self, command: str) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words(command))
        return json.loads(line)

    def _last_words(self, command: str) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        reason = f"killed by signal {-code}, out of memory?" if code < 0 else (lines or ["no message"])[-1]
        return f"{self.setting.engine} {self.setting.name}: failed in '{command}': {reason}"


@contextmanager
def workers(jobs: list[tuple[Setting, Path]]) -> Iterator[list[Worker]]:
    """The processes of these settings and scenes, started at once."""
    started: list[Worker] = []
    try:
        for setting, voxels in jobs:
            started.append(Worker(setting, voxels))
        yield started
    finally:
        for worker in started:
            worker.end()


def _environment(threads: int) -> dict[str, str]:
    """This process's, with the number of threads as the only word about threads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(THREAD_VARIABLES)}
    path = os.pathsep.join(filter(None, (str(SCRIPTS), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
