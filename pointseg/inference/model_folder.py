"""A trained network as one folder: ``model.safetensors`` (the weights) and ``model.json`` (what they belong to).

Reading it executes nothing: JSON is checked entry by entry, and safetensors hold numbers alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pointseg import __version__
from pointseg.atomic import replacing_folder
from pointseg.data.classes import Classes, is_class_name
from pointseg.data.dataset import FEATURES, feature_channels
from pointseg.data.scene import hash_file
from pointseg.errors import InputError
from pointseg.locking import HOLDER, only_process
from pointseg.models.minkunet import MODELS
from pointseg.models.segmentor import Segmentor, build_segmentor
from pointseg.tensor_file import save_tensors

FORMAT_VERSION = 1
PRECISIONS = ("fp32", "bf16", "fp16")
NORMALISATION = {"color": "rgb / 127.5 - 1", "height": "metres above the lowest point", "ones": "1"}
"""How inputs are made of points. Another rule in a model file means a network that this version cannot feed."""

_LARGEST_JSON = 1 << 20
_WIDEST = 4096
_WIDEST_KERNEL = 31


@dataclass(frozen=True)
class ModelSpec:
    """What has to be known of a network to use it.

    Attributes:
        classes: names and (K, 3) colours of what it tells apart.
        voxel_size: metres.
        features: input features, names out of ``pointseg.data.dataset.FEATURES``.
        network: name of the backbone, out of ``pointseg.models.minkunet.MODELS``.
        planes: widths of its 8 blocks; empty = the table of its name.
        init_dim: channels of its stem.
        stem_kernel: kernel size of its stem.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
    """

    classes: Classes
    voxel_size: float
    features: tuple[str, ...]
    network: str
    planes: tuple[int, ...]
    init_dim: int
    stem_kernel: int
    precision: str = "fp32"

    def to_json(self) -> dict[str, Any]:
        """What ``model.json`` says of it."""
        return {
            "dataset": self.classes.dataset,
            "classes": [
                {"name": name, "color": color}
                for name, color in zip(self.classes.names, self.classes.colors.tolist(), strict=True)
            ],
            "voxel_size": float(self.voxel_size),
            "features": list(self.features),
            "normalisation": {name: NORMALISATION[name] for name in self.features},
            "network": {
                "name": self.network,
                "planes": list(self.planes),
                "init_dim": self.init_dim,
                "stem_kernel": self.stem_kernel,
            },
            "precision": self.precision,
        }


def save_model(model: Segmentor, spec: ModelSpec, folder: str | Path) -> Path:
    """Write a model folder; it appears whole or not at all, and takes away what a killed writing of it left.

    Args:
        model: the network.
        spec: what it is.
        folder: to write; an earlier model there is replaced.

    Raises:
        InputError: the folder is there and holds something else, or another process is writing it.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "model.json").is_file():
        raise InputError(f"{folder} is there and is no model folder; choose another place, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    refusal = f"another process is writing the model {folder} ({HOLDER}); wait for it, or choose another folder"
    with only_process(folder.parent / f".{folder.name}.lock", refusal):
        _remove_leftovers(folder)
        _write(model, spec, folder)
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Remove what was left by a process that was killed while it wrote this very folder."""
    name = re.compile(re.escape(f".{folder.name}.") + r"[a-z0-9_]{8}\.tmp")
    for path in folder.parent.iterdir():
        if name.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _write(model: Segmentor, spec: ModelSpec, folder: Path) -> None:
    with replacing_folder(folder) as unfinished:
        weights = unfinished / "model.safetensors"
        save_tensors({k: v.detach().cpu().contiguous() for k, v in model.net.state_dict().items()}, weights)
        versions = {"pointseg": __version__} | {p: importlib.metadata.version(p) for p in ("torch", "numpy")}
        document = {
            "format_version": FORMAT_VERSION,
            **spec.to_json(),
            "sha256": hash_file(weights),
            "versions": versions,
        }
        (unfinished / "model.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def load_model(folder: str | Path) -> tuple[Segmentor, ModelSpec]:
    """Read a model folder; the network is in evaluation mode on the CPU.

    Raises:
        InputError: no such folder, another format version, a damaged or missing file, entries that are wrong or do
            not fit the weights.
    """
    folder = Path(folder)
    document = _read_json(folder / "model.json")
    spec = _spec(document, folder / "model.json")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{folder} has no model.safetensors; export the model again")
    if hash_file(weights) != document.get("sha256"):
        raise InputError(f"{weights} is damaged or of another model: its hash is not model.json's; export it again")
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{weights} cannot be read ({error}); export the model again") from error
    bias = tensors.get("final.bias")
    if bias is None or bias.numel() != spec.classes.num_classes:
        raise InputError(
            f"{folder}: model.json names {spec.classes.num_classes} classes, the weights tell "
            f"{0 if bias is None else bias.numel()} apart; export the model again"
        )
    # Without memory of its own, so that no description can make it larger than the weights that are there.
    with torch.device("meta"):
        model = build(spec)
    try:
        model.net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the weights in {folder} do not fit the network of model.json: {reason[:300]}") from error
    return model.eval(), spec


def build(spec: ModelSpec) -> Segmentor:
    """The network of a spec, freshly initialised."""
    return build_segmentor(
        spec.network,
        feature_channels(spec.features),
        spec.classes.num_classes,
        planes=spec.planes,
        init_dim=spec.init_dim,
        stem_kernel=spec.stem_kernel,
    )


def is_model_folder(path: str | Path) -> bool:
    """Whether a folder holds an exported model."""
    return (Path(path) / "model.json").is_file()


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent} is no model folder (it has no model.json); make one with --export")
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_JSON + 1)
        document = json.loads(text) if len(text) <= _LARGEST_JSON else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); export the model again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is no description of a model; export the model again")
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version!r}, this pointseg ({__version__}) reads {FORMAT_VERSION}; use the "
            "pointseg that wrote it, or export the model again"
        )
    return document


def _spec(document: dict[str, Any], path: Path) -> ModelSpec:
    def refuse(what: str, value: object, allowed: str) -> InputError:
        return InputError(f"{path}: {what} is {str(value)[:80]!r}; it must be {allowed}: export the model again")

    def whole(name: str, value: object, most: int = _WIDEST) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise refuse(name, value, f"a whole number in 1..{most}")
        return value

    voxel_size, features, precision = (document.get(key) for key in ("voxel_size", "features", "precision"))
    if not isinstance(voxel_size, float) or not 0 < voxel_size < 1e6:
        raise refuse("voxel_size", voxel_size, "a length above 0 in metres, such as 0.05")
    if not isinstance(features, list) or not features or not all(f in FEATURES for f in map(str, features)):
        raise refuse("features", features, f"a list out of {', '.join(FEATURES)}")
    if document.get("normalisation") != {name: NORMALISATION[name] for name in features}:
        raise refuse("normalisation", document.get("normalisation"), f"as this version makes inputs, {NORMALISATION}")
    if precision not in PRECISIONS:
        raise refuse("precision", precision, f"one of {', '.join(PRECISIONS)}")
    network = document.get("network")
    if not isinstance(network, dict) or str(network.get("name")) not in MODELS:
        raise refuse("network", network, f"a backbone whose name is one of {', '.join(MODELS)}")
    planes = network.get("planes")
    if not isinstance(planes, list) or len(planes) not in (0, 8):
        raise refuse("network.planes", planes, "8 widths, or none")
    return ModelSpec(
        classes=_classes(document, refuse),
        voxel_size=voxel_size,
        features=tuple(features),
        network=str(network["name"]),
        planes=tuple(whole("network.planes", width) for width in planes),
        init_dim=whole("network.init_dim", network.get("init_dim")),
        stem_kernel=whole("network.stem_kernel", network.get("stem_kernel"), _WIDEST_KERNEL),
        precision=precision,
    )


def _classes(document: dict[str, Any], refuse: Any) -> Classes:
    entries = document.get("classes")
    if not isinstance(entries, list) or not 1 <= len(entries) < 2**15:
        raise refuse("classes", entries, "a list of names and colours")
    for entry in entries:
        if not isinstance(entry, dict) or not is_class_name(entry.get("name")) or not _is_color(entry.get("color")):
            raise refuse("a class", entry, 'a name and a colour, as {"name": "wall", "color": [0, 128, 255]}')
    names = tuple(entry["name"] for entry in entries)
    if len(set(names)) < len(names):
        raise refuse("classes", names, "names that differ")
    colors = np.array([entry["color"] for entry in entries], np.uint8)
    return Classes(str(document.get("dataset")), names, colors, tuple((name,) for name in names))


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
