"""On what the benchmark runs."""

import os
import platform
from importlib.metadata import packages_distributions, version
from pathlib import Path

import torch

from engine_bench.settings import PACKAGES


def machine(device: str, engines: list[str]) -> dict[str, object]:
    """Processor, cores, and the versions that are compared."""
    found: dict[str, object] = {"cpu": _cpu(), "cores": os.cpu_count(), "torch": torch.__version__}
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    distributions = packages_distributions()
    for engine in engines:
        for name in distributions.get(PACKAGES[engine], [])[:1]:
            found[engine] = version(name)
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
