"""A cloud file as a voxel grid on disk, made in bounded memory: the grid that ``pointseg prepare cloud`` stores.

Nothing but the points' coordinates and colours is kept; the file itself is read again when predictions are written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import replacing_folder
from pointseg.data.formats import iter_cloud
from pointseg.data.scene import hash_file
from pointseg.data.scene_writer import hash_arrays
from pointseg.data.voxel import bounding_box
from pointseg.data.voxel_external import WORKING_BYTES, voxelize_to_files
from pointseg.data.voxel_files import ArrayWriter, read_array, read_rows, write_array
from pointseg.data.voxel_lattice import Lattice
from pointseg.data.voxel_merge import PIECE
from pointseg.errors import InputError
from pointseg.inference.stopwatch import Stopwatch
from pointseg.inference.tile_network import Voxels
from pointseg.inference.tiling import Blocks

LEAST_MEMORY = 2 * WORKING_BYTES
"""Bytes below which a grid cannot be made."""

_FACTS = "grid.json"
_READER_BYTES = 1024
"""A generous guess at what a reader holds for a point of the chunk it is parsing."""
_CHUNK_POINTS = 1_000_000
_GATHER_BYTES = 40
"""What looking up a voxel's height takes."""

logger = logging.getLogger(__name__)

OnPoints = Callable[[int], None]
"""Told how many points have been read."""


@dataclass(frozen=True)
class CloudGrid:
    """A cloud's grid in a folder.

    Attributes:
        folder: holds ``coord``, ``color``, ``z``, ``point`` and ``inverse``, as .npy files.
        points: N.
        lowest: (3,) lowest voxel on each axis.
        floor: z of the lowest point, metres above the offset.
    """

    folder: Path
    points: int
    lowest: tuple[int, int, int]
    floor: float

    @classmethod
    def open(cls, folder: Path) -> CloudGrid | None:
        """The grid that is there, as it was written; None if there is none, or one that has been damaged since."""
        facts = _read_facts(folder / _FACTS)
        if facts is None:
            return None
        for name, digest in facts["sha256"].items():
            if not (folder / name).is_file() or hash_file(folder / name) != digest:
                logger.warning("%s has been damaged since it was written; the cloud is read again", folder / name)
                return None
        return cls(folder, facts["points"], tuple(facts["lowest"]), facts["floor"])

    def voxels(self) -> Voxels:
        """The grid as the network is fed from it."""
        blocks = Blocks.of(read_array(self.folder / "coord.npy", PIECE), np.array(self.lowest))
        files = {name: self.folder / f"{name}.npy" for name in ("coord", "z", "color")}
        return Voxels(blocks, self.floor, {name: path for name, path in files.items() if path.is_file()})

    def inverse(self, points: int) -> Iterator[np.ndarray]:
        """The voxel row of each point, so many at a time."""
        return read_array(self.folder / "inverse.npy", points)


