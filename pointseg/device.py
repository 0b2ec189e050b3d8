"""Which device to run on."""

from __future__ import annotations

import torch

from pointseg.errors import InputError


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best there is: CUDA, else the CPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None = choose.

    Raises:
        InputError: the name is unknown or this machine has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(f"{device.type} is no device to train on")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise InputError(f"device {name!r} cannot be used here; this machine has {', '.join(there)}") from error
    return device
