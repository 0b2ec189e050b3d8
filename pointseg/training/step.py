"""Building a network with its method, and one optimiser step of them."""

from __future__ import annotations

import math

import torch
from torch import nn

from pointseg.errors import InputError
from pointseg.methods import METHODS, Batch, LossTerms, Method
from pointseg.models.segmentor import Segmentor
from pointseg.training.config import TrainConfig
from pointseg.training.run import Run
from pointseg.training.schedule import build_optimizer, learning_rate


def build(run: Run, device: torch.device) -> tuple[Segmentor, Method, torch.optim.Optimizer]:
    """Network first, method second: the same seed gives every method the same initial network."""
    config = run.config
    torch.manual_seed(config.seed)
    model = run.build_model().to(device)
    method = METHODS[config.method_name](config.method_config(), run.task(model.feature_dim)).to(device)
    method.prepare(model)
    return model, method, build_optimizer(_trained(model, method), config.optimizer)


def _trained(model: nn.Module, method: Method) -> list[nn.Parameter]:
    """What the optimiser moves: a teacher's weights are not among it."""
    return [p for p in (*model.parameters(), *method.parameters()) if p.requires_grad]


def training_step(
    model: Segmentor, method: Method, optimizer: torch.optim.Optimizer, batch: Batch, config: TrainConfig
) -> LossTerms:
    """One optimiser step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(batch.step, config.steps, config.optimizer)
    with torch.autocast(batch.weak.labels.device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
        terms = method.loss(model, batch)
    _require_finite(terms, batch.step)
    optimizer.zero_grad(set_to_none=True)
    terms.total.backward()
    if config.optimizer.clip_norm:
        # Apart: large gradients of a method's own layers must not shorten the network's step.
        for part in (model, method):
            trained = [p for p in part.parameters() if p.grad is not None]
            if trained:
                nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm)
    optimizer.step()
    method.after_step(model)
    return terms


def _require_finite(terms: LossTerms, done: int) -> None:
    if not math.isfinite(float(terms.total.detach())):
        parts = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.log.items() if value.dim() == 0)
        raise InputError(
            f"the loss of step {done} is not finite ({parts}); start again under another --out with a lower "
            "optimizer.lr, or with precision fp32"
        )
