"""A cloud file in, the same file with predictions out: in bounded memory, and taken up again where it was stopped.

Between the two lies a working folder beside the output. It holds the grid, one row of results a voxel, and a journal of
the finished tiles; it is removed when the output stands.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.atomic import remove_unfinished, replacing_file
from pointseg.data.formats import check_target, inspect_cloud, write_predictions
from pointseg.data.scene import hash_file
from pointseg.errors import InputError
from pointseg.inference.cloud_files import LEAST_MEMORY, CloudGrid, make_grid
from pointseg.inference.journal import FINISHED, RESULTS, Journal
from pointseg.inference.memory import DEFAULT_MEMORY, Estimate, free_for_work
from pointseg.inference.point_results import write_point_results
from pointseg.inference.predictor import Predictor, own
from pointseg.inference.stopwatch import Stopwatch
from pointseg.inference.tile_network import predict_tiles
from pointseg.inference.tiling import Ranges, Tile, plan, whole
from pointseg.locking import HOLDER, only_process

LOCK = "lock"


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Watch:
    """Told how predicting a file goes on.

    Attributes:
        begin: points and the bound on memory in bytes, before anything is read.
        key: what the predictions depend on, see ``file_key``.
        progress: the stage, what is done and how much there is: points while reading and writing, voxels while
            predicting.
        estimate: what is to come, once the grid is known.
    """

    begin: Callable[[int, int], None] = _nothing
    key: Callable[[str], None] = _nothing
    progress: Callable[[str, int, int], None] = _nothing
    estimate: Callable[[Estimate], None] = _nothing


class _TileTooLargeError(InputError):
    """More memory is all that it takes to go on."""


def predict_file(
    predictor: Predictor,
    source: str | Path,
    target: str | Path,
    *,
    memory: int = DEFAULT_MEMORY,
    halo: float | None = None,
    watch: Watch = Watch(),
) -> Mapping[str, float]:
    """Write a copy of a cloud file with class, confidence and entropy as further fields of its points.

    Killed at any moment, the same call goes on with the tiles that are left, unless the file, the model or the margin
    has changed.

    Args:
        predictor: the network.
        source: a file of any format that ``pointseg.data.formats`` reads.
        target: the file to write, of the same format.
        memory: bytes that the process holds at most, the program and the network included.
        halo: margin of a tile, metres; None = the network's default.
        watch: told how it goes on.

    Returns:
        Seconds by stage, see ``stopwatch.py``.

    Raises:
        InputError: what ``iter_cloud`` and ``write_predictions`` refuse, a model that does not fit the cloud, a bound
            that cannot be kept, a full disk, or another process that is predicting to the same target.
    """
    source, target = Path(source), Path(target)
    info = inspect_cloud(source)
    check_target(source, target)
    free = free_for_work(memory, LEAST_MEMORY)
    # Before anything is read, as after a stop: what reading leaves behind must not change the tiles.
    room = predictor.tile_voxels(memory)
    margin = predictor.halo_voxels(halo)
    work = target.with_name(f".{target.name}.predicting")
    target.parent.mkdir(parents=True, exist_ok=True)
    stopwatch = Stopwatch()
    watch.begin(info.num_points, memory)
    with _explaining_full_disk(work), _locked(work), _without_traces_of_refusals(work):
        before = _state(source)
        key = file_key(predictor, source, margin)
        watch.key(key)
        _keep_only(work, f"{key} {predictor.device.type}")
        _remove_unfinished_target(target)
        grid = CloudGrid.open(work / "grid")
        if grid is None:
            grid = make_grid(
                source,
                work / "grid",
                voxel_size=predictor.spec.voxel_size,
                features=predictor.spec.features,
                memory=free,
                stopwatch=stopwatch,
                on_points=lambda points: watch.progress("reading", points, info.num_points),
            )
        with stopwatch.of("network"):
            _predict(predictor, grid, work, margin, room, watch)
        with stopwatch.of("write"):
            _require_unchanged(source, before)
            _write(grid, work, source, target, free, watch)
            _require_unchanged(source, before, target)
        shutil.rmtree(work)
    return stopwatch.seconds


def _predict(
    predictor: Predictor, grid: CloudGrid, work: Path, margin: int, room: tuple[int, int], watch: Watch
) -> None:
    voxels = grid.voxels()
    blocks, total = voxels.blocks, int(voxels.blocks.start[-1])
    journal = Journal.open(work, total)
    budget, _ = room
    finished = journal.finished(blocks)
    # Cut as if nothing were finished, so that a run that was stopped sees the same tiles as one that was not.
    planned = plan(blocks, [whole(blocks)], budget, margin)
    tiles = [tile for tile in planned if not finished[tile.blocks[tile.inside]].all()]
    largest = max((tile.voxels for tile in tiles), default=0)
    if largest > budget:
        raise _TileTooLargeError(
            f"a tile with its margin of {margin * predictor.spec.voxel_size:.2f} m has {largest:,} voxels, and "
            f"the memory suffices for {budget:,}; give more --memory, for which what was read is kept, or a smaller "
            "--halo"
        )
    watch.estimate(predictor.estimate(grid.points, voxels, tiles, margin, room))
    done = total - sum(own(blocks, tile) for tile in tiles)
    watch.progress("predicting", done, total)

    def keep(tile: Tile, ranges: Ranges, rows: np.ndarray) -> None:
        nonlocal done
        journal.keep(ranges, rows)
        done += len(rows)
        watch.progress("predicting", done, total)

    predict_tiles(predictor.network, voxels, tiles, margin, keep)


def _write(grid: CloudGrid, work: Path, source: Path, target: Path, memory: int, watch: Watch) -> None:
    watch.progress("writing", 0, grid.points)
    pred, confidence, entropy = write_point_results(
        work / RESULTS, grid.inverse, work, memory, lambda points: watch.progress("writing", points, grid.points)
    )
    write_predictions(source, target, pred, confidence=confidence, entropy=entropy)
    watch.progress("writing", grid.points, grid.points)


def _state(source: Path) -> tuple[int, int, int]:
    """What tells a file from another one in its place, or from what it was before."""
    facts = source.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _require_unchanged(source: Path, before: tuple[int, int, int], target: Path | None = None) -> None:
    """See that the points that are written out are those that were predicted; else the output does not stay."""
    if _state(source) != before:
        if target is not None:
            target.unlink(missing_ok=True)
        raise InputError(f"{source} was changed while it was being predicted; run the same command again")


def file_key(predictor: Predictor, source: Path, margin: int) -> str:
    """What the predictions of a file depend on, as one hash; ``margin`` in voxels."""
    parts = [predictor.fingerprint(), hash_file(source), str(margin)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _keep_only(work: Path, key: str) -> None:
    """Empty a working folder of anything but this key's work."""
    if _read(work / "key") != key.encode():
        for path in work.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with replacing_file(work / "key") as unfinished:
            unfinished.write_text(key)
    remove_unfinished(work)


