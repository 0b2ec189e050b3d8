"""A teacher: the moving average of the student's weights.

Source: Mean Teacher (Tarvainen and Valpola, NeurIPS 2017); the rising momentum ``min(1 - 1/(t+1), m)`` is that of
their released code and U2PL's, so that early on the teacher follows the student closely.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """An exponential moving average of a network; never trained, always kept in ``state_dict``.

    Running statistics of batch norm are averaged like the weights, which fits ``forward`` in evaluation mode. With
    ``own_statistics`` they are left to the teacher's own forward passes in training mode, as U2PL does.

    Args:
        model: the student; copied.
        momentum: m, in [0, 1).
        own_statistics: forward in training mode, and keep the batch-norm statistics that gives.
    """

    updates: Tensor

    def __init__(self, model: nn.Module, momentum: float, *, own_statistics: bool = False) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.momentum = momentum
        self.own_statistics = own_statistics
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Features and logits of the teacher, without a gradient."""
        self.model.train(self.own_statistics)
        features, logits = self.model(inputs)
        return features, logits

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the student: ``t <- d t + (1 - d) s`` with ``d = min(1 - 1/(n+1), m)`` in the n-th update."""
        self.updates += 1
        decay = min(1 - 1 / (int(self.updates) + 1), self.momentum)
        own: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(own, theirs, 1 - decay)
        if self.own_statistics:
            return
        for mine, source in zip(self.model.buffers(), model.buffers(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(source, 1 - decay)
            else:
                mine.copy_(source)
