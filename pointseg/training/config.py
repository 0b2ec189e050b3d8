"""A recipe: everything that decides a training run, as frozen dataclasses read from YAML."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pointseg.data.dataset import feature_channels
from pointseg.data.label_weights import KINDS
from pointseg.data.transforms import AugmentConfig
from pointseg.errors import InputError
from pointseg.methods import METHODS
from pointseg.models.minkunet import MODELS
from pointseg.paths import configs_dir
from pointseg.training.schedule import OptimizerConfig

SMALLEST_CROP = 1000
"""Voxels: below it the deepest level of a MinkUNet can shrink to a single row, which batch norm refuses."""


@dataclass(frozen=True)
class DataConfig:
    """What is read.

    Attributes:
        root: folder of prepared scenes.
        labels: name of a sparse-label draw under ``root``, or ``full`` for every point's label.
        eval_splits: held out and scored; empty = nothing is scored and there is no best checkpoint.
        train_splits: trained on; empty = every split that is not held out.
        voxel_size: metres; a grid of this size must have been prepared.
        features: the network's input, out of ``ones``, ``color``, ``height``.
        max_voxels: a training sample above this is cropped to it.
    """

    root: str = ""
    labels: str = "full"
    eval_splits: tuple[str, ...] = ("Area_5",)
    train_splits: tuple[str, ...] = ()
    voxel_size: float = 0.05
    features: tuple[str, ...] = ("ones", "color", "height")
    max_voxels: int = 100_000

    def __post_init__(self) -> None:
        require(bool(self.features), "data.features is empty; name at least one of ones, color, height")
        feature_channels(self.features)
        require(self.voxel_size > 0, f"data.voxel_size is {self.voxel_size}; it must be a length above 0 in metres")
        require(
            self.max_voxels >= SMALLEST_CROP,
            f"data.max_voxels is {self.max_voxels}; it must be at least {SMALLEST_CROP}, or the deepest level is empty",
        )


@dataclass(frozen=True)
class ModelConfig:
    """The backbone: a published name, or MinkUNet14/18/34 with plane widths of your own.

    Attributes:
        name: one of ``pointseg.models.minkunet.MODELS``.
        planes: channels of the 8 blocks; empty = the table of the name.
        init_dim: channels of the stem.
        stem_kernel: kernel size of the stem, voxels.
    """

    name: str = "MinkUNet14A"
    planes: tuple[int, ...] = ()
    init_dim: int = 32
    stem_kernel: int = 5

    def __post_init__(self) -> None:
        require(self.name in MODELS, f"model.name is {self.name!r}; allowed are {', '.join(MODELS)}")
        require(
            len(self.planes) in (0, 8), f"model.planes has {len(self.planes)} widths; give 8, or none for the table"
        )
        for setting, least in (("init_dim", self.init_dim), ("stem_kernel", self.stem_kernel)):
            require(least > 0, f"model.{setting} is {least}; it must be at least 1")
        require(min(self.planes, default=1) > 0, f"model.planes is {list(self.planes)}; every width must be at least 1")
        has_table = getattr(MODELS[self.name], "PLANES", None) is not None
        require(
            bool(self.planes) or has_table,
            f"model.name {self.name} has no plane table of its own; give model.planes or add a letter, as {self.name}A",
        )


@dataclass(frozen=True)
class LossConfig:
    """The cross-entropy on annotated points, the same for every method.

    Attributes:
        class_weights: ``none``, or a kind of ``pointseg.data.label_weights``: from the labelled points' counts.
    """

    class_weights: str = "none"

    def __post_init__(self) -> None:
        kinds = ("none", *KINDS)
        require(
            self.class_weights in kinds,
            f"loss.class_weights is {self.class_weights!r}; allowed are {', '.join(kinds)}",
        )


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe. ``method`` holds ``name`` and that method's own settings.

    Attributes:
        steps: optimiser steps.
        batch_size: scenes (or crops) a step.
        eval_every: steps between evaluations; the last step is always evaluated.
        checkpoint_every: steps between checkpoints.
        seed: of initial weights, scene order and augmentation.
        precision: ``fp32``, or ``bf16`` for autocast.
    """

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    method: dict[str, Any] = field(default_factory=lambda: {"name": "erda"})
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    batch_size: int = 2
    eval_every: int = 250
    checkpoint_every: int = 100
    seed: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}; it must be at least 1")
        require(self.seed >= 0, f"seed is {self.seed}; it must be 0 or more")
        require(self.precision in ("fp32", "bf16"), f"precision is {self.precision!r}; allowed are fp32, bf16")
        require(
            self.optimizer.warmup_steps <= self.steps,
            f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, more than steps, {self.steps}",
        )
        self.method_config()

    @property
    def method_name(self) -> str:
        return str(self.method.get("name"))

    def method_config(self) -> Any:
        """The method's own frozen dataclass, checked."""
        name = self.method.get("name")
        require(name in METHODS, f"method.name is {name!r}; allowed are {', '.join(METHODS)}")
        settings = {key: value for key, value in self.method.items() if key != "name"}
        return from_dict(METHODS[str(name)].Config, settings, "method")