def make_grid(
    path: Path,
    folder: Path,
    *,
    voxel_size: float,
    features: tuple[str, ...],
    memory: int,
    stopwatch: Stopwatch,
    on_points: OnPoints = lambda points: None,
) -> CloudGrid:
    """Read a cloud file once and store its grid.

    Args:
        path: the cloud file.
        folder: to write; its parent exists.
        voxel_size: metres.
        features: the network's; colours and heights are kept only where they are asked for.
        memory: bytes to stay below, at least ``LEAST_MEMORY``.
        stopwatch: gets the times of ``read`` and ``voxelise``.
        on_points: for a progress bar.

    Raises:
        InputError: what ``iter_cloud`` refuses, or colours that are asked for and not there.
    """
    with replacing_folder(folder) as unfinished:
        spool = unfinished / "spool"
        spool.mkdir()
        colored, chunk = "color" in features, min(_CHUNK_POINTS, max(PIECE, memory // _READER_BYTES))
        with stopwatch.of("read"):
            points, low = _spool(path, spool, colored, chunk, on_points)
        with stopwatch.of("voxelise"):
            box = _shift(spool, low)
            lattice = Lattice.around(*box, voxel_size)
            names = frozenset({"color"} if colored else ())
            work = spool / "work"
            work.mkdir()
            voxelize_to_files(lambda: _points(spool, colored), points, lattice, names, unfinished, work, memory)
            if "height" in features:
                _heights(unfinished, spool / "shifted", memory)
            shutil.rmtree(spool)
        lowest, floor = [int(value) for value in lattice.low], float(box[0][2])
        _write_facts(unfinished / _FACTS, points=points, lowest=lowest, floor=floor, sha256=hash_arrays(unfinished))
    return CloudGrid(folder, points, (lowest[0], lowest[1], lowest[2]), floor)


def _write_facts(path: Path, **facts: Any) -> None:
    """Write JSON values and their own hash."""
    path.write_text(json.dumps({"facts": facts, "sha256": _digest(facts)}))


def _read_facts(path: Path) -> dict[str, Any] | None:
    """What ``_write_facts`` wrote; None if it is not there, or not as it was written."""
    try:
        document = json.loads(path.read_bytes())
        return document["facts"] if document["sha256"] == _digest(document["facts"]) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _spool(path: Path, spool: Path, colored: bool, chunk: int, on_points: OnPoints) -> tuple[int, np.ndarray]:
    points, low = 0, np.full(3, np.inf)
    with ExitStack() as stack:
        coords = stack.enter_context((spool / "coord").open("wb"))
        colors = stack.enter_context(ArrayWriter(spool / "color.npy", np.uint8, 3)) if colored else None
        for cloud in iter_cloud(path, chunk_points=chunk):
            write_array(coords, cloud.coord)
            low = np.minimum(low, cloud.coord.min(axis=0))
            if colors is not None:
                colors.append(checked_color(cloud.color, str(path)))
            points += len(cloud.coord)
            on_points(points)
    return points, low


def checked_color(color: np.ndarray | None, what: str) -> np.ndarray:
    """The colours of a cloud that need to be there.

    Raises:
        InputError: there are none.
    """
    if color is None:
        raise InputError(
            f"the model was trained with colours, and {what} has none; take a model trained without, for example with "
            "data.features=[ones,height]"
        )
    return color


def _shift(spool: Path, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates as scenes store them, float32 from whole metres on; returns their bounding box."""
    offset, lows, highs, first = np.floor(low) + 0.0, [], [], 0
    with (spool / "shifted").open("wb") as file:
        for coord in read_rows(spool / "coord", np.dtype(np.float64), 3, PIECE):
            stored = shifted(coord, offset, first)
            first += len(stored)
            box = bounding_box(stored)
            lows.append(box[0])
            highs.append(box[1])
            write_array(file, stored)
    (spool / "coord").unlink()
    return np.min(lows, axis=0), np.max(highs, axis=0)


def shifted(coord: np.ndarray, offset: np.ndarray, first: int = 0) -> np.ndarray:
    """Coordinates (n, 3) from an offset on, float32; ``first`` is the number of the first point.

    Raises:
        InputError: a point is farther away than float32 can say.
    """
    with np.errstate(over="ignore"):
        moved = coord - offset
        stored = moved.astype(np.float32)
    far = ~np.isfinite(stored).all(axis=1)
    if far.any():
        i = int(far.argmax())
        raise InputError(
            f"point {first + i} (the first is 0) is at {coord[i].tolist()}, too far from the lowest corner "
            f"{offset.tolist()} of the cloud; remove such points"
        )
    return stored


def _points(spool: Path, colored: bool) -> Iterator[dict[str, np.ndarray]]:
    coords = read_rows(spool / "shifted", np.dtype(np.float32), 3, PIECE)
    if not colored:
        yield from ({"coord": coord} for coord in coords)
        return
    for coord, color in zip(coords, read_array(spool / "color.npy", PIECE), strict=True):
        yield {"coord": coord, "color": color}


def _heights(folder: Path, shifted: Path, memory: int) -> None:
    """Write the z of every voxel's representative: as many as memory allows in each pass over the points."""
    with ArrayWriter(folder / "z.npy", np.float32, 1) as writer:
        for point in read_array(folder / "point.npy", memory // _GATHER_BYTES):
            order = np.argsort(point)
            wanted, z, first = point[order], np.empty(len(point), np.float32), 0
            for coord in read_rows(shifted, np.dtype(np.float32), 3, PIECE):
                start, stop = np.searchsorted(wanted, (first, first + len(coord)))
                z[order[start:stop]] = coord[wanted[start:stop] - first, 2]
                first += len(coord)
            writer.append(z)
