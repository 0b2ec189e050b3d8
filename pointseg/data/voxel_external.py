"""The voxel grid of a cloud larger than memory: the same arrays as ``voxelize``, made in files.

Points are distributed to files by the top bits of their Morton keys until the points of a file fit into memory; each
file is sorted there, and the files follow one another along the curve. So the order is that of one sort of everything,
and the one merging of points to voxels does the rest. The inverse index goes back to the order of the points the same
way: rows are distributed by stretches of points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from pointseg.data.morton import sorted_pieces
from pointseg.data.scene_reader import GRID_ARRAYS
from pointseg.data.voxel_files import ArrayWriter, read_rows, write_array
from pointseg.data.voxel_lattice import Lattice
from pointseg.data.voxel_merge import PIECE, VoxelMerger

WORKING_BYTES = 64 << 20
"""Memory for the pieces in hand, besides what grows with the number of points held."""

_DIGIT_BITS = 16
_FILES = 64
"""A distribution makes about twice as many files at most; larger clouds are distributed again."""

_FIELDS = {"color": ("color", "u1", 3), "segment": ("segment", "<i2"), "intensity": ("intensity", "<f4")}
_INVERSE = np.dtype([("place", "<u4"), ("row", "<i8")])

Source = Callable[[], Iterator[np.ndarray]]
"""Goes through records anew at each call."""


def record_type(names: frozenset[str]) -> np.dtype:
    """What is kept of a point while it is on its way to its voxel; ``names`` as in ``VoxelMerger``."""
    return np.dtype([("key", "<i8"), ("index", "<i8"), *(field for name, field in _FIELDS.items() if name in names)])


def voxelize_to_files(
    points: Callable[[], Iterator[Mapping[str, np.ndarray]]],
    count: int,
    lattice: Lattice,
    names: frozenset[str],
    folder: Path,
    spool: Path,
    memory: int,
) -> int:
    """Write a voxel grid's arrays as .npy files.

    Args:
        points: Goes through the points anew at each call: dictionaries of ``coord`` (n, 3) and ``names``.
        count: N >= 1.
        lattice: Of the cloud's bounding box.
        names: What voxels take over: of ``color``, ``segment``, ``intensity``.
        folder: An existing folder for them.
        spool: An empty folder for temporary files; it is empty again at the end.
        memory: Bytes to stay below, more than ``WORKING_BYTES``.

    Returns:
        V.
    """
    record = record_type(names)
    # Beside a record its sorting takes at most a key, its place twice, and NumPy's own buffer.
    capacity = (memory - WORKING_BYTES) // (record.itemsize + 28)
    # Half of what fits: the sorting's memory, though free by then, may not have gone back to the system.
    stretch = min((memory - WORKING_BYTES) // 16, 1 << 32)

    def records() -> Iterator[np.ndarray]:
        done = 0
        for part in points():
            piece = np.empty(len(part["coord"]), dtype=record)
            piece["key"] = lattice.keys(part["coord"])
            piece["index"] = np.arange(done, done + len(piece))
            for name in names:
                piece[name] = part[name]
            done += len(piece)
            yield piece

    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(ArrayWriter(folder / f"{name}.npy", *GRID_ARRAYS[name]))
            for name in ("coord", "point", *sorted(names))
        }
        merger = VoxelMerger(lattice, names)
        for piece in _sorted_records(records, count, record, lattice.morton.bits, spool, capacity):
            rows, finished = merger.add(piece["key"], piece["index"], {name: piece[name] for name in names})
            _keep_rows(spool, piece["index"], rows, stretch)
            _append(writers, finished)
        _append(writers, merger.close())
        voxels = writers["coord"].rows
    _write_inverse(folder / "inverse.npy", spool, count, stretch)
    return voxels


def _append(writers: Mapping[str, ArrayWriter], voxels: Mapping[str, np.ndarray]) -> None:
    for name, array in voxels.items():
        writers[name].append(array)


def _sorted_records(
    source: Source, count: int, record: np.dtype, bits: int, spool: Path, capacity: int
) -> Iterator[np.ndarray]:
    """Records by key and index; all keys agree above their lowest ``bits``, and the source goes by index."""
    if count <= capacity:
        table = np.empty(count, dtype=record)
        done = 0
        for piece in source():
            table[done : done + len(piece)] = piece
            done += len(piece)
        low = (table["key"][start : start + PIECE] & ((1 << bits) - 1) for start in range(0, count, PIECE))
        for _, place in sorted_pieces(low, count, bits, PIECE):
            yield np.take(table, place)  # indexing would copy records field by field, at a fraction of the speed
        return
    if bits == 0:  # one voxel
        yield from source()
        return
    for path, size, left in _distribute(source, count, bits, spool, capacity):
        below = path.with_suffix(".split")
        below.mkdir()
        yield from _sorted_records(partial(read_rows, path, record, 1, PIECE), size, record, left, below, capacity)
        below.rmdir()
        path.unlink()


def _distribute(source: Source, count: int, bits: int, spool: Path, capacity: int) -> list[tuple[Path, int, int]]:
    """Write records to files by their keys' top bits: path, number of records, bits in which their keys differ."""
    digit_bits = min(bits, _DIGIT_BITS)
    shift, mask = bits - digit_bits, (1 << digit_bits) - 1
    sizes = np.zeros(1 << digit_bits, dtype=np.int64)
    for piece in source():
        sizes += np.bincount((piece["key"] >> shift) & mask, minlength=len(sizes))
    bucket = _group(sizes, max(capacity, count // _FILES))
    for piece in source():
        _scatter(spool, "bucket", bucket[(piece["key"] >> shift) & mask], piece)
    totals = np.bincount(bucket, sizes).astype(np.int64)
    digits = np.bincount(bucket[sizes > 0], minlength=len(totals))
    return [(spool / f"bucket{b}", int(totals[b]), shift if digits[b] == 1 else bits) for b in np.flatnonzero(totals)]


def _group(sizes: np.ndarray, limit: int) -> np.ndarray:
    """Number neighbours so that those of one number have at most ``limit`` together, or are one alone."""
    group = np.empty(len(sizes), dtype=np.int64)
    number = total = 0
    for place, size in enumerate(sizes.tolist()):
        if total and total + size > limit:
            number, total = number + 1, 0
        total += size
        group[place] = number
    return group


def _scatter(spool: Path, name: str, bucket: np.ndarray, rows: np.ndarray) -> None:
    """Append each row to the file of its bucket, keeping their order."""
    order = np.argsort(bucket, kind="stable")
    bucket, rows = bucket[order], np.take(rows, order)
    starts = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1]]))
    for start, part in zip(starts, np.split(rows, starts[1:]), strict=True):
        with (spool / f"{name}{bucket[start]}").open("ab") as file:
            write_array(file, part)


def _keep_rows(spool: Path, index: np.ndarray, rows: np.ndarray, stretch: int) -> None:
    kept = np.empty(len(index), dtype=_INVERSE)
    kept["place"], kept["row"] = index % stretch, rows
    _scatter(spool, "inverse", index // stretch, kept)


def _write_inverse(target: Path, spool: Path, count: int, stretch: int) -> None:
    with ArrayWriter(target, *GRID_ARRAYS["inverse"]) as writer:
        for number, first in enumerate(range(0, count, stretch)):
            inverse = np.empty(min(stretch, count - first), dtype=np.int64)
            path = spool / f"inverse{number}"
            for part in read_rows(path, _INVERSE, 1, PIECE):
                inverse[part["place"]] = part["row"]
            path.unlink()
            writer.append(inverse)
