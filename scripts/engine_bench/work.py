"""The network's multiplications: its layers, and the pairs of rows each of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import pointseg.minkowski as ME
from engine_bench.networks import CHANNELS, CLASSES, LEVELS, PLANES, STEM

CUBE, WINDOW, ROW = "3^3", "2^3", "1^3"
VOLUME = {CUBE: 27, WINDOW: 8, ROW: 1}


@dataclass(frozen=True)
class Layer:
    """A convolution: its kernel, its level (the coarser one of two, 0 is the finest) and its channels."""

    kernel: str
    level: int
    inputs: int
    outputs: int


def layers() -> list[Layer]:
    """The convolutions of :mod:`engine_bench.networks` in order."""
    found, width = [Layer(CUBE, 0, CHANNELS, STEM)], STEM
    down, up = PLANES[: LEVELS - 1], PLANES[LEVELS - 1 :]
    for level, planes in enumerate(down, 1):
        found += [Layer(WINDOW, level, width, width), *_blocks(level, width, planes)]
        width = planes
    for level, planes, skip in zip(range(LEVELS - 1, 0, -1), up, (*down[-2::-1], STEM), strict=True):
        found += [Layer(WINDOW, level, width, planes), *_blocks(level - 1, planes + skip, planes)]
        width = planes
    return [*found, Layer(ROW, 0, width, CLASSES)]


def _blocks(level: int, inputs: int, planes: int) -> list[Layer]:
    short = [Layer(ROW, level, inputs, planes)] if inputs != planes else []
    return [Layer(CUBE, level, inputs, planes), *short, *[Layer(CUBE, level, planes, planes)] * 3]


def pairs(voxels: np.ndarray) -> dict[tuple[str, int], int]:
    """Pairs of rows of each kernel at each level, for int32 voxels (V, 4)."""
    x = ME.SparseTensor(torch.zeros(len(voxels), 1), torch.from_numpy(voxels))
    manager, key = x.coordinate_manager, x.coordinate_map_key
    found = {}
    for level in range(LEVELS):
        if level:
            found[WINDOW, level] = manager.size(key)
            key = manager.stride(key, 2)
        cube = ME.KernelGenerator(3, 1, dimension=3)
        found[CUBE, level] = manager.kernel_map_of(key, key, cube).n_pairs
        found[ROW, level] = manager.size(key)
    return found


def flops(layer: Layer, counts: dict[tuple[str, int], int]) -> int:
    """Floating-point operations of one layer's forward pass, or of either of its gradients."""
    return 2 * counts[layer.kernel, layer.level] * layer.inputs * layer.outputs


def demand(network: list[Layer], counts: dict[tuple[str, int], int]) -> dict[str, Any]:
    """Voxels of the finest level, pairs per voxel of its 3^3 map, GFLOP of a forward pass and of a training step."""
    work = [flops(layer, counts) / 1e9 for layer in network]
    return {
        "voxels": counts[ROW, 0],
        "pairs_per_voxel": counts[CUBE, 0] / counts[ROW, 0],
        # Both gradients of every layer, but none to the input of the first.
        "gflop": {"forward": sum(work), "step": 3 * sum(work) - work[0]},
    }
