"""The outputs of ``pointseg view`` that are files, or a window."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pointseg.data.classes import Classes
from pointseg.errors import InputError
from pointseg.viewing.cloud import Cloud
from pointseg.viewing.colors import MODES, available_modes
from pointseg.viewing.exports import baked, check_complete, check_precise, write_las
from pointseg.viewing.figure import scene_png
from pointseg.viewing.html import pair_html, scene_html
from pointseg.viewing.payload import MAX_POINTS
from pointseg.viewing.ply import write_ply
from pointseg.viewing.sources import Source, files_behind, listed, paired, reference_system

_HINT = "in a browser; it needs no network, so it can be copied or mailed as it is."


def write_all(sources: Sequence[list[Source]], args: argparse.Namespace) -> int:
    """A picture and a page of every scene into ``--out``, of two targets a page of every scene both have."""
    pages, failed = [], 0
    jobs = paired(*sources) if len(sources) == 2 else [(source,) for source in sources[0]]
    for job in jobs:
        base = args.out / job[0].name
        page = base.with_name(base.name + ".html")
        try:
            if len(job) == 2:
                _pair(job, page, args)
            else:
                cloud, classes = _load(job[0])
                _check_shown(job, [cloud], args)
                _picture(cloud, classes, base.with_name(base.name + ".png"), args)
                _page(cloud, classes, page, args)
            pages.append(page)
        except InputError as error:
            if len(jobs) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            failed += 1
    if not pages:
        raise InputError(f"none of the {len(jobs)} scenes of {args.targets[0]} could be drawn.")
    print(f"\nOpen {pages[0]} {_HINT}")
    return 1 if failed else 0


def export_one(sources: Sequence[list[Source]], args: argparse.Namespace) -> int:
    """The files that ``--png``, ``--html``, ``--ply`` and ``--laz`` name, and ``--desktop``'s window, of one scene."""
    if args.scene is None:
        # A run's pseudo-labels over time are asked for by name; its one scene needs none.
        sources = [[source for source in group if not source.place] or group for group in sources]
    if len(sources) == 2:
        pairs = paired(*sources)
        if len(pairs) > 1:
            raise InputError(
                f"the two targets share {len(pairs)} scenes; name one with --scene ({listed([a for a, _ in pairs])}) "
                "or use --out DIR."
            )
        _keep_sources(pairs[0], args)
        _pair(pairs[0], args.html, args)
        print(f"\nOpen {args.html} {_HINT}")
        return 0
    if len(sources[0]) > 1:
        raise InputError(
            f"{args.targets[0]} holds {len(sources[0])} scenes; a flag that names one file takes one: name it with "
            f"--scene ({listed(sources[0])}), or use --out DIR."
        )
    source = sources[0][0]
    _keep_sources([source], args)
    cloud, classes = _load(source)
    _check_shown([source], [cloud], args)
    if args.labels is not None and cloud.annotated is None:
        raise InputError(f"the labels {args.labels!r} hold nothing of {source.name}; leave --labels out.")
    if args.ply is not None or args.laz is not None:
        check_complete(cloud)
        check_precise(cloud)
    if args.png is not None:
        _picture(cloud, classes, args.png, args)
    if args.html is not None:
        _page(cloud, classes, args.html, args)
        print(f"\nOpen {args.html} {_HINT}")
    if args.ply is not None:
        _ready(args.ply)
        print(write_ply(args.ply, cloud, classes, bake=args.bake or ""))
    if args.laz is not None:
        _las(source, cloud, classes, args)
    if args.bake:
        print(f"the colours are those of {args.bake!r}, not the scan's own")
    if args.desktop:
        from pointseg.viewing.desktop import show

        show(cloud, classes, mode=args.color or "")
    return 0


def _keep_sources(job: Sequence[Source], args: argparse.Namespace) -> None:
    """Refuse to write over the scan itself, a scene, the scan it was made from, or a prediction that its run stored."""
    stored = [Path(source.source) / "predictions" / f"{source.name}.ply" for source in job]
    read = [path for path in [*(file for source in job for file in files_behind(source)), *stored] if path.is_file()]
    for target in (args.png, args.html, args.ply, args.laz):
        if target is not None and target.exists() and any(target.samefile(path) for path in read):
            raise InputError(f"{target} is the source itself; give another file to write to.")


def _check_shown(job: Sequence[Source], clouds: Sequence[Cloud], args: argparse.Namespace) -> None:
    """Refuse a colouring that none of the clouds has the data for."""
    there = [mode for mode in MODES if any(mode in available_modes(cloud) for cloud in clouds)]
    for mode in (args.color, args.bake):
        if mode and mode not in there:
            names = " and ".join(str(source.path) for source in job)
            holds = "it holds" if len(clouds) == 1 else "they hold"
            raise InputError(f"{names} cannot be shown as {mode!r}; what {holds} allows {', '.join(there)}.")


def _load(source: Source) -> tuple[Cloud, Classes]:
    cloud, classes = source.load()
    if cloud.num_classes and classes.dataset == "numbered":
        print(
            f"{source.path}: no class names are known, so ids are shown as 'class 0' and on; name them with --classes."
        )
    return cloud, classes


def _picture(cloud: Cloud, classes: Classes, path: Path, args: argparse.Namespace) -> None:
    _ready(path)
    print(scene_png(path, cloud, classes, modes=[args.color] if args.color else [], dark=args.dark))


def _page(cloud: Cloud, classes: Classes, path: Path, args: argparse.Namespace) -> None:
    _ready(path)
    most = args.max_points or MAX_POINTS
    print(scene_html(path, cloud, classes, most, mode=args.color or "", dark=args.dark))


def _pair(pair: Sequence[Source], path: Path, args: argparse.Namespace) -> None:
    (one, classes), (other, others) = (_load(source) for source in pair)
    _check_shown(pair, (one, other), args)
    if not (classes.names[: len(others.names)] == others.names or others.names[: len(classes.names)] == classes.names):
        raise InputError(
            f"{pair[0].path} has the classes {', '.join(classes.names)}, {pair[1].path} has {', '.join(others.names)}; "
            "give the class file of both with --classes."
        )
    _ready(path)
    both = max(classes, others, key=lambda c: c.num_classes)
    most = args.max_points or MAX_POINTS // 2
    names = (pair[0].source, pair[1].source)
    print(pair_html(path, (one, other), names, both, most, mode=args.color or "", dark=args.dark))


def _las(source: Source, cloud: Cloud, classes: Classes, args: argparse.Namespace) -> None:
    _ready(args.laz)
    if args.bake:
        cloud = baked(cloud, classes, args.bake)
    note = f"colours: {args.bake}" if args.bake else ""
    names = write_las(args.laz, cloud, classes, crs=reference_system(source.path), note=note)
    print(args.laz)
    if names:
        print(f"its field classification: {', '.join(f'{number} {name}' for number, name in names.items())}")


def _ready(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
