"""Checkpoints without pickles: safetensors for every tensor, JSON for the rest, one folder a step.

    checkpoints/step_000200/  model.safetensors  method.safetensors  optimizer.safetensors  state.json  manifest.json

With a moving average there is also ``average.safetensors``, and ``scored.safetensors`` where the network that is scored
is not the student; ``best`` and ``final`` hold that one alone, as their ``model.safetensors``.

``manifest.json`` holds the SHA-256 of every other file, so that damage on disk is recognised. A folder is written under
a hidden name and renamed, so one that carries its final name was complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pointseg.atomic import remove_unfinished, replacing_folder
from pointseg.errors import InputError
from pointseg.tensor_file import save_tensors

KEEP = 2
"""How many step checkpoints stay on disk."""

MANIFEST = "manifest.json"

SCORED = "scored.safetensors"
"""The network that a step checkpoint is scored by, where it is not the student."""

FINAL = "final"
"""The weights after the last step; a run that has them is finished."""

logger = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    average: nn.Module | None = None,
    scored: nn.Module | None = None,
) -> Path:
    """Write ``folder/step_<step>`` and remove all but the newest ``KEEP`` step checkpoints.

    Args:
        folder: the run's checkpoint folder.
        step: steps done.
        model, method, optimizer: whose state is kept.
        state: anything else worth keeping, JSON values.
        average: the moving average of the model, if there is one.
        scored: the network that is scored, if it is not the model.

    Returns:
        The checkpoint's folder.
    """
    target = folder / f"step_{step:06d}"
    tensors, groups = flatten_optimizer(optimizer)
    with _replacing(target) as unfinished:
        save_tensors(tensors, unfinished / "optimizer.safetensors")
        save_tensors(_contiguous(method.state_dict()), unfinished / "method.safetensors")
        save_tensors(_contiguous(model.state_dict()), unfinished / "model.safetensors")
        if average is not None:
            save_tensors(_contiguous(average.state_dict()), unfinished / "average.safetensors")
        if scored is not None:
            save_tensors(_contiguous(scored.state_dict()), unfinished / SCORED)
        (unfinished / "state.json").write_text(json.dumps({"step": step, "optimizer": groups, **state}, indent=1))
    for old in step_checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def scored_weights(folder: Path) -> Path:
    """The file of a checkpoint folder with the network that is scored."""
    apart = folder / SCORED
    return apart if apart.is_file() else folder / "model.safetensors"


def save_weights(target: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Write a folder with the model alone (``best`` and ``final``): what evaluating and predicting need."""
    with _replacing(target) as unfinished:
        save_tensors(_contiguous(model.state_dict()), unfinished / "model.safetensors")
        (unfinished / "state.json").write_text(json.dumps(state, indent=1))


def step_checkpoints(folder: Path) -> list[Path]:
    """The step checkpoints there are, oldest first; whether they are undamaged is not looked at."""
    numbered = [p for p in folder.glob("step_*") if p.is_dir() and p.name.removeprefix("step_").isdecimal()]
    return sorted(numbered, key=lambda p: int(p.name.removeprefix("step_")))


def newest_undamaged(folder: Path) -> Path | None:
    """The newest step checkpoint whose files are as they were written; a warning names each damaged one passed over.

    Args:
        folder: the run's checkpoint folder.

    Returns:
        None if there is no step checkpoint at all.

    Raises:
        InputError: there are some, and every one is damaged.
    """
    there = step_checkpoints(folder)
    for path in reversed(there):
        complaint = damage(path)
        if complaint is None:
            return path
        logger.warning("checkpoint %s is damaged (%s); the one before it is used", path, complaint)
    if there:
        raise InputError(
            f"all checkpoints in {folder} are damaged ({', '.join(path.name for path in there)}); delete them to train "
            "from the beginning"
        )
    return None


def damage(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint folder in a few words, or None if all are as they were written."""
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
        wrong = [name for name, digest in files.items() if _sha256(path / name) != digest]
        wrong += sorted({file.name for file in path.iterdir()} - {MANIFEST, *files})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        return " ".join(str(error).split()) if isinstance(error, OSError) else f"{MANIFEST} cannot be read"
    return f"{wrong[0]} is not what was written" if wrong else None


def known_damage(path: Path) -> str | None:
    """As ``damage``; of a folder from before there were manifests nothing is known."""
    return damage(path) if (path / MANIFEST).exists() else None


def require_undamaged(path: Path) -> None:
    """Refuse a checkpoint folder whose files differ from its manifest; one from before there were any passes.

    Raises:
        InputError: a file is missing or changed.
    """
    complaint = known_damage(path)
    if complaint is not None:
        again = "have it made again by the command of its training with --resume"
        remedy = again if path.name == FINAL else "train again"
        raise InputError(f"checkpoint {path} is damaged ({complaint}); use another checkpoint, or {remedy}")


def load_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
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
    if average is not None:
        load_weights(path / "average.safetensors", average)
    restore_optimizer(optimizer, _read(path / "optimizer.safetensors"), state.get("optimizer", {}))
    return state


def read_state(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint folder."""
    try:
        return dict(json.loads((path / "state.json").read_text()))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); delete the folder and use an older one"
        ) from error


def load_weights(path: Path, module: nn.Module) -> None:
    """Load a safetensors file into a module; names and shapes must fit exactly."""
    tensors = _read(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the weights in {path} do not fit this network: {reason[:300]}") from error


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
    try:
        state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in saved["values"].items()}
        for key, tensor in tensors.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = tensor
        groups = [
            {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in saved["param_groups"]
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"the optimiser's state does not fit this recipe: {error}") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(target.parent)
    with replacing_folder(target) as unfinished:
        yield unfinished
        files = sorted(unfinished.iterdir())
        digests = {file.name: _sha256(file) for file in files}
        manifest = unfinished / MANIFEST
        manifest.write_text(json.dumps({"files": digests}, indent=1))
        for file in (*files, manifest):
            _flush(file)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(file: Path) -> None:
    """Bring a file to the disk, so that no crash of the machine leaves a renamed folder with empty files."""
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())
