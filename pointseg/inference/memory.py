"""What predicting takes in memory, and what is left for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from pointseg.errors import InputError
from pointseg.models.minkunet import MinkUNetBase

DEFAULT_MEMORY = 4 * 10**9
"""Bytes, where nobody says otherwise."""

MAP_BYTES = 300
"""Of a voxel's kernel maps, coordinates and features."""

LIVE_COPIES = 6
"""Tensors of the widest kind that are alive at once at the finest level: two joined inputs, a block's results before
and after its normalisation, and the short cut. Fitted to measured peaks of MinkUNet14 to 34 on surfaces."""

FIXED_BYTES = 400 * 10**6
"""What a network takes whatever the tile: its libraries' code, compiled products and buffers."""

_STEP = 1 << 26
"""What the process holds is rounded up to this, so that the same command cuts the same tiles each time."""


@dataclass(frozen=True)
class Estimate:
    """What predicting a cloud takes.

    Attributes:
        points: N.
        voxels: V.
        tiles: how many.
        largest: voxels of the largest tile, with its margin.
        overlap: voxels of all tiles by V: how often the network sees a voxel.
        halo: metres.
        peak: bytes at the peak: of the whole process, or of the GPU where tiles are in its memory.
        memory: what may be taken there, bytes.
    """

    points: int
    voxels: int
    tiles: int
    largest: int
    overlap: float
    halo: float
    peak: int
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.points:,} points, {self.voxels:,} voxels, {self.tiles} tiles of at most {self.largest:,} voxels "
            f"with a margin of {self.halo:.2f} m (each voxel is seen {self.overlap:.2f} times); about "
            f"{self.peak / 1e9:.2f} GB at the peak of {self.memory / 1e9:.2f} GB allowed"
        )


def bytes_per_voxel(net: MinkUNetBase) -> int:
    """What the forward pass takes for a voxel of a tile, bytes; a bound for fp32, generous for half precision."""
    finest = net.inplanes + net.bn0.bn.num_features
    return MAP_BYTES + 4 * LIVE_COPIES * finest


def resident_bytes() -> int:
    """What this process holds now, bytes; 0 where the system does not say (not Linux).

    There a bound is one on what is done beside the program and the network, which take some 0.3 GB.
    """
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def free_for_work(memory: int, least: int) -> int:
    """What a bound leaves beside what the process holds already, bytes.

    Args:
        memory: the bound on the whole process, bytes.
        least: bytes below which nothing can be done.

    Raises:
        InputError: less than ``least`` is left.
    """
    held = -(-resident_bytes() // _STEP) * _STEP
    if memory - held < least:
        raise InputError(
            f"the memory bound is {memory / 1e9:.2f} GB, but the program with the network holds {held / 1e9:.2f} GB "
            f"already and needs {least / 1e9:.2f} GB more; give at least {(held + least) / 1e9 + 0.01:.2f}GB with "
            "--memory"
        )
    return memory - held


def device_bytes(device: torch.device) -> int:
    """What tiles may take on a GPU, bytes: 70 % of its free memory, the rest for what allocators leave unused."""
    return int(0.7 * torch.cuda.mem_get_info(device)[0])
