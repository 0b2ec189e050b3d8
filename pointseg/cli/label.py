"""``pointseg label``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pointseg.data.scene import list_splits
from pointseg.data.sparse_labels import SparseLabels, default_name, draw
from pointseg.errors import InputError

HELP = """Draw sparse labels and store the draw, so that every method and every run reads the same one.

  pointseg label --data data/s3dis --rule 0.1% --seed 0 --voxel-size 0.05
  pointseg label --data data/s3dis --rule 20pt --seed 1 --splits Area_1 Area_2

The rule counts on the voxel grid, per scene and class: RATE% annotates max(floor(RATE x voxels), 1) of the voxels'
representative points, Xpt annotates X of them. Stored in ROOT/sparse_labels/NAME; the same command again only checks
what is there."""

HELD_OUT = "Area_5"
"""S3DIS's test area: never annotated unless it is named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, type=Path, metavar="ROOT", help="prepared scenes")
    parser.add_argument("--rule", required=True, help="a rate such as 0.1%% or points per class and scene such as 20pt")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument(
        "--voxel-size", type=float, default=0.05, metavar="METRES", help="of the stored grid (default: %(default)s)"
    )
    parser.add_argument("--name", help="of the draw (default: such as 0.1pct_seed0)")
    parser.add_argument("--splits", nargs="+", help=f"what to annotate (default: all but {HELD_OUT})")


def run(args: argparse.Namespace) -> int:
    splits = args.splits or [split for split in list_splits(args.data) if split != HELD_OUT]
    if not splits:
        raise InputError(f"{args.data} holds no scenes outside {HELD_OUT}; name what to annotate with --splits")
    name = default_name(args.rule, args.seed) if args.name is None else args.name
    existed = (args.data / "sparse_labels" / name).is_dir()
    labels = draw(args.data, args.rule, seed=args.seed, voxel_size=args.voxel_size, splits=splits, name=name)
    Console().print(_table(labels))
    print(f"{'already there and unchanged' if existed else 'stored'}: {labels.path}")
    return 0


def _table(labels: SparseLabels) -> Table:
    spec = labels.spec
    table = Table(title=f"{labels.name}: rule {spec['rule']}, seed {spec['seed']}, voxels of {spec['voxel_size']:g} m")
    table.add_column("class")
    for heading in ("annotated points", "scenes", "of raw points", "of voxels"):
        table.add_column(heading, justify="right")
    scenes = [entry["counts"] for entry in spec["scenes"].values()]
    for k, name in enumerate(spec["classes"]):
        drawn = spec["counts"][k]
        shares = (_percent(drawn, spec[total][k]) for total in ("class_points", "class_voxels"))
        table.add_row(name, f"{drawn:,}", str(sum(counts[k] > 0 for counts in scenes)), *shares)
    table.add_section()
    drawn = spec["num_labels"]
    shares = (_percent(drawn, spec[total]) for total in ("num_points", "num_voxels"))
    table.add_row("all", f"{drawn:,}", str(len(scenes)), *shares)
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "-"
