"""``pointseg train``."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from pointseg.errors import InputError
from pointseg.methods.distributed import world_size
from pointseg.out_of_memory import is_out_of_memory, out_of_memory_reason
from pointseg.progress import progress_bar
from pointseg.training import Run, TrainConfig, load_recipe, train
from pointseg.training.determinism import deterministic_algorithms
from pointseg.training.processes import SharedError, first_does, is_first, joined
from pointseg.training.recipe import list_recipes

HELP = """Train a network from sparse labels by a recipe.

  pointseg train synthetic_erda --data DATA --labels 0.1pct_seed0 --out runs/erda
  pointseg train my_recipe.yaml --out runs/mine --set optimizer.lr=0.002 steps=2000
  pointseg train synthetic_erda --data DATA --labels 0.1pct_seed0 --out runs/erda --resume
  pointseg train --recipes
  torchrun --nproc-per-node 2 -m pointseg.cli.main train ...        2 processes share every batch

The run folder holds the resolved recipe, checkpoints, metrics.jsonl and TensorBoard events
(tensorboard --logdir runs), and report.md at the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a YAML file, or the name of a recipe that comes with pointseg")
    parser.add_argument("--recipes", action="store_true", help="list the recipes that come with pointseg, and end")
    parser.add_argument("--out", metavar="RUN", help="run folder to write")
    parser.add_argument("--data", metavar="ROOT", help="folder of prepared scenes (data.root of the recipe)")
    parser.add_argument("--labels", metavar="NAME", help="name of a sparse-label draw, or 'full' (data.labels)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override settings")
    parser.add_argument("--seed", type=int, help="seed of the run")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: CUDA if there is one)")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that load data (default 1; 0 = none), of each that trains"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --out from its last checkpoint")
    parser.add_argument(
        "--deterministic", action="store_true", help="bit-identical runs on a GPU too, at some cost in speed"
    )


def run(args: argparse.Namespace) -> int:
    if args.recipes:
        for name, what in list_recipes().items():
            print(f"{name:40} {what}")
        return 0
    with joined(args.device) as device:
        try:
            return _run(args, device)
        except (SharedError, KeyboardInterrupt) as end:
            # What ends all processes is told once.
            if is_first():
                raise
            return 2 if isinstance(end, SharedError) else 130


def _run(args: argparse.Namespace, device: torch.device) -> int:
    run = first_does(lambda: _create(args)) or Run.open(args.out)
    if run.finished:
        if is_first():
            print(f"{run.path} is finished already ({run.config.steps} steps)", file=sys.stderr)
        return 0
    total = run.config.steps
    bar = progress_bar()
    task = bar.add_task(f"{run.config.method_name} on {_where(device)}", total=total, status="")

    def show(done: int, scalars: dict[str, float]) -> None:
        if not is_first():
            return
        if bar.console.is_terminal:
            bar.start()
            bar.update(task, completed=done, status=_status(scalars))
        elif done * 20 // total > (done - 1) * 20 // total:
            print(f"step {done}/{total}  {_status(scalars)}", file=sys.stderr, flush=True)

    package = logging.getLogger("pointseg")
    above_bar = _AboveBar(bar.console)
    package.addHandler(above_bar)
    package.propagate = False
    try:
        with deterministic_algorithms(args.deterministic):
            waited = train(run, device=device, workers=args.workers, on_step=show)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f", where {error.filename} was to be written" if error.filename else ""
        raise InputError(
            f"no space left on the disk{where}; free some, then continue from the last checkpoint with the same "
            "command and --resume"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{out_of_memory_reason(error)}; continue from the last checkpoint with the same command and --resume, "
            "where more is free or with fewer --workers, or start again under another --out with a smaller batch_size "
            "or data.max_voxels"
        ) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; the same command with --resume continues from the last checkpoint"
        ) from None
    finally:
        bar.stop()
        package.removeHandler(above_bar)
        package.propagate = True
    if is_first():
        print(f"trained {total} steps into {run.path}; {waited:.0%} of their time was spent waiting for data")
    return 0


def _create(args: argparse.Namespace) -> Run:
    if args.recipe is None or args.out is None:
        raise InputError("give a recipe and --out RUN, as in: pointseg train s3dis_erda_1pct --data DATA --out RUN")
    if args.workers < 0:
        raise InputError(f"--workers is {args.workers}; it must be 0 (load in this process) or more")
    return Run.create(args.out, _recipe(args), resume=args.resume)


def _where(device: torch.device) -> str:
    return f"{device}, {world_size()} processes" if world_size() > 1 else str(device)


class _AboveBar(logging.Handler):
    """Shows warnings through the console of the progress bar, which would otherwise be drawn over them."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname}: {record.getMessage()}"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _recipe(args: argparse.Namespace) -> TrainConfig:
    given = {"data.root": args.data, "data.labels": args.labels, "seed": args.seed}
    overrides = [f"{key}={_quoted(value)}" for key, value in given.items() if value is not None]
    config = load_recipe(args.recipe, [*args.set, *overrides])
    if not config.data.root:
        return config
    # A run must find its data from wherever it is looked at.
    return replace(config, data=replace(config.data, root=str(Path(config.data.root).resolve())))


def _quoted(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _status(scalars: dict[str, float]) -> str:
    shown = {"loss": "loss {:.3f}", "pseudo_label_accuracy": "pseudo {:.2f}", "eval_miou": "mIoU {:.3f}"}
    return "  ".join(text.format(scalars[name]) for name, text in shown.items() if name in scalars)