def require(condition: bool, message: str) -> None:
    """Raise ``InputError(message)`` unless ``condition``."""
    if not condition:
        raise InputError(message)


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML recipe and apply overrides.

    Args:
        recipe: a file, or the name of one that comes with pointseg (``synthetic_erda``).
        overrides: ``key=value`` with dots for depth (``data.voxel_size=0.04``); values are YAML.

    Raises:
        InputError: no such file, not YAML, an unknown key (the allowed ones are listed) or a wrong type or value.
    """
    values = _read_recipe(_find_recipe(recipe))
    for override in overrides:
        _apply_override(values, override)
    return typing.cast(TrainConfig, from_dict(TrainConfig, values, ""))


def _read_recipe(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values; ``base: NAME`` starts from another recipe, whose ``method`` is replaced as a whole."""
    require(path not in above, f"recipe {path} is its own base; name another recipe as base, or none")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; a recipe is a YAML file") from error
    values = _parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {type(values).__name__}, not a recipe; it must be a YAML mapping of settings")
    if "base" not in values:
        return values
    name = str(values.pop("base"))
    beside = path.parent / f"{name}.yaml"
    merged = _read_recipe(beside if beside.is_file() else _find_recipe(name), (*above, path))
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "method"
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _find_recipe(recipe: str | Path) -> Path:
    if Path(recipe).is_file():
        return Path(recipe)
    shipped = sorted(configs_dir().glob("*.yaml"))
    for path in shipped:
        if path.stem == str(recipe):
            return path
    raise InputError(
        f"there is no recipe file {str(recipe)!r}; give a YAML file or one of: {', '.join(p.stem for p in shipped)}"
    )


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    require(bool(separator and key), f"override {override!r} is not of the form key=value, as data.voxel_size=0.04")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        require(
            isinstance(values, dict), f"override {override!r}: {parent} is a single value and has no settings inside"
        )
    values[last] = _parse_yaml(text, f"the value of override {override!r}")


def from_dict(cls: type, values: Any, where: str) -> Any:
    """Build a frozen dataclass from plain values, strictly: unknown keys and wrong types are refused by name."""
    label = where or "the recipe"
    require(isinstance(values, dict), f"{label} is {values!r}; it must be a mapping of settings")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        require(key in known, f"{label} has no setting {key!r}; allowed are {', '.join(known) or 'none'}")
    prefix = f"{where}." if where else ""
    return cls(**{key: _convert(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(typing.cast(type, kind), value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        require(isinstance(value, (list, tuple)), f"{where} is {value!r}; it must be a list")
        item, *rest = typing.get_args(kind)
        if rest and rest[0] is not Ellipsis:
            require(len(value) == 1 + len(rest), f"{where} has {len(value)} entries; it must have {1 + len(rest)}")
        return tuple(_convert(item, v, where) for v in value)
    if origin is types.UnionType:
        kinds = typing.get_args(kind)
        return None if value is None and type(None) in kinds else _convert(kinds[0], value, where)
    target = origin or kind
    if target is float:
        value = _as_float(value)
    require(value == value, f"{where} is not a number; give a finite one")
    correct = isinstance(value, target) and not (target is int and isinstance(value, bool))
    require(correct, f"{where} is {value!r}; it must be {_NAMES.get(target, target.__name__)}")
    return value


def _as_float(value: Any) -> Any:
    """A whole number as float, and ``1e-3``, which YAML 1.1 takes for a text; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return value
    try:
        return float(value)
    except ValueError:
        return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a mapping"}


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain values for YAML and JSON, the method's settings in full."""
    plain = typing.cast(dict[str, Any], _plain(dataclasses.asdict(config)))
    plain["method"] = {"name": config.method_name, **_plain(dataclasses.asdict(config.method_config()))}
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
