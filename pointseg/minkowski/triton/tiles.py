"""The tile sizes that the kernels may run with. Not measured on a GPU yet: the order of the lists is a guess."""

from dataclasses import astuple, dataclass
from functools import cache

import torch

# Least size of a product in each direction: what tl.dot takes on every GPU.
SMALLEST = 16


@dataclass(frozen=True)
class Tile:
    """Sizes of one program's product, (m, k) by (k, n), and how the compiler lays it out.

    Attributes:
        m: output rows; for the weight gradient, input channels.
        n: output channels.
        k: input channels taken at once; for the weight gradient, pairs.
        warps: warps of a program.
        stages: steps that are loaded ahead.
    """

    m: int
    n: int
    k: int
    warps: int
    stages: int

    def sizes(self) -> list[int]:
        return list(astuple(self))


# First the default. Two loads follow each other, the neighbours' rows and their features, and share the stages: 5 keep
# two steps in flight, 7 three (3 and 4 only one). Every tile fits 99 KiB of shared memory, the least since Ampere.
PRODUCT = (
    Tile(64, 64, 32, 4, 5),
    Tile(128, 64, 32, 4, 5),
    Tile(128, 128, 32, 8, 5),
    Tile(64, 128, 32, 4, 5),
    Tile(128, 32, 32, 4, 7),
    Tile(64, 64, 64, 4, 5),
    Tile(128, 128, 64, 8, 5),
    Tile(32, 64, 32, 2, 7),
)
WEIGHT_GRADIENT = (
    Tile(64, 64, 32, 4, 5),
    Tile(32, 32, 64, 4, 5),
    Tile(64, 64, 64, 4, 5),
    Tile(128, 64, 32, 4, 5),
    Tile(64, 128, 32, 4, 5),
    Tile(128, 128, 32, 8, 5),
)


@cache
def candidates(kind: str, c_in: int, c_out: int, dtype: torch.dtype) -> tuple[Tile, ...]:
    """Tiles worth trying, at most eight, the default first.

    Args:
        kind: ``forward``, ``input_gradient`` or ``weight_gradient``.
        c_in: channels that are read.
        c_out: channels that are written.
        dtype: of the features; fp32 halves k to stay within shared memory.
    """
    widest_in, widest_out = _power_of_two(c_in), _power_of_two(c_out)
    listed = WEIGHT_GRADIENT if kind == "weight_gradient" else PRODUCT
    tiles = []
    for tile in listed:
        k = max(SMALLEST, tile.k // 2) if dtype == torch.float32 else tile.k
        if kind == "weight_gradient":
            fitted = Tile(min(tile.m, widest_in), min(tile.n, widest_out), k, tile.warps, tile.stages)
        else:
            fitted = Tile(tile.m, min(tile.n, widest_out), min(k, widest_in), tile.warps, tile.stages)
        tiles.append(fitted)
    return tuple(dict.fromkeys(tiles))


def _power_of_two(channels: int) -> int:
    return max(SMALLEST, 1 << (channels - 1).bit_length())
