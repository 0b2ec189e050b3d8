"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pointseg.errors import InputError

SCHEDULES = ("cosine", "poly", "onecycle")


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and schedule.

    Attributes:
        name: ``adamw`` or ``sgd`` (momentum 0.9, Nesterov).
        lr: peak learning rate.
        weight_decay: decoupled for AdamW, L2 for SGD.
        schedule: ``cosine`` to 0, ``poly`` with power 0.9, or ``onecycle``, which has a rise of its own.
        warmup_steps: linear rise from 0 before ``cosine`` or ``poly`` starts; no part of ``onecycle``.
        clip_norm: largest gradient norm, of the network and of the method's own layers apart; 0 = no clipping.
        method_lr: factor of the learning rate of the method's own layers.
    """

    name: str = "adamw"
    lr: float = 0.005
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup_steps: int = 50
    clip_norm: float = 10.0
    method_lr: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "sgd"):
            raise InputError(f"optimizer.name is {self.name!r}; allowed are adamw, sgd")
        if self.schedule not in SCHEDULES:
            raise InputError(f"optimizer.schedule is {self.schedule!r}; allowed are {', '.join(SCHEDULES)}")
        for name in ("lr", "weight_decay", "warmup_steps", "clip_norm", "method_lr"):
            if getattr(self, name) < 0:
                raise InputError(f"optimizer.{name} is {getattr(self, name)}; it must be 0 or more")


def build_optimizer(
    network: Iterable[nn.Parameter], config: OptimizerConfig, method: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimiser of a recipe, at its peak learning rate.

    Args:
        network: its trained parameters.
        config: the settings.
        method: trained parameters of the method's own layers; their group has ``config.method_lr`` as ``lr_factor``.
    """
    groups: list[dict[str, Any]] = [{"params": list(network), "lr_factor": 1.0}]
    own = list(method)
    if own:
        groups.append({"params": own, "lr_factor": config.method_lr})
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, total: int, config: OptimizerConfig) -> None:
    """Give every group its learning rate of a step (0-based)."""
    rate = learning_rate(step, total, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def learning_rate(step: int, total: int, config: OptimizerConfig) -> float:
    """The learning rate of a step (0-based): a function of the step alone, so a resumed run needs no state for it."""
    if config.schedule == "onecycle":
        return config.lr * _one_cycle(step, total)
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(total - config.warmup_steps, 1)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (1 - progress) ** 0.9


def _one_cycle(step: int, total: int) -> float:
    """Along cosines from 1/25 up to 1 at 30 % of the steps, then down to 1/250000.

    Source: Smith and Topin 2019, with the phases of ``torch.optim.lr_scheduler.OneCycleLR`` by default; momentum stays.
    """
    top = max(0.3 * total - 1, 0)
    if step < top:
        return _cosine_between(1 / 25, 1, step / top)
    return _cosine_between(1, 1 / 250_000, (step - top) / max(total - 1 - top, 1))


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
