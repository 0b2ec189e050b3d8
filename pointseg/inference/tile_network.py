"""The network over a voxel grid, tile by tile: input rows in, class, confidence and entropy of every voxel out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pointseg.data.dataset import voxel_features
from pointseg.errors import InputError
from pointseg.inference.tiling import Blocks, Ranges, Tile, margin_mask, row_ranges, split
from pointseg.out_of_memory import is_out_of_memory

RESULT = np.dtype([("pred", "<i2"), ("confidence", "<f4"), ("entropy", "<f4")])
"""What is known of a voxel in the end; entropy in nats."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voxels:
    """A grid of V voxels, in memory or on disk.

    Attributes:
        blocks: their table.
        floor: z of the cloud's lowest point, metres.
        arrays: ``coord`` (V, 3), ``z`` (V,) metres of the representative points if heights are asked for, ``color``
            (V, 3) if there is any: arrays, or .npy files.
    """

    blocks: Blocks
    floor: float
    arrays: Mapping[str, np.ndarray | Path]

    def read(self, name: str, ranges: Ranges) -> np.ndarray | None:
        """Some rows of an array, None if there is none of that name."""
        if name not in self.arrays:
            return None
        array = self.arrays[name]
        # Mapped for as long as the copying takes: mapped pages count as the process's memory.
        rows = np.load(array, mmap_mode="r") if isinstance(array, Path) else array
        return np.concatenate([rows[start:stop] for start, stop in ranges])


@dataclass(frozen=True)
class Network:
    """A network with what it is fed.

    Attributes:
        model: ``inputs -> (features, logits)``, in evaluation mode.
        features: input features.
        device: where it is.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
    """

    model: nn.Module
    features: Sequence[str]
    device: torch.device
    precision: str = "fp32"

    @torch.no_grad()
    def __call__(self, coord: np.ndarray, inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The (n,) ``RESULT`` of the wanted rows, of voxels ``coord`` (v, 3) and their ``inputs`` (v, C)."""
        logits = voxel_logits(self.model, coord, inputs, self.device, self.precision)
        log = logits[torch.from_numpy(wanted).to(self.device)].float().log_softmax(1)
        share = log.exp()
        confidence, pred = share.max(1)
        require_finite(confidence)
        result = np.empty(len(log), RESULT)
        result["pred"], result["confidence"] = pred.cpu().numpy(), confidence.cpu().numpy()
        # A class of share 0 has a log of minus infinity and adds nothing.
        result["entropy"] = -(share * log.clamp_min(-1e4)).sum(1).cpu().numpy()
        return result


def voxel_logits(
    model: nn.Module, coord: np.ndarray, inputs: np.ndarray, device: torch.device, precision: str
) -> Tensor:
    """The logits (v, K) of voxels with their ``inputs`` (v, C), on the device.

    Args:
        coord: (v, 3), counted from the lowest voxel of the whole cloud on each axis. A network of strides 2 to 16 sees
            another cloud at every shift but multiples of 16 voxels; training clouds stand with their floor at 0.
    """
    batch = np.zeros((len(coord), 4), np.int32)
    batch[:, 1:] = coord
    rows = _Inputs(torch.from_numpy(batch).to(device), torch.from_numpy(inputs).to(device))
    dtype = AUTOCAST.get(precision)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        _, logits = model(rows)
    return logits


def require_finite(confidence: Tensor) -> None:
    """See that a network has an opinion of every row, of which (n,) ``confidence`` is the share of the class it names.

    Raises:
        InputError: some are not numbers: damaged weights, values that are too large, or half precision.
    """
    bad = int((~confidence.isfinite()).sum())
    if bad:
        raise InputError(
            f"the network's output is not finite for {bad:,} of {len(confidence):,} voxels; its weights or the cloud "
            "are damaged, or its half precision (fp16) overflows: train it with bf16 or fp32"
        )


@dataclass(frozen=True)
class _Inputs:
    coord: Tensor
    features: Tensor


Keep = Callable[[Tile, Ranges, np.ndarray], None]
"""Told of a finished tile: which rows are its own, and their results in that order."""


def predict_tiles(network: Network, voxels: Voxels, tiles: Iterable[Tile], halo: int, keep: Keep) -> None:
    """Predict tiles one after another; one that does not fit into memory is cut in two, and so are all its like.

    Args:
        network: what predicts.
        voxels: the grid that the tiles were cut from.
        tiles: what to predict; the insides of no two overlap.
        halo: margin, voxels.
        keep: takes the results.

    Raises:
        InputError: not even the smallest tile fits into memory.
    """
    waiting = list(tiles)[::-1]
    budget = max((tile.voxels for tile in waiting), default=0)
    while waiting:
        tile = waiting.pop()
        halves = split(voxels.blocks, tile, halo) if tile.voxels > budget else []
        if halves:
            waiting += halves[::-1]
            continue
        result = _or_none(network, voxels, tile, halo)
        if result is not None:
            keep(tile, row_ranges(voxels.blocks, tile.blocks[tile.inside]), result)
            continue
        if not split(voxels.blocks, tile, halo):
            raise InputError(
                f"not even a tile of {tile.voxels:,} voxels fits into memory; give a smaller --halo, or use a machine "
                "with more memory"
            )
        budget = tile.voxels // 2
        waiting.append(tile)
        logger.warning("a tile of %s voxels did not fit into memory: going on with half of that", f"{tile.voxels:,}")
        gc.collect()
        if network.device.type == "cuda":
            torch.cuda.empty_cache()


def _or_none(network: Network, voxels: Voxels, tile: Tile, halo: int) -> np.ndarray | None:
    """The results of a tile, or None if there was too little memory. (What it took is free only after the return.)"""
    try:
        return _predict_tile(network, voxels, tile, halo)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _predict_tile(network: Network, voxels: Voxels, tile: Tile, halo: int) -> np.ndarray:
    ranges = row_ranges(voxels.blocks, tile.blocks)
    coord, z, color = (voxels.read(name, ranges) for name in ("coord", "z", "color"))
    assert coord is not None
    seen = margin_mask(voxels.blocks, tile, coord, halo)
    own = np.repeat(tile.inside, voxels.blocks.sizes[tile.blocks])
    position = np.zeros((int(seen.sum()), 3), np.float32)
    if z is not None:
        position[:, 2] = z[seen]
    inputs = voxel_features(position, None if color is None else color[seen], voxels.floor, network.features)
    return network(coord[seen] - voxels.blocks.lowest, inputs, own[seen])
