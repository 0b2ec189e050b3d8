"""``pointseg label``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pointseg.data.scene import list_scenes, list_splits
from pointseg.data.sparse_labels import SparseLabels, default_name, draw
from pointseg.errors import InputError

HELP = """Store sparse labels, drawn or imported, so that every method and every run reads the same ones.

  pointseg label --data data/s3dis --rule 0.1% --seed 0 --voxel-size 0.05
  pointseg label --data data/s3dis --rule 20pt --seed 1 --splits Area_1 Area_2
  pointseg label --data data/s3dis --rule 200pt/scene
  pointseg label --data data/scannet --from-list META/limited_annotation/points20 --splits train
  pointseg label --data data/mine --clicks clicks.csv --max-distance 0.05
  pointseg label --data data/mine --from-segment

A rule counts on the voxel grid, per scene and class: RATE% annotates max(floor(RATE x voxels), 1) of the voxels'
representative points, Xpt annotates X of them; with /scene behind it, per scene over all classes at once. --from-list
takes the points of a published list with their ground truth, --clicks the points nearest to a person's clicks (a CSV
file with the header x,y,z,class and, for several scenes, scene), --from-segment every point that has a class. Stored in
ROOT/sparse_labels/NAME; the same command again only checks what is there. The exit code is 1 if a click was near no
point."""

HELD_OUT = ("Area_5", "val", "test")
"""S3DIS's test area and what other data sets hold out: never annotated unless named."""

_SHOWN = 20
"""Unmatched clicks that are printed one by one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, type=Path, metavar="ROOT", help="prepared scenes")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--rule", help="a rate such as 0.1%% or points such as 20pt; per scene with /scene behind it")
    what.add_argument("--from-list", type=Path, metavar="FILE", help="a list of annotated points of each scene")
    what.add_argument("--clicks", type=Path, metavar="CSV", help="a person's clicks, x,y,z,class in each line")
    what.add_argument("--from-segment", action="store_true", help="the scenes' own classes, where few points have one")
    parser.add_argument("--seed", type=int, help="of the draw, with --rule (default: 0)")
    parser.add_argument("--max-distance", type=float, metavar="METRES", help="with --clicks (default: 0.05)")
    parser.add_argument(
        "--voxel-size",
        type=float,
        metavar="METRES",
        help="of the stored grid that is drawn from (default: 0.05, or the only one) or that shares are stated on "
        "(default: the finest)",
    )
    parser.add_argument("--name", help="of the labels (default: such as 0.1pct_seed0, or the name of the file)")
    parser.add_argument("--splits", nargs="+", help=f"what to annotate (default: all but {', '.join(HELD_OUT)})")


def run(args: argparse.Namespace) -> int:
    splits = args.splits or [split for split in list_splits(args.data) if split not in HELD_OUT]
    if not splits:
        held_out = ", ".join(HELD_OUT)
        raise InputError(f"{args.data} holds no scenes outside {held_out}; name what to annotate with --splits")
    for flag, given, owner in (("--seed", args.seed, args.rule), ("--max-distance", args.max_distance, args.clicks)):
        if given is not None and owner is None:
            raise InputError(f"{flag} is {given}, but nothing here depends on it; leave it out")
    folder = args.data / "sparse_labels"
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    labels = _store(args, splits)
    Console(highlight=False, markup=False, emoji=False).print(_table(labels))
    for line in _notes(labels):
        print(line)
    print(f"{'already there and unchanged' if labels.name in before else 'stored'}: {labels.path}")
    return 1 if labels.spec.get("unmatched") else 0


def _store(args: argparse.Namespace, splits: list[str]) -> SparseLabels:
    if args.rule is not None:
        seed = 0 if args.seed is None else args.seed
        voxel_size = _drawn_from(args.data, splits) if args.voxel_size is None else args.voxel_size
        name = default_name(args.rule, seed) if args.name is None else args.name
        return draw(args.data, args.rule, seed=seed, voxel_size=voxel_size, splits=splits, name=name)
    common: dict[str, Any] = {"splits": splits, "voxel_size": args.voxel_size, "name": args.name}
    # Imported where they are needed: they load torch or scikit-learn, which a draw does not wait for.
    if args.clicks is not None:
        from pointseg.data.label_clicks import import_clicks

        max_distance = 0.05 if args.max_distance is None else args.max_distance
        return import_clicks(args.data, args.clicks, max_distance=max_distance, **common)
    from pointseg.data.label_import import import_lists, import_segment

    if args.from_segment:
        return import_segment(args.data, **common)
    from data_prep._scannet_lists import read_point_lists

    return import_lists(args.data, read_point_lists(args.from_list), source=args.from_list, **common)


def _drawn_from(root: Path, splits: list[str]) -> float:
    """The grid of a draw that names none: where the scenes have a single one, that."""
    sizes = {size for scene in list_scenes(root, splits) for size in scene.voxel_sizes}
    return sizes.pop() if len(sizes) == 1 else 0.05


def _notes(labels: SparseLabels) -> list[str]:
    """What an import left out, a line each."""
    spec = labels.spec
    entries = spec["scenes"].values()
    totals = {key: sum(entry.get(key, 0) for entry in entries) for key in ("dropped", "repeated", "merged")}
    notes = [
        f"line {one['line']}: the nearest point of {one['scene']} is {one['distance']:.3g} m away; left out"
        for one in spec.get("unmatched", [])[:_SHOWN]
    ]
    if len(spec.get("unmatched", [])) > _SHOWN:
        notes.append(f"{len(spec['unmatched']) - _SHOWN} more clicks are near no point; spec.json lists them all")
    for count, what in (
        (totals["dropped"], "listed points left out: their ground truth is ignored"),
        (totals["repeated"], "listed points left out: listed twice"),
        (spec.get("other_scenes", 0), "scenes of the list are not among those annotated"),
        (totals["merged"], "clicks left out: on a point that has the same class from another click"),
    ):
        if count:
            notes.append(f"{count:,} {what}")
    if spec.get("scenes_without"):
        notes.append(f"without clicks, so not covered: {', '.join(spec['scenes_without'])}")
    return notes


def _table(labels: SparseLabels) -> Table:
    spec = labels.spec
    source = labels.source
    origin = f"rule {spec['rule']}, seed {spec['seed']}" if source is None else f"from {source.get('file', 'segment')}"
    table = Table(title=f"{labels.name}: {origin}, voxels of {spec['voxel_size']:g} m")
    table.add_column("class")
    for heading in ("annotated points", "scenes", "of raw points", "of voxels"):
        table.add_column(heading, justify="right")
    scenes = [entry["counts"] for entry in spec["scenes"].values()]
    for k, name in enumerate(spec["classes"]):
        drawn = spec["counts"][k]
        totals = (spec[key][k] if spec[key] is not None else 0 for key in ("class_points", "class_voxels"))
        shares = (_percent(drawn / total if total else None) for total in totals)
        table.add_row(name, f"{drawn:,}", str(sum(counts[k] > 0 for counts in scenes)), *shares)
    table.add_section()
    shares = (_percent(spec[key]) for key in ("share_of_points", "share_of_voxels"))
    table.add_row("all", f"{spec['num_labels']:,}", str(len(scenes)), *shares)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"