def _remove_unfinished_target(target: Path) -> None:
    """Remove what a process left that was killed while it wrote this very file; others may be writing beside it."""
    name = re.compile(re.escape(f".{target.stem}.") + r"\d+" + re.escape(f".tmp{target.suffix}"))
    for path in target.parent.iterdir():
        if name.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Keep a second process out; the system lifts the lock when a process dies."""
    work.mkdir(exist_ok=True)
    refusal = (
        f"another process is predicting to the same file ({HOLDER} holds {work}); wait for it, or give another --out"
    )
    with only_process(work / LOCK, refusal):
        yield


@contextmanager
def _without_traces_of_refusals(work: Path) -> Iterator[None]:
    """Remove the working folder if bad input is the end of it and no tile is finished."""
    try:
        yield
    except _TileTooLargeError:
        raise
    except InputError:
        if not (work / FINISHED).is_file():
            shutil.rmtree(work)
        raise


@contextmanager
def _explaining_full_disk(work: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, InputError) as error:
        # What writes the output turns the system's errors into bad input.
        reason = error.__cause__ if isinstance(error, InputError) else error
        if isinstance(reason, OSError) and reason.errno is None:
            free = shutil.disk_usage(work.parent).free
            raise InputError(f"{error}; {free / 1e6:,.0f} MB are free on the disk of {work.parent}") from error
        if not isinstance(reason, OSError) or reason.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"no space left on the disk of {work}, where up to 100 bytes a point are kept until the output is written; "
            "free some and run the same command again, or choose another --out"
        ) from error
