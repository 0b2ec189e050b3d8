"""What every command of the project shares: a parser with one-line errors, and mistakes turned into exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pointseg.errors import InputError
from pointseg.out_of_memory import is_out_of_memory, out_of_memory_reason

# OpenMP threads that spin long while waiting starve each other on a shared machine (docs/decisions.md). Its runtime
# reads this once, when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes no flag for another one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        # Argparse lets the outermost parser complain, whose help does not list the flags of the subcommand.
        namespace, unknown = super().parse_known_args(*args, **kwargs)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see '{self.prog} --help')\n")


def describe(error: OSError) -> str:
    """An error of the system in one sentence; of a full disk, what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f", where {error.filename} was to be written" if error.filename else ""
        return f"no space left on the disk{where}; free some, or choose another place, and run the same command again"
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command; bad input, a file that cannot be used and too little memory become one line and exit code 2.

    Args:
        name: of the program and subcommand, the beginning of the line.
        command: does the work and returns its exit code.

    Returns:
        The command's exit code, 2 after an error of the user's, 130 after Ctrl-C.
    """
    try:
        return command()
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = describe(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = f"{out_of_memory_reason(error)}; use smaller crops, batches or scenes, or another --device"
    except ModuleNotFoundError as error:
        message = f"the package {error.name!r} is not installed; 'pointseg doctor' says what is missing"
    except KeyboardInterrupt as stop:
        print(f"\n{name}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"{name}: error: {message}", file=sys.stderr)
    return 2
