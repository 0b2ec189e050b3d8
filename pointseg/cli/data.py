"""``pointseg data``: look at prepared scenes, verify them, hand them to Pointcept."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pointseg.data.check import check_root
from pointseg.data.classes import load_classes
from pointseg.data.info import RootInfo, describe_root
from pointseg.data.pointcept import export_root
from pointseg.progress import track

HELP = """Look at prepared scenes, verify them, and write them as folders that Pointcept reads.

  pointseg data info data/s3dis
  pointseg data info data/s3dis --json
  pointseg data check data/s3dis
  pointseg data export-pointcept data/scannet --out pointcept/scannet --segment-name segment20

info prints scenes, points, voxels, extents, the classes' shares and the draws of sparse labels. check recomputes
counts, hashes and every point's voxel, and verifies the draws; its exit code is 1 if anything is wrong."""

_BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the nested subcommands."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND", parser_class=type(parser))
    info = commands.add_parser("info", help="scenes, points, voxels, extents, classes, draws")
    info.add_argument("root", metavar="ROOT", type=Path, help="prepared scenes")
    info.add_argument("--json", action="store_true", help="print JSON instead")
    check = commands.add_parser("check", help="verify counts, hashes, ranges, voxels and draws; 1 if anything is wrong")
    check.add_argument("root", metavar="ROOT", type=Path, help="prepared scenes")
    export = commands.add_parser("export-pointcept", help="write folders that Pointcept's datasets read")
    export.add_argument("root", metavar="ROOT", type=Path, help="prepared scenes")
    export.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; made if absent")
    export.add_argument(
        "--segment-name",
        default="segment",
        metavar="NAME",
        help="of the label files: segment20 and segment200 are what its ScanNet datasets read (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    if args.data_command == "info":
        return run_info(args.root, as_json=args.json)
    if args.data_command == "check":
        return run_check(args.root)
    return _export(args.root, args.out, args.segment_name)


def run_info(root: Path, *, as_json: bool) -> int:
    """Print what a root holds; 1 if some of it cannot be opened."""
    info = describe_root(root, watch=lambda folders: track(folders, "reading"))
    if as_json:
        totals = {"scenes": info.scenes, "points": info.points}
        print(json.dumps(totals | asdict(info), indent=1, ensure_ascii=False))
    else:
        _print_info(info, Console(highlight=False, markup=False, emoji=False))
    return 1 if info.damaged else 0


def run_check(root: Path) -> int:
    """Verify a root and print every problem; 1 if there are any."""
    report = check_root(root, watch=lambda folders: track(folders, "checking"))
    for problem in report.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if report.no_hashes:
        shown = ", ".join(report.no_hashes[:3]) + (", ..." if len(report.no_hashes) > 3 else "")
        print(f"note: no hashes stored for all files of {len(report.no_hashes)} scenes ({shown}); prepared before")
    found = f"{len(report.problems)} problems" if report.problems else "everything is as it should be"
    print(f"{root}: {report.scenes} scenes, {report.points:,} points, {report.draws} draws checked; {found}")
    return 1 if report.problems else 0


def _export(root: Path, out: Path, segment_name: str) -> int:
    export = export_root(root, out, segment_name=segment_name, watch=lambda scenes: track(scenes, "exporting"))
    print(f"{out}: {export.scenes} scenes, {export.files} files")
    for note in export.notes:
        print(f"note: {note}")
    return 0


def _print_info(info: RootInfo, console: Console) -> None:
    title = f"{info.root}: {', '.join(info.datasets)}, {info.scenes} scenes, {info.points:,} points"
    console.print(title, soft_wrap=True)
    console.print(_splits(info))
    if info.extent is not None:
        console.print(_extents(info))
    for line in _facts(info):
        console.print(line, soft_wrap=True)
    if sum(info.classes.values()) + info.ignored:
        console.print(_histogram(info))
    if info.draws:
        console.print(_draws(info))
    for sentence in info.damaged:
        console.print(f"damaged: {sentence}", soft_wrap=True)


def _table(*headings: str) -> Table:
    """A plain table: the first column is text, the others are numbers."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _splits(info: RootInfo) -> Table:
    table = _table("split", "scenes", "points", *(f"voxels {grid.size} m" for grid in info.grids))
    for split in info.splits:
        voxels = (f"{split.voxels.get(grid.size, 0):,}" for grid in info.grids)
        table.add_row(split.name, str(split.scenes), f"{split.points:,}", *voxels)
    table.add_section()
    table.add_row("all", str(info.scenes), f"{info.points:,}", *(f"{grid.voxels:,}" for grid in info.grids))
    table.add_row("points per voxel", "", "", *(f"{grid.points_per_voxel:.1f}" for grid in info.grids))
    return table


def _extents(info: RootInfo) -> Table:
    assert info.extent is not None
    table = _table("extent of a scene, m", "least", "median", "most")
    for axis, spread in zip("xyz", info.extent, strict=True):
        table.add_row(axis, *(f"{value:,.1f}" for value in (spread.least, spread.median, spread.most)))
    return table


def _facts(info: RootInfo) -> list[str]:
    lines = []
    if info.spacing is not None:
        density = float(f"{info.spacing**-2:.2g}")
        lines.append(f"density: about {density:,.0f} points per m2 of surface ({100 * info.spacing:.2g} cm apart)")
    elif info.grids:
        lines.append(f"density: too low to tell; voxels of {info.grids[-1].size} m hold fewer than 2 points")
    there = [
        name if scenes == info.scenes else f"{name} ({scenes} of {info.scenes} scenes)"
        for name, scenes in info.arrays.items()
        if scenes
    ]
    absent = [name for name, scenes in info.arrays.items() if not scenes]
    lines.append(f"arrays: {', '.join(there)}" + (f"; no {', '.join(absent)}" if absent else ""))
    if info.offset is not None:
        low, high = (f"({', '.join(f'{value:,.0f}' for value in corner)})" for corner in info.offset)
        lines.append(f"offset, m: {low}" + ("" if low == high else f" to {high}"))
    lines += [f"reference system: {name} ({scenes} of {info.scenes} scenes)" for name, scenes in info.crs.items()]
    repairs, scenes = info.repairs
    lines.append(f"repairs: {repairs:,} in {scenes} scenes" if repairs else "repairs: none")
    return lines


def _histogram(info: RootInfo) -> Table:
    colors = load_classes(Path(info.root) / "classes.yaml").colors
    rows = [*info.classes.items(), *([("ignored (-1)", info.ignored)] if info.ignored else [])]
    total, most = sum(count for _, count in rows), max(count for _, count in rows)
    table = _table("class", "points", "%")
    table.add_column("", justify="left", no_wrap=True)
    for number, (name, count) in enumerate(rows):
        color = tuple(colors[number]) if number < len(colors) else (128, 128, 128)
        bar = Text(_bar(count / most), style=f"rgb({color[0]},{color[1]},{color[2]})")
        table.add_row(name, f"{count:,}", f"{100 * count / total:.1f}" if count else "-", bar)
    if info.unlabelled_scenes:
        table.caption = f"{info.unlabelled_scenes} of {info.scenes} scenes have no ground truth"
    return table


def _bar(share: float) -> str:
    """A bar of eighths of a character; anything above nothing can be seen."""
    eighths = max(round(share * _BAR * 8), 1) if share > 0 else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _draws(info: RootInfo) -> Table:
    table = _table("sparse labels", "rule", "scenes", "labels", "% of points")
    for draw in info.draws:
        table.add_row(draw.name, draw.rule, str(draw.scenes), f"{draw.labels:,}", f"{100 * draw.share_of_points:.3g}")
    return table
