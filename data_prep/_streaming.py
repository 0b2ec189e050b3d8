"""A cloud larger than memory becomes a prepared scene: one pass over its source, then everything else in files.

The scene's folder is the same, byte for byte, as if the cloud had been read in one piece. What memory a run takes
beyond the program itself stays below a stated bound, whatever the number of points.
"""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pointseg.atomic import replacing_folder
from pointseg.data.scene_arrays import check_names, checked_array, class_counts, write_meta
from pointseg.data.scene_reader import ARRAYS, AVERAGED, grid_name
from pointseg.data.scene_writer import hash_arrays
from pointseg.data.voxel import bounding_box, check_voxel_size
from pointseg.data.voxel_external import WORKING_BYTES, record_type, voxelize_to_files
from pointseg.data.voxel_files import ArrayWriter, read_array, read_rows, write_array
from pointseg.data.voxel_lattice import Lattice
from pointseg.data.voxel_merge import PIECE
from pointseg.errors import InputError

MIN_MEMORY = 2 * WORKING_BYTES
"""Least bound that can be kept, bytes."""

_READER_BYTES = 512
"""A generous guess at what a reader holds for a point of the chunk it is parsing."""


class Chunk(Protocol):
    """Some points of a cloud; a ``RawScene`` is one. Every chunk has the same optional arrays as the first."""

    @property
    def coord(self) -> np.ndarray:
        """(n, 3) metres, in the source's coordinates; n may be 0."""

    @property
    def color(self) -> np.ndarray | None:
        """(n, 3) uint8."""

    @property
    def intensity(self) -> np.ndarray | None:
        """(n,)."""

    @property
    def normal(self) -> np.ndarray | None:
        """(n, 3)."""

    @property
    def segment(self) -> np.ndarray | None:
        """(n,) class, -1 = ignored."""

    @property
    def instance(self) -> np.ndarray | None:
        """(n,) object number."""

    @property
    def repairs(self) -> tuple[Mapping[str, Any], ...]:
        """Those of all chunks are put one after another."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of later chunks are added to, and replace, those of earlier ones."""


