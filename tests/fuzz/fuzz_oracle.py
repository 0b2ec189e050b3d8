"""What any file may do to a parser: be read as its contract says, or be refused in one line. Nothing else."""

import faulthandler
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from pointseg.errors import InputError

SECONDS = 10
FACTOR = 64
LONGEST_MESSAGE = 4000


class HangError(BaseException):
    """Not an Exception, so that no parser takes it for one of a library's."""


def check_file(read: Callable[[Path], None], path: Path, allowance: int = 64 << 20) -> bool:
    """Read a file and see that nothing happened that must not.

    Args:
        read: Reads the file and asserts what the parser promises of its result.
        path: The file.
        allowance: Bytes that reading may take beside some times the file's size.

    Returns:
        Whether it was read; False if it was refused.
    """
    try:
        more = allowance + FACTOR * path.stat().st_size
        with _watched(), _bounded_memory(more), warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            read(path)
    except InputError as error:
        _check_message(error)
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert not raised, f"a warning reached the user: {raised[0]}"
    return True


def _check_message(error: InputError) -> None:
    message = str(error)
    assert len(message.splitlines()) == 1, f"not one line: {message!r}"
    assert len(message) <= LONGEST_MESSAGE, f"{len(message)} characters: {message[:300]!r}"
    message.encode()
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), f"memory ran out before the file was refused: {message}"
        assert "alloc" not in str(cause).lower(), f"memory ran out before the file was refused: {cause}"
        cause = cause.__cause__ or cause.__context__


@contextmanager
def _watched():
    """Stop Python code that takes too long, and end the process where a library's own code does."""

    def stop(*_):
        raise HangError(f"still reading after {SECONDS} seconds")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _bounded_memory(more: int):
    """Let the process reserve no more bytes than these beside what it holds, in Python or in a library."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
