"""Every label-efficient method under one protocol: same labels, backbone, schedule, augmentation and seeds.

python scripts/bench_methods.py --out bench --suites synthetic full
python scripts/bench_methods.py --out bench --suites scannet s3dis --real FOLDER
python scripts/bench_methods.py --out bench --suites claims
python scripts/bench_methods.py --out bench --tables         # print the tables of what is finished, train nothing
python scripts/bench_methods.py --out bench --curves entropy_q accuracy_q   # print what trainings recorded
python scripts/bench_methods.py --out bench --cost           # training step of each method against supervised-only's

FOLDER holds scannet/ and s3dis/ in their native layouts. A cell is one training (suite, label rule, method, seed).
Finished cells are kept and interrupted ones continued, so the same command goes on where it was stopped. Their
scores are in scores.csv too; copied into another folder, it prints the same tables and spares these cells there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
from methods_bench import claims, cost, curves, tables
from methods_bench.cells import BASELINE, Cell, Suite, cells, narrowed, suites
from methods_bench.prepare import prepare
from methods_bench.results import refuse_other_settings
from methods_bench.training import Trainer

from pointseg.errors import InputError


def main() -> int:
    """Prepare, train and print; exit code 0, 1 if a cell failed, 2 for bad arguments, 130 after Ctrl-C."""
    args = _arguments()
    # A plain kill stops the trainings too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [narrowed(suites()[name], args.rules, args.methods) for name in args.suites]
    try:
        if args.cost:
            print(cost.report(args.out, rounds=args.rounds, device=torch.device(args.device)))
            return 0
        code = 0 if args.tables or args.curves else _train(args, chosen)
        for name in args.suites:
            # Rows are compared with the baseline's, whatever is asked for.
            suite = narrowed(suites()[name], args.rules, [BASELINE, *args.methods] if args.methods else [])
            if args.curves:
                _print_curves(args.out, suite, args.seeds, args.curves)
            else:
                _print(args.out, suite, args.seeds)
        return code
    except InputError as error:
        print(f"bench_methods: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the cells that are not finished", file=sys.stderr)
        return 130


def _train(args: argparse.Namespace, chosen: list[Suite]) -> int:
    wanted = cells(chosen, args.seeds)
    prepare(args.out, wanted, args.real)
    failed = Trainer(args.out, args.jobs, args.device).train(wanted)
    for cell in failed:
        print(f"failed: {cell.run(args.out)}.log says why", file=sys.stderr)
    return 1 if failed else 0


def _print(out: Path, suite: Suite, seeds: int) -> None:
    refuse_other_settings(out, cells([suite], seeds))
    for rule in suite.rules:
        amount = tables.label_amount(out, Cell(suite, rule, suite.variants[0], 0))
        print(f"\n{suite.name}, {rule}{amount}\n\n{tables.table(out, suite, rule, seeds)}")
        print(f"\n{tables.versions(out, suite, rule, seeds)}")
        if claims.about(suite):
            print(f"\n{claims.verdicts(out, suite, rule, seeds)}")
    if len(suite.rules) > 1:
        print(f"\n{suite.name}, final mIoU\n\n{tables.overview(out, suite, seeds)}")


def _print_curves(out: Path, suite: Suite, seeds: int, names: list[str]) -> None:
    for rule in suite.rules:
        print(f"\n{suite.name}, {rule}\n\n{curves.table(out, suite, rule, seeds, names)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = os.environ.get("POINTSEG_TEST_DATA")
    parser.add_argument("--out", type=Path, required=True, help="folder of data, runs and results")
    parser.add_argument("--suites", nargs="+", choices=list(suites()), default=["synthetic", "full"])
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="rows of the tables (default: all)")
    parser.add_argument("--rules", nargs="+", default=[], metavar="RULE", help="label rules (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time (default: cores)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--real", type=Path, default=real, help="folder of real scenes (default: $POINTSEG_TEST_DATA)")
    parser.add_argument("--tables", action="store_true", help="only print the tables")
    parser.add_argument(
        "--curves",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"only print these scalars of the runs, means of the last {curves.RECORDS} records",
    )
    parser.add_argument("--cost", action="store_true", help="only measure the training step of each method")
    parser.add_argument("--rounds", type=int, default=5, help="of --cost")
    args = parser.parse_args()
    known = {variant.name for suite in suites().values() for variant in suite.variants}
    for name in args.methods:
        if name not in known:
            parser.error(f"--methods: there is no row {name!r}; allowed are {', '.join(sorted(known))}")
    rules = {rule for suite in suites().values() for rule in suite.rules}
    for rule in args.rules:
        if rule not in rules:
            parser.error(f"--rules: there is no rule {rule!r}; allowed are {', '.join(sorted(rules))}")
    for name in ("seeds", "jobs", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; it must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(main())
