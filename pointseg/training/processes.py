"""Several processes that train one run: joining them, and ending them together.

They are started by torchrun, or by anything else that sets its variables. The first process alone writes.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed as dist

from pointseg.device import pick_device, pick_device_of_process
from pointseg.errors import InputError
from pointseg.methods.distributed import all_gather_rows, all_reduce_sum, rank, world_size

T = TypeVar("T")

COUNTS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

TIMEOUT = timedelta(minutes=15)
"""How long a process waits for the others: longer than a scene takes to be scored (they meet after each) or a report to
be written."""


class SharedError(InputError):
    """An error that all processes raise at the same place; it is enough that the first one tells it."""


@dataclass(frozen=True)
class Place:
    """The place of a process in its job: ``rank`` of ``size`` processes, ``local_rank`` on its machine."""

    rank: int
    local_rank: int
    size: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place | None:
        """What the variables that torchrun sets say; None without them.

        Raises:
            InputError: some of them are missing, are no numbers or contradict one another.
        """
        if not any(name in environment for name in COUNTS):
            return None
        advice = "start the processes with torchrun, or unset RANK, LOCAL_RANK and WORLD_SIZE to train in one"
        missing = [name for name in COUNTS + ADDRESS if name not in environment]
        if missing:
            there = [name for name in COUNTS if name in environment]
            raise InputError(f"{', '.join(there)} is set, but {', '.join(missing)} is not; {advice}")
        shown = ", ".join(f"{name}={environment[name]}" for name in COUNTS)
        if not all(environment[name].isdecimal() for name in COUNTS):
            raise InputError(f"{shown} are not all whole numbers; {advice}")
        place = cls(*(int(environment[name]) for name in COUNTS))
        if not place.local_rank <= place.rank < place.size:
            raise InputError(
                f"{shown} do not fit together: LOCAL_RANK is at most RANK, and RANK below WORLD_SIZE; {advice}"
            )
        return place


@contextmanager
def joined(device: str | None, timeout: timedelta = TIMEOUT) -> Iterator[torch.device]:
    """Join the other processes of the job, if there are any, while the block runs.

    Args:
        device: as ``--device`` names it; None = choose.
        timeout: how long to wait for another process before giving up.

    Yields:
        The device of this process. NCCL connects GPUs, gloo CPUs.

    Raises:
        InputError: the variables of the job are incomplete, the device cannot be used, or the others cannot be reached.
    """
    place = Place.of(os.environ)
    if place is None:
        yield pick_device(device)
        return
    own = pick_device_of_process(device, place.local_rank)
    if place.size == 1:
        yield own
        return
    if own.type == "cuda":
        torch.cuda.set_device(own)
    _join(place, own, timeout)
    try:
        yield own
    except BaseException:
        # NCCL may wait for ever for a process that is gone; the end of this one closes everything all the same.
        if own.type == "cpu":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _join(place: Place, device: torch.device, timeout: timedelta) -> None:
    # Its functions keep the group that exists when they are imported, as by the first optimiser made, for good. The
    # group's threads would then outlive it, and now and then abort a process at its end.
    importlib.import_module("torch.distributed.nn")
    try:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=place.rank,
            world_size=place.size,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
    except (RuntimeError, ValueError) as error:
        address = ":".join(os.environ[name] for name in ADDRESS)
        reason = (str(error).splitlines() or ["no reason given"])[0].strip()
        raise InputError(
            f"process {place.rank} of {place.size} did not find the others at {address} ({reason}); start all of them, "
            "and see that the address can be reached"
        ) from error


def is_first() -> bool:
    """Whether this process is the first or only one, which writes the run folder."""
    return rank() == 0


def own_share(count: int) -> slice:
    """Which of ``count`` things in a row are this process's: equal parts, one more for the first if some are over."""
    each, over = divmod(count, world_size())
    start = rank() * each + min(rank(), over)
    return slice(start, start + each + (rank() < over))


def require_shareable(batch_size: int, compiled: bool) -> None:
    """Refuse settings that several processes cannot train with.

    Raises:
        InputError: there are more processes than samples in a batch, or the network is to be compiled, where they
            would not meet in batch norm.
    """
    if compiled and world_size() > 1:
        raise InputError("compile is true, which works in one process only; set it to false or start one process")
    if batch_size < world_size():
        raise InputError(
            f"batch_size is {batch_size}, but {world_size()} processes share each batch and need a sample each; start "
            "fewer processes or raise batch_size"
        )


def first_does(action: Callable[[], T]) -> T | None:
    """Have the first process do something while the others wait for its end.

    Returns:
        What came of it; None in the other processes.

    Raises:
        SharedError: in the other processes, where it failed; the first one raises its own error.
    """
    if world_size() == 1:
        return action()
    result, failure = None, None
    if is_first():
        try:
            result = action()
        except Exception as error:
            failure = error
    if in_any(failure is not None):
        raise failure or SharedError("the first process could not go on; its message says why")
    return result


def raise_together(complaint: str | None) -> None:
    """Raise in every process if any of them has a complaint, with the one of the lowest rank that has.

    Raises:
        InputError: there is a complaint; a ``SharedError`` in several processes.
    """
    if not in_any(complaint is not None):
        return
    told = next(text for text in every_text(complaint or "") if text)
    raise InputError(told) if world_size() == 1 else SharedError(told)


def in_any(flag: bool) -> bool:
    """Whether a flag is set in any process."""
    return flag if world_size() == 1 else bool(all_reduce_sum(torch.tensor(int(flag), device=meeting_device())))


def every_text(text: str) -> list[str]:
    """The texts of all processes, in the order of their ranks; they hold no character 0."""
    if world_size() == 1:
        return [text]
    encoded = torch.tensor(list(f"{text}\0".encode()), dtype=torch.uint8, device=meeting_device())
    return bytes(all_gather_rows(encoded).tolist()).decode().split("\0")[:-1]


def meeting_device() -> torch.device:
    """Where tensors must lie that go to other processes."""
    nccl = world_size() > 1 and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
