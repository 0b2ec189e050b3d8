"""S3DIS's native rooms, ``RAW/Area_k/<room>/Annotations/<class>_<i>.txt``, to prepared scenes.

    python -m data_prep.s3dis --raw Stanford3dDataset_v1.2_Aligned_Version --out data/s3dis

Only the annotation files are read: the room files ``<room>.txt`` hold the same points once more without classes (and
have defects of their own), and ``Area_k_alignmentAngle.txt`` describes a rotation the aligned release has applied.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_prep._main import run_module
from data_prep._s3dis_room import RoomResult, RoomTask, prepare_room
from pointseg.atomic import remove_unfinished
from pointseg.data.classes import Classes, load_classes
from pointseg.data.scene import prepare_root
from pointseg.data.voxel import check_voxel_size
from pointseg.errors import InputError
from pointseg.progress import progress_bar

HELP = "S3DIS's native rooms (Area_*/<room>/Annotations/*.txt) to prepared, voxelised scenes."

ALL_AREAS = tuple(f"Area_{k}" for k in range(1, 7))
DEFAULT_VOXEL_SIZE = 0.05
_AREA = re.compile(r"Area_[0-9]+")


@dataclass(frozen=True)
class Report:
    """What ``prepare`` did.

    Attributes:
        results: One entry a room, sorted by name.
        missing_areas: Areas of S3DIS that are not there, when all were asked for.
        seconds: Wall time.
    """

    results: tuple[RoomResult, ...]
    missing_areas: tuple[str, ...]
    seconds: float

    @property
    def failed(self) -> tuple[RoomResult, ...]:
        """The rooms that could not be prepared."""
        return tuple(result for result in self.results if result.status == "failed")


def prepare(
    raw: str | Path,
    out: str | Path,
    *,
    classes: Classes,
    voxel_sizes: Sequence[float],
    workers: int,
    areas: Sequence[str] | None = None,
    dataset: str = "s3dis",
) -> Report:
    """Prepare every room; rooms that are prepared already from the same files are kept.

    Run one at a time on a root. When interrupted, finished scenes stay and unfinished ones vanish.

    Args:
        raw: Folder that holds ``Area_1``, ``Area_2``, ...
        out: Root of the prepared scenes.
        classes: Read by ``load_classes``.
        voxel_sizes: Grids to store, metres.
        workers: Processes.
        areas: Only these; None = whatever areas there are.
        dataset: Name written to every scene.

    Raises:
        InputError: No such folder or area, a bad size or number of workers, or a root with other classes. A bad room
            does not raise: it is in the report.
    """
    started = time.monotonic()
    raw, out = Path(raw), Path(out)
    for size in voxel_sizes:
        check_voxel_size(size)
    if workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    found = _areas(raw, areas)
    rooms = [(area, room) for area in found for room in _rooms(raw / area)]
    if not rooms:
        raise InputError(
            f"{raw} holds no rooms; expected folders such as {raw / found[0] / 'office_1' / 'Annotations'}"
        )
    prepare_root(out, classes)
    for area in found:
        remove_unfinished(out / area)
    tasks = [RoomTask(raw, out, area, room, dataset, classes, tuple(voxel_sizes)) for area, room in rooms]
    # The largest rooms first, so that none is left running alone at the end.
    tasks.sort(key=_bytes, reverse=True)
    try:
        results = _run_all(tasks, min(workers, len(tasks)))
    except KeyboardInterrupt:
        for area in found:
            remove_unfinished(out / area)
        raise
    missing = tuple(area for area in ALL_AREAS if areas is None and dataset == "s3dis" and area not in found)
    return Report(tuple(sorted(results, key=lambda r: r.name)), missing, time.monotonic() - started)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this module's flags."""
    parser.add_argument("--raw", required=True, type=Path, help="folder that holds Area_1 ... Area_6")
    parser.add_argument("--areas", nargs="+", metavar="AREA", help="only these, such as Area_1 Area_5")
    add_store_arguments(parser)


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags about what is written and how."""
    parser.add_argument("--out", required=True, type=Path, help="folder of the prepared scenes")
    parser.add_argument(
        "--voxel-size",
        type=float,
        action="append",
        metavar="METRES",
        help=f"edge of the voxels; may be given several times (default: {DEFAULT_VOXEL_SIZE})",
    )
    parser.add_argument(
        "--classes", default="s3dis", metavar="FILE", help="class file: a name or a path (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=_cpus(), help="processes (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prepare and print what was done."""
    return run_prepare(args, dataset="s3dis", areas=args.areas)


