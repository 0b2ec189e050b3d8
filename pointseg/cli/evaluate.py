"""``pointseg evaluate``."""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pointseg.cli.scored_scenes import ScoredScenes, require_same_scenes, unlike_points
from pointseg.commandline import describe
from pointseg.data.classes import load_classes
from pointseg.data.scene import PreparedScene, list_scenes, list_splits
from pointseg.device import pick_device
from pointseg.errors import InputError
from pointseg.evaluation import Evaluation, Interval, evaluate_scenes, miou_difference, miou_interval, pooled
from pointseg.evaluation.evaluate import interval_json
from pointseg.evaluation.folds import Fold, check_folds
from pointseg.evaluation.pictures import calibration_picture, confusion_picture, save_picture
from pointseg.evaluation.submission import check_submission, write_submission
from pointseg.inference.predict import ScenePrediction
from pointseg.inference.voting import predict_by_votes
from pointseg.progress import track
from pointseg.training import Run
from pointseg.viewing.bars import iou_bars

HELP = """Score runs on every raw point of the held-out scenes, side by side.

  pointseg evaluate runs/supervised runs/erda
  pointseg evaluate runs/erda --checkpoint best --splits Area_1 --votes 8 --scenes
  pointseg evaluate --folds runs/area1 runs/area2 runs/area3 runs/area4 runs/area5 runs/area6
  pointseg evaluate runs/scannet --splits test --submission to_send
  pointseg evaluate --check to_send --data data/scannet --splits test

miou, macc and oacc are over raw points; miou_voxel is over voxels and always named so. The scores, with per-class IoU,
per-scene mIoU, intervals and the confusion matrices, are stored in RUN/evaluation/<checkpoint>_<splits>.json (with
--data, the folder's name and a hash of its path before it), with pictures of the confusion matrix and the calibration
beside it."""


EVALUATION = "evaluation"
"""The folder of a run that scores are stored in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders")
    parser.add_argument("--checkpoint", default="final", help="final (default), best, or a folder in RUN/checkpoints")
    parser.add_argument("--splits", nargs="+", default=[], help="splits to score (default: the recipe's eval_splits)")
    parser.add_argument("--data", metavar="ROOT", help="prepared scenes, if not where the run was trained")
    parser.add_argument("--device", help="cpu, cuda, mps (default: CUDA if there is one)")
    parser.add_argument("--votes", type=int, default=1, metavar="N", help="predict N turned, mirrored, scaled views")
    parser.add_argument("--scenes", action="store_true", help="print the mIoU of every scene")
    job = parser.add_mutually_exclusive_group()
    job.add_argument("--folds", action="store_true", help="cross-validation: score each run on the splits it holds out")
    job.add_argument("--submission", metavar="FOLDER", help="write benchmark files of one run instead of scoring it")
    job.add_argument("--check", metavar="FOLDER", help="check benchmark files against the prepared scenes of --data")


def run(args: argparse.Namespace) -> int:
    if args.votes < 1:
        raise InputError(f"--votes is {args.votes}; it must be 1 (the scene as it is) or more")
    if args.check:
        return _check(args)
    if not args.runs:
        raise InputError("no run was given; name one or more run folders")
    runs = {path: Run.open(path) for path in args.runs}
    if args.submission:
        return _submit(args, runs)
    first = runs[args.runs[0]]
    if any(run.classes.names != first.classes.names for run in runs.values()):
        raise InputError("the runs were trained on different class files and cannot share a table; evaluate them apart")
    for path in runs:
        _require_writable(Path(path) / EVALUATION)
    return _folds(args, runs) if args.folds else _side_by_side(args, runs)


def _require_writable(folder: Path) -> None:
    """See that scores can be stored before they are computed, which may take hours."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".trial.", suffix=".tmp"):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}, where the scores are to be stored, cannot be written ({error.strerror}); allow it or free some "
            "space, or evaluate a copy of the run"
        ) from error


