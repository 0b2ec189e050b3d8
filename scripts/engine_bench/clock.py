"""Seconds of a piece of work on a CPU or a GPU."""

import time
from collections.abc import Callable
from typing import Any

import torch


def seconds(work: Callable[..., Any], *arguments: Any, device: str = "cpu") -> float:
    """Wall time of one call, on a GPU until its last kernel has ended."""
    _wait(device)
    started = time.perf_counter()
    work(*arguments)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
