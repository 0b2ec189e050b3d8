"""What is averaged over the processes of a training: gradients and logs. In one process nothing happens.

Losses are scaled so that their mean over processes is the loss of the whole batch (``global_mean``); so are gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from pointseg.methods.distributed import sum_in_place, take_from_first, world_size


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes, bit for bit the same in each.

    One flat sum after the last backward pass: methods call the network several times, leave parameters without a
    gradient and add gradients up over batches, all of which hooks on single gradients would have to be told of.
    A parameter without a gradient counts as 0; without one anywhere it stays so, and the optimiser passes over it.
    """
    if world_size() == 1:
        return
    trained = list(parameters)
    for dtype in dict.fromkeys(p.dtype for p in trained):
        own = [p for p in trained if p.dtype == dtype]
        found = own[0].new_tensor([p.grad is not None for p in own])
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        flat = sum_in_place(torch.cat([found, *(part.reshape(-1) for part in parts)])).div_(world_size())
        anywhere, *means = flat.split([len(own), *(p.numel() for p in own)])
        for p, there, mean in zip(own, anywhere.tolist(), means, strict=True):
            p.grad = mean.view_as(p) if there else None


@torch.no_grad()
def average_log(log: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The means over all processes of a step's log; its names are the same in each of them."""
    if world_size() == 1:
        return dict(log)
    flat = torch.cat([value.detach().reshape(-1).float() for value in log.values()])
    means = (sum_in_place(flat) / world_size()).split([value.numel() for value in log.values()])
    return {name: mean.view(value.shape) for (name, value), mean in zip(log.items(), means, strict=True)}


def replicate(modules: Iterable[nn.Module]) -> None:
    """Give all processes the parameters and buffers of the first one, whatever machine drew theirs."""
    if world_size() == 1:
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            take_from_first(tensor.data)
