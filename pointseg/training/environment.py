"""What a training ran on, for ``environment.json``."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

from pointseg import __version__
from pointseg.methods.distributed import world_size
from pointseg.models.engine import ME

PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn")


def environment() -> dict[str, object]:
    """Versions, machine and processes, as JSON values."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {"pointseg": __version__} | {name: importlib.metadata.version(name) for name in PACKAGES},
        "engine": ME.__name__,
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "processes": world_size(),
        "threads": torch.get_num_threads(),
    }
