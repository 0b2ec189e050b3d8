"""Weights trained elsewhere: MinkowskiEngine and spconv checkpoints into a model written in MinkowskiEngine's names."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pointseg.errors import InputError
from pointseg.untrusted import BoundedReader

NESTED = ("state_dict", "model_state_dict", "model")
"""Entries of a training checkpoint under which its weights lie."""

PREFIXES = ("module.", "model.")
"""What DistributedDataParallel and Lightning put before names."""

Axes = Literal["zyx", "xyz"]


@dataclass(frozen=True)
class ImportReport:
    """What became of every name.

    Attributes:
        matched: name in the model -> name in the file.
        missing: names of the model that the file does not have; they keep their values.
        unexpected: names of the file that the model does not have; they are left aside.
    """

    matched: dict[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def import_weights(
    model: nn.Module, source: str | Path | Mapping[str, Any], *, spconv_axes: Axes = "zyx"
) -> ImportReport:
    """Copies weights into ``model``, all or none; nothing in a file is executed.

    Names are the model's, with or without ``module.`` and ``model.`` before them. A convolution's ``X.kernel`` is taken
    from ``X.kernel`` (MinkowskiEngine: (K, C_in, C_out), or (C_in, C_out)) or from ``X.weight`` (spconv 2.2 or newer:
    (C_out, k, .., k, C_in); ``nn.Linear``: (C_out, C_in)); norms from ``X.bn.weight`` or ``X.weight``; likewise for
    ``MinkowskiLinear``.

    spconv's rule and MinkowskiEngine's agree on which neighbour an entry of the kernel belongs to for odd centred
    kernels and for even ones without padding. Its strided layers make an output row wherever the kernel reaches,
    MinkowskiEngine's only where inputs lie: the same rows with kernel 2 and stride 2, others with kernel 3.

    Args:
        model: a model of this project or of others, on either engine.
        source: a state dict, a training checkpoint that holds one, or a file of either (torch or safetensors).
        spconv_axes: the order of the columns after the batch index in the coordinates that the spconv network was
            trained on: ``zyx`` as spconv documents, ``xyz`` where they were not turned round (Pointcept).

    Raises:
        InputError: the file cannot be read without executing it, a shape differs, two names mean the same entry, or
            nothing matches.
    """
    if spconv_axes not in ("zyx", "xyz"):
        raise InputError(f"spconv_axes is {spconv_axes!r}, but it must be 'zyx' or 'xyz'.")
    given = _state(source)
    state = model.state_dict()
    # A name of the model's own beats another entry's alias.
    names = {alias: name for name in state for alias in _aliases(name)} | {name: name for name in state}
    matched: dict[str, str] = {}
    values: dict[str, Tensor] = {}
    unexpected = []
    for their_name, value in ((str(key), value) for key, value in given.items()):
        name = names.get(_without_prefixes(their_name, names))
        if name is None or not isinstance(value, Tensor):
            unexpected.append(their_name)
            continue
        if name in matched:
            raise InputError(f"{matched[name]} and {their_name} are both weights of {name}: remove one of them.")
        matched[name] = their_name
        values[name] = _converted(value, state[name], their_name, name, spconv_axes)
    if not matched:
        raise InputError(
            f"none of the {len(given)} names in the weights ({_some(given)}) is one of the model's ({_some(state)}): "
            f"rename the entries, or pass the part of the model they belong to."
        )
    model.load_state_dict(values, strict=False)
    missing = tuple(name for name in state if name not in matched)
    return ImportReport(matched, missing, tuple(unexpected))


def _state(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    content = _read(Path(source)) if isinstance(source, str | Path) else source
    while isinstance(content, Mapping):
        inner = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    raise InputError(f"the weights are a {type(content).__name__}, but they must be a state dict: names and tensors.")


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # torch warns of pickles of other ages, which it then reads or refuses.
        with BoundedReader(path) as file, warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}): pass a torch or safetensors file of weights.") from error
    except Exception as error:  # A damaged or hostile file can make torch's reader raise anything.
        raise InputError(
            f"{path} is not loaded: it is damaged, or holds Python objects besides tensors, and making those could run "
            f"code. Where you trust it, save its state dict alone with torch.save and import that file."
        ) from error


def _aliases(name: str) -> tuple[str, ...]:
    """Other names under which files keep the model's entry ``name``."""
    path, _, entry = name.rpartition(".")
    owner, _, wrapped = path.rpartition(".")
    if entry == "kernel":
        return (f"{path}.weight" if path else "weight",)
    if wrapped in ("bn", "linear"):
        return (f"{owner}.{entry}" if owner else entry,)
    return ()


def _without_prefixes(name: str, known: Mapping[str, str]) -> str:
    while name not in known:
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            break
        name = name.removeprefix(prefix)
    return name


def _converted(value: Tensor, target: Tensor, their_name: str, name: str, axes: Axes) -> Tensor:
    """``value`` in the layout of the model's entry.

    Raises:
        InputError: the sizes differ.
    """
    result = value
    if name.endswith("kernel") and their_name.endswith("weight"):
        result = _kernel_of_weight(value, pointwise=target.ndim == 2, axes=axes)
    # Biases are (C,) or (1, C), kernels of one offset (C_in, C_out) or (1, C_in, C_out).
    if target.shape not in (result.shape, (1, *result.shape)) and result.shape != (1, *target.shape):
        raise InputError(
            f"{their_name} has shape {tuple(value.shape)}, but {name} of the model is {tuple(target.shape)}: build the "
            f"model with the checkpoint's channels, classes and kernel sizes."
        )
    return result.reshape(target.shape)


def _kernel_of_weight(weight: Tensor, *, pointwise: bool, axes: Axes) -> Tensor:
    """(K, C_in, C_out), or (C_in, C_out) if ``pointwise``, of a weight (C_out, k, .., k, C_in)."""
    if weight.ndim <= 2:
        return weight.t()
    c_out, *size, c_in = weight.shape
    if pointwise and set(size) == {1}:
        # spconv multiplies by the weight's memory seen as (C_in, C_out), although its shape says (C_out, .., C_in).
        return weight.reshape(c_in, c_out)
    # MinkowskiEngine's first axis runs fastest: spconv's last one if columns were turned round, else its first one.
    spatial = range(1, weight.ndim - 1) if axes == "zyx" else range(weight.ndim - 2, 0, -1)
    return weight.permute(*spatial, weight.ndim - 1, 0).reshape(-1, c_in, c_out)


def _some(names: Mapping[str, Any]) -> str:
    shown = ", ".join(str(name) for name in list(names)[:3])
    return f"{shown}, ..." if len(names) > 3 else shown
