"""Which tile runs for a convolution: timed once for each shape, kept in a file.

A shape is the kind of product, channels, offsets, dtype, tf32, GPU and version of Triton. Never the number of rows,
which changes with every batch. Choices are kept in ``triton_tiles.json`` in the folder ``POINTSEG_CACHE``, else in
``~/.cache/pointseg``; a file that cannot be read is ignored and written anew.

A shape seen for the first time is timed on the spot: some seconds of compiling, once. ``POINTSEG_TUNE=0`` switches that
off, and inside a process group it never happens, since the other ranks would wait in a collective. What is stored is
used then, else the first tile of the list. :func:`pointseg.minkowski.triton.tune` does it ahead.
"""

import json
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.testing import do_bench

from pointseg.atomic import replacing_file
from pointseg.minkowski.triton.device import interpreted, uses_tf32
from pointseg.minkowski.triton.tiles import Tile, candidates

log = logging.getLogger(__name__)

FILE = "triton_tiles.json"
# Relative to the largest value. Tiles differ by the order of their sums; a wrongly compiled one is off by far more.
TOLERANCE = {torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 5e-2}

Run = Callable[[Tile], Tensor]

_CHOSEN: dict[str, Tile] = {}


def allowed(device: torch.device) -> bool:
    """Whether a new shape may be timed when it is first seen."""
    if device.type != "cuda" or interpreted() or os.environ.get("POINTSEG_TUNE", "1") == "0":
        return False
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not together and not torch.cuda.is_current_stream_capturing()


def choose(kind: str, c_in: int, c_out: int, n_offsets: int, features: Tensor, run: Run, tune: bool) -> Tile:
    """The tile for a shape: stored, or else timed; without ``tune``, the default.

    Args:
        kind: ``forward``, ``input_gradient`` or ``weight_gradient``.
        c_in: channels that are read.
        c_out: channels that are written.
        n_offsets: K.
        features: whose dtype and device matter.
        run: computes the result with a tile.
        tune: whether to time an unknown shape.
    """
    key = key_of(kind, c_in, c_out, n_offsets, features)
    if key in _CHOSEN:
        return _CHOSEN[key]
    tiles = candidates(kind, c_in, c_out, features.dtype)
    path = cache_file()
    tile = next((tile for tile in tiles if tile.sizes() == _stored(path).get(key)), None)
    if tile is None:
        if not tune:
            return tiles[0]
        log.info("timing %d tiles for %s", len(tiles), key)
        tile = fastest(tiles, run, TOLERANCE[features.dtype])
        store(path, key, tile)
    _CHOSEN[key] = tile
    return tile


def key_of(kind: str, c_in: int, c_out: int, n_offsets: int, features: Tensor) -> str:
    """A shape in words."""
    gpu = torch.cuda.get_device_name(features.device) if features.device.type == "cuda" else "interpreter"
    dtype = "tf32" if uses_tf32(features) else str(features.dtype).removeprefix("torch.")
    return f"{kind} {c_in}x{c_out} K={n_offsets} {dtype}, {gpu}, triton {triton.__version__}"


def fastest(tiles: tuple[Tile, ...], run: Run, tolerance: float) -> Tile:
    """The tile of the least time among those that run and agree with the first of them."""
    times: dict[Tile, float] = {}
    reference = None
    failure: Exception | None = None
    for tile in tiles:
        try:
            result = run(tile).float()
            if reference is None:
                reference = result
            elif (result - reference).abs().max() > tolerance * reference.abs().max():
                log.warning("%s gives other values than %s: not used", tile, tiles[0])
                continue
            times[tile] = time_of(run, tile)
        # Shared memory that a GPU lacks, or a compiler that fails on one tile: the others remain.
        except (triton.TritonError, RuntimeError) as error:
            log.info("%s does not run: %s", tile, error)
            failure = error
    if not times:
        raise RuntimeError("no tile of the Triton kernels runs on this GPU") from failure
    return min(times, key=lambda tile: times[tile])


def time_of(run: Run, tile: Tile) -> float:
    """Median milliseconds of a run."""
    return do_bench(lambda: run(tile), warmup=5, rep=20, return_mode="median")


def cache_file() -> Path:
    """Where choices are kept."""
    folder = os.environ.get("POINTSEG_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache" / "pointseg") / FILE


def load(path: Path) -> dict[str, list[int]]:
    """What a file holds: sizes of a tile for each shape; nothing if it is missing or damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def store(path: Path, key: str, tile: Tile) -> None:
    """Add a choice to a file; two processes at once may lose one of theirs, and will time it again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as unfinished:
            unfinished.write_text(json.dumps(load(path) | {key: tile.sizes()}, indent=1), encoding="utf-8")
    except OSError as error:
        log.warning("tile choices cannot be kept in %s: %s", path, error)
    _stored.cache_clear()


@cache
def _stored(path: Path) -> dict[str, list[int]]:
    return load(path)
