"""``pointseg view``."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pointseg.cli.view_files import export_one, write_all
from pointseg.errors import InputError
from pointseg.viewing.colors import MODES
from pointseg.viewing.html import live_page
from pointseg.viewing.live import LOOPBACK, LiveServer, Shelf
from pointseg.viewing.palettes import PALETTES
from pointseg.viewing.payload import MAX_POINTS, pack_scene
from pointseg.viewing.sources import Source, Wishes, named, open_target, paired

HELP = """Look at clouds, labels and predictions in the browser; write pictures, offline pages, files for other tools.

  pointseg view runs/erda                                       # the held-out scenes, predicted when opened
  pointseg view runs/supervised runs/erda                       # two runs side by side
  pointseg view data/s3dis --splits Area_1 --labels 1pct_seed0  # prepared scenes and their annotated points
  pointseg view scan.laz --label-field classification --classes asprs
  pointseg view runs/erda/predictions --out pictures            # a PNG and an offline page of every scene
  pointseg view a.ply b.ply --html both.html                    # two clouds side by side in one offline page
  pointseg view labelled.ply --laz out.laz --bake pred          # for QGIS, potree, CloudCompare

TARGET is a run, a prepared scene, split or root, a cloud file (PLY LAS LAZ E57 PCD XYZ CSV TXT NPY NPZ) or a folder of
them. Without a flag that names an output a page is served to browsers of this machine until Ctrl-C. From a remote
machine forward the port: ssh -L 8080:localhost:8080 user@host."""

_PORT = 8080
_MOST = f"default {MAX_POINTS:,}; of two clouds {MAX_POINTS // 2:,} each"
_OUTPUTS = ("png", "html", "ply", "laz", "out", "desktop")
_SERVED = "served"  # what is asked for where no output is
_USED_BY = {
    **dict.fromkeys(("host", "port", "open"), (_SERVED,)),
    "max_points": (_SERVED, "html", "out"),
    "dark": (_SERVED, "png", "html", "out"),
    "color": (_SERVED, "png", "html", "out", "desktop"),
    "bake": ("ply", "laz"),
}
"""The outputs that a flag has an effect on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("targets", nargs="+", metavar="TARGET", type=Path, help="one, or two to compare")
    show = parser.add_argument_group("what is shown")
    show.add_argument("--splits", nargs="+", default=[], help="of a prepared root or run (default: all; held-out ones)")
    show.add_argument("--scene", metavar="NAME", help="one scene of a target, such as Area_5/office_1")
    show.add_argument("--labels", metavar="NAME", help="stored sparse labels to show on prepared scenes")
    show.add_argument("--label-field", metavar="FIELD", help="field of a cloud file that is its ground truth")
    show.add_argument("--classes", metavar="NAME_OR_FILE", help="class names and colours, instead of the target's own")
    show.add_argument("--palette", choices=PALETTES, default="own", help="safe: for colour vision deficiency")
    show.add_argument("--color", choices=tuple(MODES), metavar="MODE", help=f"to begin with: {', '.join(MODES)}")
    show.add_argument("--dark", action="store_true", help="dark background")
    show.add_argument("--max-points", type=int, metavar="N", help=f"most of a cloud on a page ({_MOST})")
    show.add_argument("--checkpoint", help="of a run: final (default), best, or a folder's name")
    show.add_argument("--device", help="to predict on: cpu, cuda, mps (default: CUDA if there is one)")
    live = parser.add_argument_group("the live page")
    live.add_argument("--host", help=f"address to listen on (default {LOOPBACK}, this machine only)")
    live.add_argument("--port", type=int, help=f"0 takes any that is free (default {_PORT})")
    live.add_argument("--open", action="store_true", help="open it in this machine's browser")
    files = parser.add_argument_group("instead of it")
    files.add_argument("--png", metavar="FILE", type=Path, help="write a picture")
    files.add_argument("--html", metavar="FILE", type=Path, help="write an offline page; of two targets side by side")
    files.add_argument("--out", metavar="DIR", type=Path, help="write a picture and a page of every scene")
    files.add_argument("--ply", metavar="FILE", type=Path, help="write a PLY file with the labels as scalar fields")
    files.add_argument("--laz", metavar="FILE", type=Path, help="write a LAZ (or LAS) file with the labels as fields")
    files.add_argument("--bake", choices=tuple(MODES), metavar="MODE", help="colours of --ply and --laz")
    files.add_argument("--desktop", action="store_true", help="open a window of Open3D (extra open3d)")


