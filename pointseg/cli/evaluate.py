"""``pointseg evaluate``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pointseg.device import pick_device
from pointseg.errors import InputError
from pointseg.evaluation import Evaluation
from pointseg.progress import track
from pointseg.training import Run
from pointseg.training.loop import evaluate_network

HELP = """Score runs on every raw point of the held-out scenes, side by side.

  pointseg evaluate runs/supervised runs/erda
  pointseg evaluate runs/erda --checkpoint best --splits Area_1

miou, macc and oacc are over raw points; miou_voxel is over voxels and always named so. The scores, with per-class IoU,
per-scene mIoU and the confusion matrices, are stored in RUN/evaluation/<checkpoint>_<splits>.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--checkpoint", default="final", help="final (default), best, or a folder in RUN/checkpoints")
    parser.add_argument("--splits", nargs="+", default=[], help="splits to score (default: the recipe's eval_splits)")
    parser.add_argument("--data", metavar="ROOT", help="prepared scenes, if not where the run was trained")
    parser.add_argument("--device", help="cpu, cuda, mps (default: CUDA if there is one)")


def run(args: argparse.Namespace) -> int:
    device = pick_device(args.device)
    runs = [Run.open(path) for path in args.runs]
    if any(run.classes.names != runs[0].classes.names for run in runs):
        raise InputError("the runs were trained on different class files and cannot share a table; evaluate them apart")
    splits = args.splits or list(runs[0].config.data.eval_splits)
    if not splits:
        raise InputError(f"{args.runs[0]} was trained without held-out splits; name splits to score with --splits")
    if not args.splits and any(list(run.config.data.eval_splits) != splits for run in runs):
        raise InputError("the runs hold out different splits and cannot share a table; name the splits with --splits")
    short = [Path(path).name for path in args.runs]
    names = {path: name if short.count(name) == 1 else path for path, name in zip(args.runs, short, strict=True)}
    columns: list[tuple[str, Evaluation]] = []
    for path, run in zip(args.runs, runs, strict=True):
        model = run.load_model(args.checkpoint, device)
        scenes = run.scenes(args.splits, args.data)
        evaluation = evaluate_network(run, model, track(scenes, f"evaluating {run.path.name}"), device)
        root = "" if args.data is None else f"{Path(args.data).resolve().name}_"
        evaluation.save(run.path / "evaluation" / f"{root}{args.checkpoint}_{'-'.join(splits)}.json")
        columns.append((names[path], evaluation))
    Console().print(_table(columns, f"{args.checkpoint} checkpoint on {', '.join(splits)}"))
    for path in args.runs:
        print(f"stored in {Path(path) / 'evaluation'}")
    return 0


def _table(columns: list[tuple[str, Evaluation]], title: str) -> Table:
    table = Table(title=f"{title}; in %, raw points unless named voxel")
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for score in ("miou", "macc", "oacc", "miou_voxel"):
        table.add_row(score, *[_percent(e.summary()[score]) for _, e in columns], style="bold")
    table.add_section()
    for i, name in enumerate(columns[0][1].classes):
        table.add_row(f"IoU {name}", *[_percent(float(e.points.iou[i])) for _, e in columns])
    return table


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
