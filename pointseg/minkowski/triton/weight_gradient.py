"""Weight gradient: for each offset, gathered features times gathered gradients, over flat pair lists.

The pairs of each offset are cut into pieces. One program owns one piece and a tile of input by output channels, and
writes its fp32 sum to a place of its own; a second kernel adds the pieces of each offset in order. No atomics. Where
the cuts lie depends on numbers of pairs, channels and multiprocessors alone, so a result repeats bit for bit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import tuner
from pointseg.minkowski.triton.device import current, dot_dtype, processors, uses_tf32
from pointseg.minkowski.triton.table import MapTables, tables_of
from pointseg.minkowski.triton.tiles import Tile

# Pieces are long enough to hide their start, and enough of them to fill the device a few times over. Not measured on a
# GPU yet.
SHORTEST_PIECE = 1024
PROGRAMS_PER_PROCESSOR = 4
# The tile that lengths are planned for, whatever tile runs.
PLANNED = 64
SUM_BLOCK = 1024


def gather_products(features: Tensor, grad: Tensor, kernel_map: KernelMap, tune: bool) -> Tensor:
    """See :func:`pointseg.minkowski.triton.gather_products`; ``tune``: tiles may be timed for a new shape."""
    K, c_in, c_out = kernel_map.volume, features.shape[1], grad.shape[1]
    tables = tables_of(kernel_map, features.device)
    n_pairs = len(tables.pairs.in_rows)
    if n_pairs == 0 or c_in == 0 or c_out == 0:
        return features.new_zeros((K, c_in, c_out), dtype=torch.float32)
    longest = piece_length(n_pairs, c_in, c_out, processors(features.device))
    with current(features.device):
        tile = tuner.choose(
            "weight_gradient", c_in, c_out, K, features, lambda t: _sums(features, grad, tables, longest, t), tune
        )
        return _sums(features, grad, tables, longest, tile)


def piece_length(n_pairs: int, c_in: int, c_out: int, n_processors: int) -> int:
    """The most pairs in a piece: a power of two, so that nearby sizes share their cuts."""
    tiles = triton.cdiv(c_in, PLANNED) * triton.cdiv(c_out, PLANNED)
    wanted = triton.cdiv(n_pairs * tiles, PROGRAMS_PER_PROCESSOR * n_processors)
    return max(SHORTEST_PIECE, triton.next_power_of_2(wanted))


def _sums(features: Tensor, grad: Tensor, tables: MapTables, longest: int, tile: Tile) -> Tensor:
    c_in, c_out = features.shape[1], grad.shape[1]
    pairs = tables.pairs
    items, first = tables.work(longest)
    parts = features.new_empty((len(items), c_in, c_out), dtype=torch.float32)
    _multiply_pieces[(len(items) * triton.cdiv(c_in, tile.m) * triton.cdiv(c_out, tile.n),)](
        features,
        grad,
        parts,
        pairs.in_rows,
        pairs.out_rows,
        items,
        *features.stride(),
        *grad.stride(),
        C_IN=c_in,
        C_OUT=c_out,
        DOT=dot_dtype(features.dtype),
        PRECISION="tf32" if uses_tf32(features) else "ieee",
        INPUTS=tile.m,
        OUTPUTS=tile.n,
        PAIRS=tile.k,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    total = parts.new_empty((len(pairs.counts), c_in, c_out))
    grid = (len(pairs.counts), triton.cdiv(c_in * c_out, SUM_BLOCK))
    _add_pieces[grid](parts, total, first, SIZE=c_in * c_out, BLOCK=SUM_BLOCK)
    return total


@triton.jit
def _multiply_pieces(
    features: tl.tensor,
    grad: tl.tensor,
    parts: tl.tensor,
    in_rows: tl.tensor,
    out_rows: tl.tensor,
    items: tl.tensor,
    feature_row: tl.tensor,
    feature_channel: tl.tensor,
    grad_row: tl.tensor,
    grad_channel: tl.tensor,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PAIRS: tl.constexpr,
) -> None:
    across: tl.constexpr = (C_OUT + OUTPUTS - 1) // OUTPUTS
    tiles: tl.constexpr = (C_IN + INPUTS - 1) // INPUTS * across
    item = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    channel = tile // across * INPUTS + tl.arange(0, INPUTS)
    column = tile % across * OUTPUTS + tl.arange(0, OUTPUTS)
    begin = tl.load(items + item * 2)
    end = tl.load(items + item * 2 + 1)
    total = tl.zeros((INPUTS, OUTPUTS), dtype=tl.float32)
    for start in range(begin, end, PAIRS):
        pair = start + tl.arange(0, PAIRS)
        inside = pair < end
        row = tl.load(in_rows + pair, mask=inside, other=0).to(tl.int64)
        x = tl.load(
            features + row[:, None] * feature_row + channel[None, :] * feature_channel,
            mask=inside[:, None] & (channel < C_IN)[None, :],
            other=0.0,
        )
        row = tl.load(out_rows + pair, mask=inside, other=0).to(tl.int64)
        g = tl.load(
            grad + row[:, None] * grad_row + column[None, :] * grad_channel,
            mask=inside[:, None] & (column < C_OUT)[None, :],
            other=0.0,
        )
        total = tl.dot(tl.trans(x.to(DOT)), g.to(DOT), total, input_precision=PRECISION)
    tl.store(
        parts + item * (C_IN * C_OUT) + channel[:, None] * C_OUT + column[None, :],
        total,
        mask=(channel < C_IN)[:, None] & (column < C_OUT)[None, :],
    )


@triton.jit
def _add_pieces(parts: tl.tensor, total: tl.tensor, first: tl.tensor, SIZE: tl.constexpr, BLOCK: tl.constexpr) -> None:
    k = tl.program_id(0)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), dtype=tl.float32)
    for item in range(tl.load(first + k), tl.load(first + k + 1)):
        sums += tl.load(parts + item * SIZE + place, mask=place < SIZE, other=0.0)
    tl.store(total + k.to(tl.int64) * SIZE + place, sums, mask=place < SIZE)
