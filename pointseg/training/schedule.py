"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from pointseg.errors import InputError


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and schedule.

    Attributes:
        name: ``adamw`` or ``sgd`` (momentum 0.9, Nesterov).
        lr: peak learning rate.
        weight_decay: decoupled for AdamW, L2 for SGD.
        schedule: ``cosine`` to 0, or ``poly`` with power 0.9.
        warmup_steps: linear rise from 0 before the schedule starts.
        clip_norm: largest gradient norm, of the network and of the method's own layers apart; 0 = no clipping.
    """

    name: str = "adamw"
    lr: float = 0.005
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup_steps: int = 50
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "sgd"):
            raise InputError(f"optimizer.name is {self.name!r}; allowed are adamw, sgd")
        if self.schedule not in ("cosine", "poly"):
            raise InputError(f"optimizer.schedule is {self.schedule!r}; allowed are cosine, poly")
        for name in ("lr", "weight_decay", "warmup_steps", "clip_norm"):
            if getattr(self, name) < 0:
                raise InputError(f"optimizer.{name} is {getattr(self, name)}; it must be 0 or more")


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser of a recipe, at its peak learning rate."""
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)


def learning_rate(step: int, total: int, config: OptimizerConfig) -> float:
    """The learning rate of a step (0-based): a function of the step alone, so a resumed run needs no state for it."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(total - config.warmup_steps, 1)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (1 - progress) ** 0.9
