"""The few lines that turn a ``data_prep`` module into a command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from pointseg.commandline import Parser, guarded


def run_module(
    help_text: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse the command line and run one preparation step.

    Args:
        help_text: The module's ``HELP``.
        add_arguments: Adds the module's flags to a parser.
        run: Does the work; its result is the exit code.
        argv: Arguments without the program name; the process's own when None.

    Returns:
        The exit code: what ``run`` returned, or 2 after bad input (reported as one line on stderr).
    """
    parser = Parser(description=help_text)
    add_arguments(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return guarded(parser.prog, lambda: run(args))
