"""Checkpoints without pickles: safetensors for every tensor, JSON for the rest, one folder a step.

    checkpoints/step_000200/  model.safetensors  method.safetensors  optimizer.safetensors  state.json

A folder is written under a hidden name and renamed, so one that carries its final name is complete.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pointseg.atomic import remove_unfinished, replacing_folder
from pointseg.errors import InputError

KEEP = 2
"""How many step checkpoints stay on disk."""


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> Path:
    """Write ``folder/step_<step>`` and remove all but the newest ``KEEP`` step checkpoints.

    Args:
        folder: the run's checkpoint folder.
        step: steps done.
        model, method, optimizer: whose state is kept.
        state: anything else worth keeping, JSON values.

    Returns:
        The checkpoint's folder.
    """
    target = folder / f"step_{step:06d}"
    tensors, groups = flatten_optimizer(optimizer)
    with _replacing(target) as unfinished:
        save_file(tensors, unfinished / "optimizer.safetensors")
        save_file(_contiguous(method.state_dict()), unfinished / "method.safetensors")
        save_file(_contiguous(model.state_dict()), unfinished / "model.safetensors")
        (unfinished / "state.json").write_text(json.dumps({"step": step, "optimizer": groups, **state}, indent=1))
    for old in step_checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def save_weights(target: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Write a folder with the model alone (``best`` and ``final``): what evaluating and predicting need."""
    with _replacing(target) as unfinished:
        save_file(_contiguous(model.state_dict()), unfinished / "model.safetensors")
        (unfinished / "state.json").write_text(json.dumps(state, indent=1))


def step_checkpoints(folder: Path) -> list[Path]:
    """Complete step checkpoints, oldest first."""
    complete = [p for p in folder.glob("step_*") if (p / "state.json").is_file()]
    return sorted(complete, key=lambda p: int(p.name.removeprefix("step_")))


def load_checkpoint(
    path: Path, *, model: nn.Module, method: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore what ``save_checkpoint`` wrote, in place.

    Returns:
        The state, ``step`` included.

    Raises:
        InputError: a file is missing, damaged, or of another model.
    """
    state = read_state(path)
    load_weights(path / "model.safetensors", model)
    load_weights(path / "method.safetensors", method)
    restore_optimizer(optimizer, _read(path / "optimizer.safetensors"), state["optimizer"])
    return state


def read_state(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint folder."""
    try:
        return dict(json.loads((path / "state.json").read_text()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); delete the folder and use an older one"
        ) from error


def load_weights(path: Path, module: nn.Module) -> None:
    """Load a safetensors file into a module; names and shapes must fit exactly."""
    tensors = _read(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"the weights in {path} do not fit this network: {' '.join(str(error).split())}") from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); the checkpoint is incomplete, use an older one") from error


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and JSON values."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().contiguous()
            else:
                values.setdefault(str(index), {})[name] = value
    return tensors, {"param_groups": state["param_groups"], "values": values}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], saved: dict[str, Any]) -> None:
    """The inverse of ``flatten_optimizer``."""
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in saved["values"].items()}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = [
        {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in saved["param_groups"]
    ]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise InputError(f"the optimiser's state does not fit this recipe: {error}") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _replacing(target: Path) -> AbstractContextManager[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(target.parent)
    return replacing_folder(target)
