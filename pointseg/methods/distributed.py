"""Sums and rows over the processes of a training job; with one process, or none set up, everything is the identity.

Every process must call these the same number of times and in the same order, whatever its batch holds: a method calls
them outside of any condition on its own data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, as a new tensor without a gradient."""
    total = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


@torch.no_grad()
def all_gather_rows(x: Tensor) -> Tensor:
    """The rows of ``x`` (M, ...) of all processes, in the order of their ranks; M may differ between processes."""
    if world_size() == 1:
        return x.detach()
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    sizes = [int(count) for count in counts]
    padded = x.new_zeros(max(sizes), *x.shape[1:])
    padded[: len(x)] = x.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


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