def run_prepare(args: argparse.Namespace, *, dataset: str, areas: Sequence[str] | None) -> int:
    """Prepare ``args.raw`` into ``args.out`` and print what was done.

    Returns:
        0; 1 if a room failed; 130 if it was interrupted.
    """
    try:
        report = prepare(
            args.raw,
            args.out,
            classes=load_classes(args.classes),
            voxel_sizes=args.voxel_size or [DEFAULT_VOXEL_SIZE],
            workers=args.workers,
            areas=areas,
            dataset=dataset,
        )
    except KeyboardInterrupt:
        print("interrupted; finished scenes are kept and skipped when the command is run again", file=sys.stderr)
        return 130
    _print(report, args.out)
    return 1 if report.failed else 0


def _print(report: Report, out: Path) -> None:
    for result in report.results:
        for repair in result.repairs:
            where = repair["file"] + (f", line {repair['line']}" if "line" in repair else "")
            known = "known defect" if repair.get("known") else "unknown defect"
            what = repair.get("what") or f"{known}, '{repair.get('before')}' read as '{repair.get('after')}'"
            print(f"repaired: {where}: {what}")
    if report.missing_areas:
        print(f"not in the raw folder, so not prepared: {', '.join(report.missing_areas)}")
    count = {status: sum(r.status == status for r in report.results) for status in ("written", "kept", "failed")}
    points = sum(result.points for result in report.results)
    print(
        f"{out}: {count['written']} scenes written, {count['kept']} up to date, {count['failed']} failed; "
        f"{points:,} points, {report.seconds:.1f} s"
    )
    for result in report.failed:
        print(f"failed: {result.name}: {result.error}", file=sys.stderr)


def _areas(raw: Path, wanted: Sequence[str] | None) -> list[str]:
    if not raw.is_dir():
        raise InputError(f"there is no folder {raw}; give the one that holds Area_1 ... Area_6 with --raw")
    found = sorted((p.name for p in raw.iterdir() if p.is_dir() and _AREA.fullmatch(p.name)), key=lambda n: int(n[5:]))
    if not found:
        inside = sorted(p.parent for p in raw.glob("*/Area_*") if p.is_dir())
        hint = f"did you mean {inside[0]}?" if inside else "give the folder that holds Area_1 ... Area_6 with --raw"
        raise InputError(f"{raw} holds no areas; {hint}")
    if wanted is None:
        return found
    for area in wanted:
        if area not in found:
            raise InputError(f"{raw} has no area {area!r}; it has {', '.join(found)}")
    return [area for area in found if area in wanted]


def _rooms(area: Path) -> list[str]:
    return sorted(p.name for p in area.iterdir() if p.is_dir() and not p.name.startswith("."))


def _bytes(task: RoomTask) -> int:
    return sum(p.stat().st_size for p in task.annotations.glob("*.txt"))


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_all(tasks: Sequence[RoomTask], workers: int) -> list[RoomResult]:
    results: list[RoomResult] = []
    with progress_bar() as bar:
        row = bar.add_task("preparing rooms", total=len(tasks), status="")
        stream = map(prepare_room, tasks) if workers == 1 else _in_processes(prepare_room, tasks, workers)
        for result in stream:
            results.append(result)
            bar.update(row, advance=1, status=result.name)
    return results


def _in_processes(
    function: Callable[[RoomTask], RoomResult], tasks: Sequence[RoomTask], workers: int
) -> Iterator[RoomResult]:
    others = set(multiprocessing.active_children())
    # Spawned, not forked: a fork would copy the locks of the threads that draw the progress bar.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        with _interrupts_ignored():
            futures = [pool.submit(function, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise InputError(
            f"a worker process was killed, most likely for lack of memory; run again with fewer than {workers} "
            "--workers; finished rooms are kept"
        ) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
            child.join()
        raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which reaches the whole group: only this process acts on it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


if __name__ == "__main__":
    sys.exit(run_module(HELP, add_arguments, run))
