"""What the commands of all data sets share: flags, and what is printed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep._runner import Report, prepare_scenes
from data_prep._scene_job import SceneJob, Store
from data_prep._streaming import MIN_MEMORY, check_memory
from pointseg.data.classes import Classes, load_classes
from pointseg.errors import InputError
from pointseg.memory_size import parse_memory

DEFAULT_VOXEL_SIZE = 0.05
_SHOWN = 20


def add_store_arguments(
    parser: argparse.ArgumentParser,
    *,
    classes: str | None,
    voxel_size: float = DEFAULT_VOXEL_SIZE,
    streaming: bool = False,
) -> None:
    """Add the flags about what is written and how.

    Args:
        parser: Of the data set's command.
        classes: Name of the class file taken by default; None = one must be given.
        voxel_size: The default, metres.
        streaming: Whether its scenes can be read in chunks.
    """
    parser.add_argument("--out", required=True, type=Path, metavar="ROOT", help="folder of the prepared scenes")
    parser.add_argument(
        "--voxel-size",
        type=float,
        action="append",
        metavar="METRES",
        help=f"edge of the voxels; may be given several times (default: {voxel_size})",
    )
    parser.add_argument(
        "--classes",
        default=classes,
        required=classes is None,
        metavar="FILE",
        help="class file: a name or a path" + ("" if classes is None else " (default: %(default)s)"),
    )
    parser.add_argument("--workers", type=int, default=_cpus(), help="processes (default: %(default)s)")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask scheduler whose workers prepare the scenes, such as tcp://host:8786; they must see the same "
        "files under the same paths",
    )
    parser.add_argument(
        "--check", action="store_true", help="prepare nothing: verify what ROOT holds (counts, hashes, ranges)"
    )
    if streaming:
        parser.add_argument(
            "--memory",
            metavar="SIZE",
            help="prepare in at most so much memory, such as 4GB, shared by the workers: slower, the same result, for "
            "clouds larger than memory",
        )
    parser.set_defaults(default_voxel_size=voxel_size)


def run_prepare(
    args: argparse.Namespace,
    dataset: str,
    jobs: Callable[[Classes], Sequence[SceneJob]],
    notes: Callable[[], Sequence[str]] = lambda: (),
) -> int:
    """Prepare into ``args.out``, or check it, and print what was done.

    Args:
        args: With the flags of ``add_store_arguments``.
        dataset: Name written to every scene.
        jobs: The scenes, given the classes.
        notes: What else the user should know, such as what a complete download would hold besides.

    Returns:
        0; 1 if a scene failed; 130 if it was interrupted.
    """
    if args.check:
        from pointseg.cli.data import run_check

        return run_check(args.out)
    classes = load_classes(args.classes)
    try:
        wanted = jobs(classes)
        sizes = tuple(args.voxel_size or [args.default_voxel_size])
        store = Store(args.out, dataset, classes, sizes, _share(args, len(wanted)))
        report = prepare_scenes(wanted, store, workers=args.workers, scheduler=args.scheduler)
    except KeyboardInterrupt:
        print("interrupted; finished scenes are kept and skipped when the command is run again", file=sys.stderr)
        return 130
    _print(report, args.out, [*notes(), *_others(report, args.out)])
    return 1 if report.failed else 0


def _share(args: argparse.Namespace, jobs: int) -> int | None:
    """Bytes that one worker may take: of a cluster's, each so much; of this machine's, together so much."""
    given: str | None = getattr(args, "memory", None)
    if given is None:
        return None
    memory = parse_memory(given)
    check_memory(memory)
    workers = 1 if args.scheduler is not None else max(1, min(args.workers, jobs))
    share = memory // workers
    if share < MIN_MEMORY:
        raise InputError(
            f"{workers} workers share {memory // 10**6} MB of --memory, and each needs {-(-MIN_MEMORY // 10**6)} "
            "MB; give more, or fewer --workers"
        )
    return share


def _print(report: Report, out: Path, notes: Sequence[str]) -> None:
    repairs = [repair for result in report.results for repair in result.repairs]
    for repair in repairs[:_SHOWN]:
        print(_described(repair))
    if len(repairs) > _SHOWN:
        print(f"... and {len(repairs) - _SHOWN} more of these; each is in the meta.json of its scene")
    for note in notes:
        print(f"note: {note}")
    count = {status: sum(r.status == status for r in report.results) for status in ("written", "kept", "failed")}
    points = sum(result.points for result in report.results)
    print(
        f"{out}: {count['written']} scenes written, {count['kept']} up to date, {count['failed']} failed; "
        f"{points:,} points, {report.seconds:.1f} s"
    )
    for result in report.failed:
        print(f"failed: {result.name}: {result.error}", file=sys.stderr)


def _others(report: Report, out: Path) -> list[str]:
    """A note about scenes of the root that this run did not touch: left from earlier, or from other sources."""
    ours = {result.name for result in report.results}
    there = {f"{path.parent.parent.name}/{path.parent.name}" for path in out.glob("[!.]*/[!.]*/meta.json")}
    left = sorted(there - ours)
    shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
    return [f"{len(left)} scenes of {out} were not part of this run and stay as they are: {shown}"] if left else []


def _described(repair: Mapping[str, Any]) -> str:
    where = repair["file"] + (f", line {repair['line']}" if "line" in repair else "")
    if "what" in repair:
        return f"noted: {where}: {repair['what']}"
    known = "known defect" if repair.get("known") else "unknown defect"
    return f"repaired: {where}: {known}, '{repair['before']}' read as '{repair['after']}'"


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
