"""``pointseg``: finds the subcommand and runs it."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from pointseg import __version__
from pointseg.commandline import Parser, guarded

COMMANDS: dict[str, str] = {
    "prepare": "raw scans or synthetic rooms -> prepared, voxelised scenes",
    "data": "look at, verify and export prepared scenes",
    "label": "draw or import sparse labels and store them",
    "train": "train a network from sparse labels",
    "evaluate": "score runs on every raw point of the held-out scenes",
    "predict": "label cloud files, or the prepared scenes of a run",
    "view": "clouds and predictions in the browser; pictures, offline pages, PLY and LAZ",
    "doctor": "show versions, devices, the engine in use and what is missing",
}
"""Subcommands and their lines in ``--help``; each lives in the module of its name and is imported only when called."""


def build_parser(command: str | None) -> Parser:
    """The parser; only ``command`` gets its arguments, so that the others need not be imported."""
    parser = Parser(prog="pointseg", description="Segment 3D point clouds from a handful of labels.")
    parser.add_argument("--version", action="version", version=f"pointseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, line in COMMANDS.items():
        sub = commands.add_parser(name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == command:
            module = importlib.import_module(f"pointseg.cli.{name}")
            sub.description = module.HELP
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None = those of the process.

    Returns:
        The exit code: 0 done, 1 done in part, 2 bad input, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    command = next((a for a in arguments if a in COMMANDS), None)

    def run() -> int:
        options = build_parser(command).parse_args(arguments)
        return int(options.run(options))

    return guarded(f"pointseg {command}" if command else "pointseg", run)


if __name__ == "__main__":
    sys.exit(main())
