"""Building a network with its method, and one optimiser step of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.inference.tile_network import AUTOCAST
from pointseg.methods import METHODS, Batch, LossTerms, Method
from pointseg.methods.distributed import all_reduce_sum
from pointseg.methods.teacher import Teacher
from pointseg.minkowski.rows import add_relu, compiled_rows, norm_relu
from pointseg.models.engine import DEFAULT, ENGINES, ME, VARIABLE
from pointseg.models.segmentor import Segmentor
from pointseg.training.averaging import average_gradients
from pointseg.training.config import TrainConfig
from pointseg.training.processes import every_text, raise_together
from pointseg.training.run import Run
from pointseg.training.schedule import build_optimizer, set_learning_rate
from pointseg.training.synced_norm import synced


def build(run: Run, device: torch.device) -> tuple[Segmentor, Method, torch.optim.Optimizer]:
    """Network first, method second: the same seed gives every method the same initial network."""
    config = run.config
    torch.manual_seed(config.seed)
    model = run.build_model().to(device)
    method = METHODS[config.method_name](config.method_config(), run.task(model.feature_dim)).to(device)
    # Before the method copies teachers: they are to see the rows of all processes too.
    synced(model), synced(method)
    method.prepare(model)
    return model, method, build_optimizer(_trained(model), config.optimizer, _trained(method))


@contextmanager
def compiling(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """While networks run as ``config.compile`` wants them to.

    Raises:
        InputError: the network is to be compiled, and cannot be on this device or with this engine.
    """
    if not config.compile:
        yield
        return
    if ME.__name__ != ENGINES[DEFAULT]:
        raise InputError(f"compile is true, which works with pointseg's own engine only; unset {VARIABLE}")
    with compiled_rows():
        _try_compiled(config.precision, device)
        yield


def _try_compiled(precision: str, device: torch.device) -> None:
    """Everything that training will have translated, forward and backward, on rows such as convolutions make then."""
    rows = torch.ones(3, 4, dtype=AUTOCAST.get(precision, torch.float32), device=device, requires_grad=True)
    x = ME.SparseTensor(rows, torch.eye(3, 4, dtype=torch.int32, device=device))
    relu = ME.MinkowskiReLU()
    try:
        with _autocast(precision, device):
            normed = norm_relu(ME.MinkowskiBatchNorm(4).to(device), relu, x)
            total = add_relu(relu, normed, x).F.sum()
        total.backward()
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip()
        raise InputError(
            f"compile is true, but torch.compile does not work here ({reason}); it needs a C++ compiler, and Triton on "
            "a GPU: install them or set compile to false"
        ) from error


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    """What the networks of a recipe of this precision run under."""
    return torch.autocast(device.type, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def build_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """The scaler of the loss: fp16 needs one, without it gradients vanish; otherwise it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")


def build_average(config: TrainConfig, model: nn.Module) -> Teacher | None:
    """The moving average of the network's weights, if the recipe wants one."""
    return Teacher(model, config.ema_momentum) if config.ema_momentum else None


def _trained(part: nn.Module) -> list[nn.Parameter]:
    """What the optimiser moves: a teacher's weights are not among it."""
    return [p for p in part.parameters() if p.requires_grad]


def training_step(
    model: Segmentor,
    method: Method,
    optimizer: torch.optim.Optimizer,
    rows: Batch | Sequence[Batch],
    config: TrainConfig,
    *,
    scaler: torch.amp.GradScaler | None = None,
    describe: Callable[[int], str] = lambda number: "unnamed samples",
) -> LossTerms:
    """One optimiser step, of all processes together.

    Args:
        model, method, optimizer: as ``build`` makes them.
        rows: one batch, or several of one step, whose gradients are averaged. Their annotated rows count as those of
            one large batch do: each row alike, whichever batch it is in. The Lovasz term is of each batch by itself.
        config: the recipe.
        scaler: as ``build_scaler`` makes it; None = none.
        describe: the samples of the batch of a number, in words, for a complaint.

    Returns:
        The loss and log, averaged over the batches; those of several processes are parts whose mean is the whole.

    Raises:
        InputError: a loss or a gradient is not finite, in whichever process.
    """
    batches = [rows] if isinstance(rows, Batch) else rows
    step = batches[0].step
    set_learning_rate(optimizer, step, config.steps, config.optimizer)
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    optimizer.zero_grad(set_to_none=True)
    parts = []
    for number, (batch, share) in enumerate(zip(batches, _labelled_shares(method, batches), strict=True)):
        method.labelled_share = share
        with _autocast(config.precision, batch.weak.labels.device):
            terms = method.loss(model, batch)
        _require_finite(terms, step, number, describe)
        scaler.scale(terms.total / len(batches)).backward()
        parts.append(LossTerms(terms.total.detach(), terms.log))
    # Before they are looked at: an overflow in one process is then one in all, and all pass over the step.
    average_gradients((*_trained(model), *_trained(method)))
    scaler.unscale_(optimizer)
    if config.optimizer.clip_norm:
        _clip(model, method, config, step, lambda: ", ".join(describe(number) for number in range(len(batches))))
    scaler.step(optimizer)
    scaler.update()
    method.after_step(model)
    return _average(parts)


def _labelled_shares(method: Method, batches: Sequence[Batch]) -> list[Tensor | float]:
    """Factors of the batches' mean losses of annotated rows that turn the mean of these means into the mean of all."""
    if len(batches) == 1:
        return [1.0]
    weights = torch.stack([all_reduce_sum(method.labelled_weight(batch.weak.labels)) for batch in batches])
    return list(weights * len(batches) / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny))


def _clip(model: nn.Module, method: Method, config: TrainConfig, step: int, samples: Callable[[], str]) -> None:
    # Apart: large gradients of a method's own layers must not shorten the network's step.
    for part in (model, method):
        trained = [p for p in part.parameters() if p.grad is not None]
        if not trained:
            continue
        norm = nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm)
        # With fp16 the scaler passes over such a step and scales the next ones less.
        if config.precision != "fp16" and not math.isfinite(float(norm)):
            everywhere = ", ".join(every_text(samples()))
            raise_together(f"the gradient of step {step} on {everywhere} is not finite; {_ADVICE}")


def _average(parts: Sequence[LossTerms]) -> LossTerms:
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.log)
    log = {name: torch.stack([p.log[name].float() for p in parts if name in p.log]).mean(0) for name in names}
    return LossTerms(torch.stack([part.total for part in parts]).mean(), log)


_ADVICE = "look at these samples, or start again under another --out with a lower optimizer.lr, or with precision fp32"


def _require_finite(terms: LossTerms, step: int, number: int, describe: Callable[[int], str]) -> None:
    complaint = None
    if not math.isfinite(float(terms.total.detach())):
        values = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.log.items() if value.dim() == 0)
        complaint = f"the loss of step {step} on {describe(number)} is not finite ({values}); {_ADVICE}"
    raise_together(complaint)
