"""Forward and input gradient: masked implicit GEMM, output-stationary.

One program owns a tile of output rows by output channels. It joins the presence words of its rows, and for each offset
that any of them has, gathers the neighbours' features and multiplies them with that offset's weights. Every output
element is written once, by one program, after an fp32 sum in a fixed order: no atomics, no buffers, deterministic.

Not measured on a GPU yet. What the compiler makes of it uses tensor cores and loads ahead (test_compile.py).
"""

import triton
import triton.language as tl
from torch import Tensor

from pointseg.minkowski.kernel_map import KernelMap
from pointseg.minkowski.triton import tuner
from pointseg.minkowski.triton.bits import count_bits, either
from pointseg.minkowski.triton.device import current, dot_dtype, uses_tf32
from pointseg.minkowski.triton.table import WORD, NeighbourTable, tables_of
from pointseg.minkowski.triton.tiles import Tile


def scatter_products(features: Tensor, kernel: Tensor, kernel_map: KernelMap, transposed: bool, tune: bool) -> Tensor:
    """See :func:`pointseg.minkowski.triton.scatter_products`; ``tune``: tiles may be timed for a new shape."""
    K, c_in, c_out = kernel.shape
    n_out = kernel_map.n_in if transposed else kernel_map.n_out
    if n_out == 0 or c_out == 0:
        return features.new_empty((n_out, c_out))
    if len(features) == 0 or c_in == 0 or K == 0:
        return features.new_zeros((n_out, c_out))
    tables = tables_of(kernel_map, features.device)
    table = tables.backward if transposed else tables.forward
    kind = "input_gradient" if transposed else "forward"
    with current(features.device):
        tile = tuner.choose(kind, c_in, c_out, K, features, lambda t: _product(features, kernel, table, t), tune)
        return _product(features, kernel, table, tile)


def _product(features: Tensor, kernel: Tensor, table: NeighbourTable, tile: Tile) -> Tensor:
    K, c_in, c_out = kernel.shape
    n_out = table.rows.shape[1]
    out = features.new_empty((n_out, c_out))
    grid = (triton.cdiv(n_out, tile.m) * triton.cdiv(c_out, tile.n),)
    _implicit_gemm[grid](
        features,
        kernel,
        out,
        table.rows,
        table.masks,
        table.order,
        table.weights,
        n_out,
        *features.stride(),
        *kernel.stride(),
        C_IN=c_in,
        C_OUT=c_out,
        WORDS=triton.cdiv(K, WORD),
        DOT=dot_dtype(features.dtype),
        PRECISION="tf32" if uses_tf32(features) else "ieee",
        ROWS=tile.m,
        COLUMNS=tile.n,
        DEPTH=tile.k,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return out


@triton.jit(do_not_specialize=["n_out"])
def _implicit_gemm(
    features: tl.tensor,
    kernel: tl.tensor,
    out: tl.tensor,
    table: tl.tensor,
    masks: tl.tensor,
    order: tl.tensor,
    weights: tl.tensor,
    n_out: tl.tensor,
    feature_row: tl.tensor,
    feature_channel: tl.tensor,
    kernel_offset: tl.tensor,
    kernel_in: tl.tensor,
    kernel_out: tl.tensor,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    WORDS: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    # Neighbouring programs take the same rows: what one has gathered, the next finds in the L2 cache.
    across: tl.constexpr = (C_OUT + COLUMNS - 1) // COLUMNS
    chunks: tl.constexpr = (C_IN + DEPTH - 1) // DEPTH
    place = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    inside = place < n_out
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for word in range(WORDS):
        present = tl.load(masks + tl.cast(word, tl.int64) * n_out + place, mask=inside, other=0)
        left = tl.reduce(present.to(tl.uint32, bitcast=True), 0, either)
        # One flat loop over present offsets and input channels: nested ones could not load ahead across offsets.
        for step in range(count_bits(left) * chunks):
            others = left & (left - 1)
            k = word * 32 + count_bits((left ^ others) - 1)
            row = tl.load(table + tl.cast(k, tl.int64) * n_out + place, mask=inside, other=-1)
            channel = step % chunks * DEPTH + depth
            x = tl.load(
                features + row.to(tl.int64)[:, None] * feature_row + channel[None, :] * feature_channel,
                mask=(row >= 0)[:, None] & (channel < C_IN)[None, :],
                other=0.0,
            )
            entry = k
            if weights is not None:
                entry = tl.load(weights + k)
            w = tl.load(
                kernel + entry * kernel_offset + channel[:, None] * kernel_in + column[None, :] * kernel_out,
                mask=(channel < C_IN)[:, None] & (column < C_OUT)[None, :],
                other=0.0,
            )
            total = tl.dot(x.to(DOT), w.to(DOT), total, input_precision=PRECISION)
            left = tl.where(step % chunks == chunks - 1, others, left)
    row = place
    if order is not None:
        row = tl.load(order + place, mask=inside, other=0)
    tl.store(
        out + row.to(tl.int64)[:, None] * C_OUT + column[None, :],
        total.to(out.dtype.element_ty),
        mask=inside[:, None] & (column < C_OUT)[None, :],
    )