def run(args: argparse.Namespace) -> int:
    """Show what was asked; 1 if some but not all of several scenes could be written."""
    _check(args)
    wishes = Wishes(args.classes, args.palette, tuple(args.splits), args.labels, args.label_field)
    sources = [_open(target, wishes, args) for target in args.targets]
    if args.scene is not None:
        sources = [named(group, args.scene) for group in sources]
    if args.out is not None:
        return write_all(sources, args)
    if _asked(args) != [_SERVED]:
        return export_one(sources, args)
    return _serve(sources, args)


def _check(args: argparse.Namespace) -> None:
    if len(args.targets) > 2:
        raise InputError(f"{len(args.targets)} targets; give one, or two to compare.")
    if args.max_points is not None and args.max_points < 1:
        raise InputError(f"--max-points is {args.max_points}; it must be at least 1.")
    asked = _asked(args)
    if args.out is not None and len(asked) > 1:
        other = next(name for name in asked if name != "out")
        raise InputError(f"--out says where all files go, --{other} asks for one thing; give one or the other.")
    for flag, outputs in _USED_BY.items():
        if _given(args, flag) and not set(asked) & set(outputs):
            uses = " and ".join("the live page" if name == _SERVED else f"--{name}" for name in outputs)
            raise InputError(f"--{flag.replace('_', '-')} is for {uses}; leave it out, or ask for what it is for.")
    for flag in ("checkpoint", "device"):
        if _given(args, flag) and not any(_is_run(target) for target in args.targets):
            raise InputError(f"--{flag} is for runs, and {args.targets[0]} is none; leave it out.")
    alone = [name for name in asked if name not in (_SERVED, "html", "out")]
    if len(args.targets) == 2 and alone:
        raise InputError(f"--{alone[0]} shows one target; leave the other out, or write --html.")
    if args.png is not None and args.png.suffix.lower() != ".png":
        raise InputError(f"{args.png} does not end in .png, the one kind of picture that --png writes; name it so.")


def _asked(args: argparse.Namespace) -> list[str]:
    return [name for name in _OUTPUTS if _given(args, name)] or [_SERVED]


def _given(args: argparse.Namespace, flag: str) -> bool:
    value = getattr(args, flag)
    return value is not None and value is not False  # port 0 is given


def _is_run(target: Path) -> bool:
    return (target / "config.yaml").is_file()


def _open(target: Path, wishes: Wishes, args: argparse.Namespace) -> list[Source]:
    if _is_run(target):
        # Here, because only runs need torch, which takes seconds to import.
        from pointseg.cli.run_clouds import open_run

        return open_run(target, wishes, args.checkpoint or "final", args.device)
    return open_target(target, wishes)


def _serve(sources: Sequence[list[Source]], args: argparse.Namespace) -> int:
    every = [source for group in sources for source in group]
    first = dict(zip("ab", map(every.index, _first_pair(sources)), strict=False))
    address = "#" + "&".join(f"{side}={number}" for side, number in first.items())
    clouds = [
        {"id": i, "name": source.name, "source": source.source, "place": source.place or source.name}
        for i, source in enumerate(every)
    ]
    for side, number in first.items():
        clouds[number]["first"] = side  # shown where the address does not say what
    page = live_page(clouds, title=every[0].source, mode=args.color or "", dark=args.dark)
    most = args.max_points or MAX_POINTS // len(sources)
    shelf = Shelf(every, lambda cloud, classes: pack_scene(cloud, classes, most))
    port = _PORT if args.port is None else args.port
    with LiveServer(page, shelf, args.host or LOOPBACK, port) as server:
        url = server.url + (address if len(sources) == 2 else "")
        print(f"{len(every)} {'scene' if len(every) == 1 else 'scenes'} at {url}")
        if server.only_here:
            tunnel = f"ssh -L {server.port}:localhost:{server.port} user@host"
            print(f"from another machine: {tunnel}, then the same address")
        else:
            warning = f"warning: --host {args.host} lets every machine that reaches this one see the scenes"
            print(warning, file=sys.stderr)
        print("Ctrl-C ends it.", flush=True)
        if args.open and not webbrowser.open(url):
            print("no browser could be opened here", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")
    return 0


def _first_pair(sources: Sequence[list[Source]]) -> tuple[Source, ...]:
    return (sources[0][0],) if len(sources) == 1 else paired(sources[0], sources[1])[0]
