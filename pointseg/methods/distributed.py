"""Sums and rows over the processes of a training job; with one process, or none set up, everything is the identity.

Every process must call these the same number of times and in the same order, whatever its batch holds: a method calls
them outside of any condition on its own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from pointseg.errors import InputError


class LostProcessError(InputError):
    """Another process of the job has ended, or did not do its part in time."""


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among those that train together, 0 for the first or only one."""
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, as a new tensor without a gradient."""
    return sum_in_place(x.detach().clone())


@torch.no_grad()
def sum_in_place(x: Tensor) -> Tensor:
    """``x``, which becomes its sum over all processes, bit for bit the same in each of them."""
    if world_size() > 1:
        with _together():
            dist.all_reduce(x)
    return x


@torch.no_grad()
def all_gather(x: Tensor) -> Tensor:
    """``x`` (...) of all processes in the order of their ranks, (W, ...); its shape must be the same everywhere."""
    if world_size() == 1:
        return x.detach()[None]
    x = x.detach().contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    with _together():
        dist.all_gather(parts, x)
    return torch.stack(parts)


@torch.no_grad()
def all_gather_rows(x: Tensor) -> Tensor:
    """The rows of ``x`` (M, ...) of all processes, in the order of their ranks; M may differ between processes."""
    if world_size() == 1:
        return x.detach()
    sizes = all_gather(torch.tensor(len(x), device=x.device)).tolist()
    padded = x.new_zeros(max(sizes), *x.shape[1:])
    padded[: len(x)] = x.detach()
    return torch.cat([part[:size] for part, size in zip(all_gather(padded), sizes, strict=True)])


@torch.no_grad()
def take_from_first(x: Tensor) -> None:
    """Overwrite ``x`` with what it is in the first process."""
    if world_size() > 1:
        with _together():
            dist.broadcast(x, 0)


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, such that the mean over processes of the result is the quotient of the sums over processes.

    Data-parallel training averages the gradients of the processes; a plain mean in each would give rows of a process
    with few of them more weight. A count of 0 everywhere gives 0, with a gradient of 0.

    Args:
        total: scalar sum over this process's rows; carries the gradient.
        count: scalar number (or weight) of these rows.
    """
    everywhere = all_reduce_sum(count.to(total.dtype))
    return total * world_size() / torch.where(everywhere > 0, everywhere, torch.ones_like(everywhere))


@contextmanager
def _together() -> Iterator[None]:
    """Turn the failure of a collective, which says little, into one sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["no reason given"])[0].strip()
        raise LostProcessError(
            f"another process of this training has ended or no longer answers ({reason}); see what it said, then "
            "continue with the same command and --resume"
        ) from error
