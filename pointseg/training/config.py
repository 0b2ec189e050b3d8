"""Everything that decides a training run, as frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pointseg.data.dataset import feature_channels
from pointseg.data.label_weights import KINDS
from pointseg.data.strong import StrongConfig
from pointseg.data.transforms import AugmentConfig
from pointseg.methods import METHODS
from pointseg.models.minkunet import MODELS
from pointseg.training.plain import from_dict, require
from pointseg.training.schedule import OptimizerConfig

SMALLEST_CROP = 1000
"""Voxels: below it the deepest level of a MinkUNet can shrink to one row, which has no statistics for batch norm."""

VOXEL_SIZES = (1e-4, 1e3)
"""Metres. Far below a scanner's noise the numbers of voxels no longer fit, and nothing is left of a cloud far above."""

PRECISIONS = ("fp32", "bf16", "fp16")


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
        shortest, longest = VOXEL_SIZES
        require(
            shortest <= self.voxel_size <= longest,
            f"data.voxel_size is {self.voxel_size:g}; it must be a length from {shortest:g} to {longest:g} metres",
        )
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
    """The loss of annotated points, the same for every method.

    Attributes:
        class_weights: ``none``, or a kind of ``pointseg.data.label_weights``: from the labelled points' counts.
        label_smoothing: share of an annotated point's target that goes evenly to all classes with annotated points.
        lovasz: weight of the Lovasz-Softmax beside the cross-entropy; 0 = without.
    """

    class_weights: str = "none"
    label_smoothing: float = 0.0
    lovasz: float = 0.0

    def __post_init__(self) -> None:
        kinds = ("none", *KINDS)
        require(
            self.class_weights in kinds,
            f"loss.class_weights is {self.class_weights!r}; allowed are {', '.join(kinds)}",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"loss.label_smoothing is {self.label_smoothing}; it must be a share, at least 0 and below 1",
        )
        require(0 <= self.lovasz < math.inf, f"loss.lovasz is {self.lovasz}; it must be 0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe. ``method`` holds ``name`` and that method's own settings; ``strong`` acts on the second view of
    the methods that compare two, and on nothing else.

    Attributes:
        steps: optimiser steps.
        batch_size: scenes (or crops) that go through the network at once.
        accumulate: such batches a step, whose gradients are averaged.
        eval_every: steps between evaluations; the last step is always evaluated.
        checkpoint_every: steps between checkpoints.
        seed: of initial weights, scene order and augmentation.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast, the latter with a scaled loss.
        ema_momentum: of the moving average of the network that is scored and saved in its place; 0 = none.
        compile: let ``torch.compile`` translate what stands between convolutions.
    """

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    strong: StrongConfig = field(default_factory=StrongConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    method: dict[str, Any] = field(default_factory=lambda: {"name": "erda"})
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    batch_size: int = 2
    accumulate: int = 1
    eval_every: int = 250
    checkpoint_every: int = 100
    seed: int = 0
    precision: str = "fp32"
    ema_momentum: float = 0.0
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value > 0, f"{name} is {value}; it must be at least 1")
        require(self.seed >= 0, f"seed is {self.seed}; it must be 0 or more")
        require(self.precision in PRECISIONS, f"precision is {self.precision!r}; allowed are {', '.join(PRECISIONS)}")
        require(
            0 <= self.ema_momentum < 1,
            f"ema_momentum is {self.ema_momentum}; it must be at least 0 (no average) and below 1",
        )
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
        known = isinstance(name, str) and name in METHODS
        require(known, f"method.name is {name!r}; allowed are {', '.join(METHODS)}")
        settings = {key: value for key, value in self.method.items() if key != "name"}
        return from_dict(METHODS[str(name)].Config, settings, "method")
