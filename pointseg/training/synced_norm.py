"""Batch norm over the rows of all processes, on CPUs too, where torch has none.

Statistics and gradients are those that one process with all rows would get, but for the order of sums. Processes may
have different numbers of rows, and none at all; each must run the same layers in the same order, forward and backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pointseg.methods.distributed import all_gather, all_reduce_sum, world_size
from pointseg.models.engine import ME


class SyncedBatchNorm(nn.BatchNorm1d):
    """torch's batch norm on (V, C), whose statistics in training are those of the rows of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training or self.running_mean is None):
            return super().forward(input)
        mean, variance, count = _statistics(input)
        if self.training and self.running_mean is not None:
            self._track(mean, variance, count)
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        newest = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        # No row anywhere says nothing about the statistics.
        weight = torch.where(count > 0, newest, 0.0).to(mean.dtype)
        unbiased = variance * (count / (count - 1).clamp(min=1)).to(mean.dtype)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight.to(self.running_mean.dtype))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight.to(self.running_var.dtype))


def synced(module: nn.Module) -> nn.Module:
    """Let the batch norms of a module work over all processes, if there are several; in place.

    Only their classes change, so that parameters stay the objects they are and checkpoints keep their names.
    """
    if world_size() == 1:
        return module
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.__class__ = SyncedBatchNorm
        elif isinstance(part, ME.MinkowskiBatchNorm):
            # Unlike the plain one it calls its ``bn`` without rows too, where the other processes wait.
            part.__class__ = ME.MinkowskiSyncBatchNorm
    return module


@torch.no_grad()
def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,) and biased variance (C,) over the rows (V, C) of all processes, and their number.

    Each process sends its mean and variance: sums of squares would lose the variance of channels far from 0.
    """
    wide = x.to(_wide(x))
    own = torch.stack(torch.var_mean(wide, dim=0, correction=0)) if len(x) else wide.new_zeros(2, x.shape[1])
    every = all_gather(torch.cat([own.flatten().double(), own.new_tensor([len(x)]).double()]))
    counts, (variances, means) = every[:, -1:], every[:, :-1].unflatten(1, (2, -1)).unbind(1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count.clamp(min=1)
    variance = (counts * (variances + (means - mean).square())).sum(0) / count.clamp(min=1)
    return mean.to(wide.dtype), variance.to(wide.dtype), count


class _Normalise(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias``, with the gradient through the shared statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), count)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        wide, centred = grad.to(mean.dtype), x.to(mean.dtype) - mean
        own = torch.stack([wide.sum(0), (wide * centred).sum(0) * inverse])
        of_bias, of_weight = all_reduce_sum(own) / count.clamp(min=1).to(mean.dtype)
        scale = inverse if weight is None else inverse * weight
        of_x = (wide - of_bias - centred * (inverse * of_weight)) * scale
        # The parameters' gradients are this process's part, as those of all other parameters.
        affine = (None, None) if weight is None else (own[1].to(weight.dtype), own[0].to(weight.dtype))
        return of_x.to(x.dtype), *affine, None, None, None, None


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
