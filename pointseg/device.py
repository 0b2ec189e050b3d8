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


def pick_device_of_process(name: str | None, local_rank: int) -> torch.device:
    """The device of one of several processes: each takes the GPU of its number on its machine, or all the CPU.

    Args:
        name: ``cpu`` or ``cuda``; None = CUDA where there is one, else the CPU.
        local_rank: number of the process on this machine, from 0.

    Raises:
        InputError: the name says one device for all, or there are fewer GPUs here than processes.
    """
    if name not in (None, "cpu", "cuda"):
        raise InputError(
            f"--device is {name!r}, but several processes train together and each takes a GPU of its own; give cuda or "
            "cpu, or leave it out"
        )
    device = pick_device(name)
    if device.type == "cpu":
        return device
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"process {local_rank} of this machine (counted from 0) has no GPU, for there are "
            f"{torch.cuda.device_count()}; start as many processes as GPUs, or give --device cpu"
        )
    return torch.device("cuda", local_rank)
