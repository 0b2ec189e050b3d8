"""Which engines there are, and the settings each one is timed at."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

OURS = "ours"
PACKAGES = {OURS: "pointseg.minkowski", "spconv": "spconv", "MinkowskiEngine": "MinkowskiEngine"}

# (float32_matmul_precision, autocast dtype). MinkowskiEngine multiplies with its own BLAS, past torch's precision
# switch and autocast; spconv has no bf16.
CPU_PRECISIONS: dict[str, tuple[tuple[str, str | None], ...]] = {
    OURS: (("highest", None), ("highest", "bfloat16")),
    "spconv": (("highest", None), ("medium", None)),
    "MinkowskiEngine": (("highest", None),),
}
CUDA_PRECISIONS: dict[str, tuple[tuple[str, str | None], ...]] = {
    OURS: (("highest", None), ("highest", "bfloat16"), ("highest", "float16")),
    "spconv": (("highest", None), ("highest", "float16")),
    "MinkowskiEngine": (("highest", None),),
}


@dataclass(frozen=True)
class Setting:
    """One engine as one worker process runs it.

    Attributes:
        engine: a name of :data:`PACKAGES`.
        threads: OMP_NUM_THREADS of the process.
        matmul: ``torch.set_float32_matmul_precision`` of the process.
        autocast: the dtype of autocast, None without.
        device: "cpu" or "cuda".
    """

    engine: str
    threads: int
    matmul: str = "highest"
    autocast: str | None = None
    device: str = "cpu"

    @property
    def name(self) -> str:
        precision = {None: "fp32", "bfloat16": "bf16", "float16": "fp16"}[self.autocast]
        matmul = "" if self.matmul == "highest" else f" '{self.matmul}'"
        return f"{precision}{matmul}, {self.threads} thread{'s' * (self.threads > 1)}"


def installed() -> list[str]:
    """The engines whose packages are there; ours always is."""
    return [engine for engine, package in PACKAGES.items() if engine == OURS or importlib.util.find_spec(package)]


def settings_of(engines: Sequence[str], device: str, threads: int) -> list[Setting]:
    """Every setting of these engines: each precision with all threads and, on a CPU, with one."""
    precisions, counts = CPU_PRECISIONS, sorted({threads, 1}, reverse=True)
    if device == "cuda":
        precisions, counts = CUDA_PRECISIONS, [threads]
    return [
        Setting(engine, count, matmul, autocast, device)
        for engine in engines
        for matmul, autocast in precisions[engine]
        for count in counts
    ]