def chunk_points(memory: int) -> int:
    """How many points a reader should hand over at once so that reading keeps within ``memory`` bytes."""
    return max(PIECE, memory // _READER_BYTES)


def write_scene_streaming(
    root: str | Path,
    split: str,
    name: str,
    chunks: Iterable[Chunk],
    *,
    memory: int,
    dataset: str,
    sources: Sequence[Mapping[str, Any]],
    voxel_sizes: Sequence[float],
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """``write_scene`` for a cloud that comes in chunks: the same folder in bounded memory.

    The chunks are gone through once. They are kept in temporary files beside the scene's place, which are gone when
    the scene is finished or has failed.

    Args:
        root: Folder of prepared scenes.
        split: Folder below it.
        name: Of the scene.
        chunks: The points in order. A chunk counts as the reader's memory: see ``chunk_points``.
        memory: Bytes that the work takes at most, beside the program and the chunk being read.
        dataset: As for ``write_scene``.
        sources: As for ``write_scene``.
        voxel_sizes: As for ``write_scene``.
        settings: As for ``write_scene``.

    Returns:
        The scene's folder.

    Raises:
        InputError: What ``write_scene`` refuses; chunks of different kinds; no points; too small a bound; no space.
    """
    check_names(split, name)
    check_memory(memory)
    sizes = sorted(set(voxel_sizes))
    for size in sizes:
        check_voxel_size(size)
    target = Path(root) / split / name
    target.parent.mkdir(parents=True, exist_ok=True)
    cloud = _Cloud(f"{split}/{name}")
    with _explaining_full_disk(cloud, sizes, target.parent), replacing_folder(target) as folder:
        spool = folder / "spool"
        spool.mkdir()
        _spool(chunks, cloud, folder, spool)
        offset = np.floor(cloud.low) + 0.0
        box = _write_coord(folder, spool, offset)
        num_voxels = {}
        for size in sizes:
            (folder / grid_name(size)).mkdir()
            num_voxels[size] = voxelize_to_files(
                lambda: _points(folder, cloud.averaged),
                cloud.points,
                Lattice.around(*box, size),
                cloud.averaged,
                folder / grid_name(size),
                spool,
                memory,
            )
        spool.rmdir()
        write_meta(
            folder,
            dataset=dataset,
            split=split,
            scene=name,
            num_points=cloud.points,
            counts=cloud.counts,
            offset=offset,
            arrays=cloud.names,
            num_voxels=num_voxels,
            settings=settings,
            facts=cloud.facts,
            repairs=cloud.repairs,
            sources=sources,
            sha256=hash_arrays(folder),
        )
    return target


@dataclass
class _Cloud:
    """What is known of the cloud as its chunks go by."""

    where: str
    points: int = 0
    names: tuple[str, ...] = ()
    low: np.ndarray = field(default_factory=lambda: np.full(3, np.inf))
    counts: Counter[int] = field(default_factory=Counter)
    repairs: list[Mapping[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def averaged(self) -> frozenset[str]:
        return frozenset(self.names) & frozenset(AVERAGED)

    def disk_bytes(self, voxel_sizes: Sequence[float]) -> int:
        """Most the scene and its temporary files take together at any time, if every point had its own voxel."""
        row = {name: np.dtype(ARRAYS[name][0]).itemsize * ARRAYS[name][1] for name in self.names}
        voxel = 12 + 8 + sum(row[name] for name in self.averaged)
        temporary = max(24, 2 * record_type(self.averaged).itemsize + 12)
        return self.points * (sum(row.values()) + len(voxel_sizes) * (voxel + 8) + temporary)


def _spool(chunks: Iterable[Chunk], cloud: _Cloud, folder: Path, spool: Path) -> None:
    """Write the chunks' arrays to the scene, but their coordinates to the spool: the offset is not known yet."""
    with ExitStack() as stack:
        coords = stack.enter_context((spool / "coord").open("wb"))
        writers: dict[str, ArrayWriter] = {}
        for chunk in chunks:
            cloud.repairs += chunk.repairs
            cloud.facts |= chunk.facts
            given = {key: getattr(chunk, key) for key in ARRAYS if getattr(chunk, key) is not None}
            points = len(given["coord"])
            if points == 0:
                continue
            _check_kind(given, cloud)
            if not writers:
                cloud.names = tuple(given)
                writers = {
                    key: stack.enter_context(ArrayWriter(folder / f"{key}.npy", *ARRAYS[key]))
                    for key in given
                    if key != "coord"
                }
            for start in range(0, points, PIECE):
                piece = {key: array[start : start + PIECE] for key, array in given.items()}
                _spool_piece(piece, cloud, writers, coords)
    if cloud.points == 0:
        raise InputError(f"scene {cloud.where} has no points; leave it out")


def _spool_piece(
    piece: Mapping[str, np.ndarray], cloud: _Cloud, writers: Mapping[str, ArrayWriter], coords: Any
) -> None:
    coord = piece["coord"].astype(np.float64)
    if not np.isfinite(coord).all():
        bad = int(np.flatnonzero(~np.isfinite(coord).all(axis=1))[0])
        raise InputError(
            f"scene {cloud.where}: point {cloud.points + bad} is at {coord[bad].tolist()}; coordinates must be finite"
        )
    cloud.low = np.minimum(cloud.low, coord.min(axis=0))
    write_array(coords, coord)
    for key, writer in writers.items():
        array = checked_array(key, piece[key], len(coord), cloud.where)
        writer.append(array)
        if key == "segment":
            cloud.counts.update(class_counts(array))
    cloud.points += len(coord)


def _check_kind(given: Mapping[str, np.ndarray], cloud: _Cloud) -> None:
    coord = np.asarray(given["coord"])
    if coord.ndim != 2 or coord.shape[1] != 3:
        raise InputError(f"scene {cloud.where} has coordinates of shape {coord.shape}; they must be (N, 3), N >= 1")
    for key, array in given.items():
        if len(array) != len(coord):
            raise InputError(f"scene {cloud.where}: a chunk has {len(coord)} points and {len(array)} rows of {key}")
    if cloud.names and cloud.names != tuple(given):
        raise InputError(
            f"scene {cloud.where} has {', '.join(cloud.names)} up to point {cloud.points}, then {', '.join(given)}; "
            "all parts of a cloud must have the same fields"
        )


def _write_coord(folder: Path, spool: Path, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the stored coordinates and return their bounding box."""
    low, high = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    with ArrayWriter(folder / "coord.npy", *ARRAYS["coord"]) as writer:
        for coord in read_rows(spool / "coord", np.dtype(np.float64), 3, PIECE):
            stored = (coord - offset).astype(np.float32)
            piece_low, piece_high = bounding_box(stored)
            low, high = np.minimum(low, piece_low), np.maximum(high, piece_high)
            writer.append(stored)
    (spool / "coord").unlink()
    return low, high


def _points(folder: Path, names: frozenset[str]) -> Iterator[dict[str, np.ndarray]]:
    keys = ("coord", *sorted(names))
    for arrays in zip(*(read_array(folder / f"{key}.npy", PIECE) for key in keys), strict=True):
        yield dict(zip(keys, arrays, strict=True))


def check_memory(memory: int) -> None:
    """Refuse a bound, bytes, below ``MIN_MEMORY``."""
    if memory < MIN_MEMORY:
        raise InputError(f"the memory bound is {memory // 10**6} MB; it must be at least {-(-MIN_MEMORY // 10**6)} MB")


@contextmanager
def _explaining_full_disk(cloud: _Cloud, voxel_sizes: Sequence[float], place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        needed, free = cloud.disk_bytes(voxel_sizes), shutil.disk_usage(place).free
        raise InputError(
            f"no space left on the disk of {place}: scene {cloud.where} with the {cloud.points} points read so far "
            f"takes up to {needed / 1e9:.3g} GB there while it is prepared, and {free / 1e9:.3g} GB are free; free "
            "some or choose another folder"
        ) from error