def _side_by_side(args: argparse.Namespace, runs: dict[str, Run]) -> int:
    first = next(iter(runs))
    splits = args.splits or list(runs[first].config.data.eval_splits)
    if not splits:
        raise InputError(f"{first} was trained without held-out splits; name splits to score with --splits")
    if not args.splits and any(list(run.config.data.eval_splits) != splits for run in runs.values()):
        raise InputError("the runs hold out different splits and cannot share a table; name the splits with --splits")
    scored = {path: ScoredScenes.of(run, args.splits, args.data) for path, run in runs.items()}
    require_same_scenes(scored)
    for warning in (seen.warning(path) for path, seen in scored.items() if seen.trained_on):
        print(f"warning: {warning}", file=sys.stderr)
    columns: dict[str, Evaluation] = {}
    differences: list[str] = []
    stored, unstored = list[Path](), list[str]()
    for (path, run), name in zip(runs.items(), _short_names(runs), strict=True):
        evaluation = columns[name] = _evaluate(args, run, scored[path].scenes)
        base = next(iter(columns))
        more: dict[str, Any] = {"trained_on": bool(scored[path].trained_on)}
        unlike = unlike_points(scored[first], scored[path])
        if unlike:
            differences.append(f"miou of {name} minus {base}: not compared, since {unlike}")
        elif name != base:
            difference = miou_difference(columns[base].matrices, evaluation.matrices)
            more |= {"miou_minus": {"run": first, **interval_json(difference)}}
            differences.append(f"miou of {name} minus {base}: {_signed(difference)}")
        with _told_at_the_end(unstored):
            file = _store(args, Path(path), evaluation, splits, more)
            beside = dict.fromkeys((name,) if unlike else (base, name))
            compared = {other: columns[other].points.iou for other in beside}
            save_picture(file.with_suffix(".iou.png"), iou_bars(compared, run.classes))
            stored.append(file.parent)
    console = Console(highlight=False, markup=False, emoji=False)
    marked = [bool(seen.trained_on) for seen in scored.values()]
    console.print(_table(columns, f"{_what(args)} on {', '.join(splits)}", marked))
    for line in differences:
        console.print(line)
    _print_scenes(args, console, columns)
    return _ended(stored, unstored)


def _folds(args: argparse.Namespace, runs: dict[str, Run]) -> int:
    if args.splits:
        raise InputError("--folds scores each run on the splits it holds out; leave --splits away")
    first = next(iter(runs.values()))
    settings = {path: run.config.data for path, run in runs.items()}
    check_folds(
        {path: Fold(data.eval_splits, data.train_splits) for path, data in settings.items()},
        list_splits(args.data or first.config.data.root),
    )
    columns: dict[str, Evaluation] = {}
    stored, unstored = list[Path](), list[str]()
    for path, run in runs.items():
        splits = list(settings[path].eval_splits)
        evaluation = columns[", ".join(splits)] = _evaluate(args, run, run.scenes(splits, args.data))
        with _told_at_the_end(unstored):
            _store(args, Path(path), evaluation, splits, {})
    together = columns[f"all {len(runs)}"] = pooled(list(columns.values()))
    with _told_at_the_end(unstored):
        stored.append(_store(args, Path(args.runs[0]), together, [f"{len(runs)}folds"], {"runs": list(runs)}))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_table(columns, f"{_what(args)}, {len(runs)} folds pooled"))
    _print_scenes(args, console, {"miou": together})
    return _ended(stored, unstored)


@contextmanager
def _told_at_the_end(unstored: list[str]) -> Iterator[None]:
    """Scores that cannot be stored keep no others from being computed, stored and shown."""
    try:
        yield
    except OSError as error:
        unstored.append(describe(error))


def _ended(stored: Sequence[Path], unstored: Sequence[str]) -> int:
    for path in stored:
        print(f"stored in {path}")
    if unstored:
        raise InputError(f"not all scores could be stored: {'; '.join(dict.fromkeys(unstored))}")
    return 0


def _submit(args: argparse.Namespace, runs: dict[str, Run]) -> int:
    if len(args.runs) != 1:
        raise InputError(f"{len(args.runs)} runs were given; a submission is made by one")
    if not args.splits:
        raise InputError("a submission needs --splits, such as --splits test")
    run = runs[args.runs[0]]
    predict, scenes = _predictor(args, run), run.scenes(args.splits, args.data)
    folder = write_submission(
        Path(args.submission), track(scenes, "predicting"), lambda scene: predict(scene).pred, run.classes
    )
    print(f"{len(scenes)} files in {folder}")
    return _report(folder, check_submission(folder, scenes, run.classes))


