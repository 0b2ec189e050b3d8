"""``pointseg doctor``."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys

from pointseg import __version__

HELP = """Show what this installation is made of: versions, devices, the sparse-convolution path that is used, and what
is missing for the optional parts."""

REQUIRED = (
    "torch", "numpy", "plyfile", "scipy", "scikit-learn", "safetensors", "tensorboard", "rich", "PyYAML", "pillow",
)  # fmt: skip
OPTIONAL = {
    "open3d": ("for a desktop window", "pip install 'pointseg[open3d]'"),
    "laspy": ("for LAS and LAZ files", "pip install 'pointseg[las]'"),
    "distributed": ("to prepare scenes on a Dask cluster", "pip install 'pointseg[cluster]'"),
    "pye57": ("for E57 files", "pip install 'pointseg[e57]'"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The doctor takes no arguments."""


def run(args: argparse.Namespace) -> int:
    lines = [("pointseg", __version__), ("python", f"{platform.python_version()} on {platform.platform()}")]
    missing = [name for name in REQUIRED if _version(name) is None]
    lines += [(name, _version(name) or "MISSING") for name in REQUIRED]
    lines += [] if "torch" in missing else _devices()
    lines += [] if "torch" in missing else [("engine", _engine())]
    for name, (purpose, install) in OPTIONAL.items():
        lines.append((name, _version(name) or f"not installed, optional; {purpose}: {install}"))
    for name, text in lines:
        print(f"{name:14} {text}")
    if missing:
        print(f"missing: {', '.join(missing)}; install with: pip install {' '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def _devices() -> list[tuple[str, str]]:
    # Here, so that the doctor can still speak where torch is missing.
    import torch

    from pointseg.device import pick_device

    lines = [("processors", f"{os.cpu_count()} ({torch.get_num_threads()} threads used)")]
    for i in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(i).total_memory / 2**30
        lines.append((f"cuda:{i}", f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB, CUDA {torch.version.cuda}"))
    if not torch.cuda.is_available():
        build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is a CPU build"
        lines.append(("cuda", f"none ({build})"))
    return [*lines, ("device chosen", str(pick_device()))]


def _engine() -> str:
    import torch

    from pointseg.minkowski import triton
    from pointseg.models.engine import DEFAULT, ENGINES, ME

    if ME.__name__ != ENGINES[DEFAULT]:
        return f"{ME.__name__}, the real one"
    kernels = torch.cuda.is_available() and triton.available()
    return f"{ME.__name__}, {'Triton kernels on the GPU' if kernels else 'plain torch'}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