def _check(args: argparse.Namespace) -> int:
    if not args.data or args.runs:
        raise InputError("--check needs the prepared scenes, --data ROOT, and no run")
    classes = load_classes(Path(args.data) / "classes.yaml")
    return _report(
        Path(args.check), check_submission(Path(args.check), list_scenes(args.data, args.splits or None), classes)
    )


def _report(folder: Path, problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print(f"{folder}: {f'{len(problems)} problems' if problems else 'everything is as it should be'}")
    return 1 if problems else 0


def _predictor(args: argparse.Namespace, run: Run) -> Callable[[PreparedScene], ScenePrediction]:
    device: torch.device = pick_device(args.device)
    data = run.config.data
    return functools.partial(
        predict_by_votes,
        run.load_model(args.checkpoint, device),
        votes=args.votes,
        voxel_size=data.voxel_size,
        features=data.features,
        device=device,
        precision=run.config.precision,
    )


def _evaluate(args: argparse.Namespace, run: Run, scenes: Sequence[PreparedScene]) -> Evaluation:
    shown = track(scenes, f"evaluating {run.path.name}")
    return evaluate_scenes(shown, _predictor(args, run), run.classes.names, run.annotated_points)


def _store(
    args: argparse.Namespace, run: Path, evaluation: Evaluation, splits: Sequence[str], more: dict[str, Any]
) -> Path:
    """Write the scores and their pictures into a run folder."""
    root, data = "", Path(args.data or "").resolve()
    if args.data is not None:
        # Two roots may go by one name.
        root, more = f"{data.name}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:8]}_", more | {"data": str(data)}
    votes = "" if args.votes == 1 else f"_{args.votes}votes"
    path = run / EVALUATION / f"{root}{args.checkpoint}_{'-'.join(splits)}{votes}.json"
    evaluation.save(path, {"votes": args.votes, **more})
    save_picture(path.with_suffix(".confusion.png"), confusion_picture(evaluation.matrix, evaluation.classes))
    save_picture(path.with_suffix(".calibration.png"), calibration_picture(evaluation.calibration))
    return path


def _what(args: argparse.Namespace) -> str:
    return f"{args.checkpoint} checkpoint" + ("" if args.votes == 1 else f", {args.votes} votes")


def _short_names(paths: dict[str, Run]) -> list[str]:
    short = [Path(path).name for path in paths]
    return [name if short.count(name) == 1 else path for path, name in zip(paths, short, strict=True)]


def _table(columns: dict[str, Evaluation], title: str, trained_on: Sequence[bool] = ()) -> Table:
    caption = "* trained on every label of scenes that are scored" if any(trained_on) else None
    table = Table(title=f"{title}; in %, raw points unless named voxel", caption=caption)
    table.add_column("")
    for name, marked in itertools.zip_longest(columns, trained_on):
        table.add_column(f"{name} *" if marked else name, justify="right")
    for score in ("miou", "macc", "oacc", "miou_voxel"):
        table.add_row(score, *[_percent(e.summary()[score]) for e in columns.values()], style="bold")
    table.add_row("miou, 95 % of resamples", *[_range(miou_interval(e.matrices)) for e in columns.values()])
    table.add_row("calibration error", *[_percent(e.calibration.error) for e in columns.values()])
    table.add_section()
    for i, name in enumerate(next(iter(columns.values())).classes):
        table.add_row(f"IoU {name}", *[_percent(float(e.points.iou[i])) for e in columns.values()])
    return table


def _print_scenes(args: argparse.Namespace, console: Console, columns: dict[str, Evaluation]) -> None:
    if not args.scenes:
        return
    table = Table(title="miou of each scene, in %, raw points")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left", no_wrap=not name)
    scores = [evaluation.scene_miou for evaluation in columns.values()]
    for scene in scores[0]:
        table.add_row(scene, *[_percent(column[scene]) for column in scores])
    console.print(table)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _range(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{_percent(interval.low)} to {_percent(interval.high)}"


def _signed(interval: Interval) -> str:
    limits = "" if math.isnan(interval.low) else f" ({100 * interval.low:+.1f} to {100 * interval.high:+.1f} in 95 %)"
    return f"{100 * interval.value:+.1f}{limits}"
