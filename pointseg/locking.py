"""One process at a time at a place, for as long as a block runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pointseg.errors import InputError


@contextmanager
def only_process(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, which is removed in the end; the system lifts the lock of a process that dies.

    Args:
        lock: the file; its folder exists.
        refusal: what to say where another process holds it.

    Raises:
        InputError: another process holds it.
    """
    descriptor = _held(lock, refusal)
    try:
        yield
    finally:
        # Removed while it is still held; who opened it meanwhile sees in ``_held`` that it has gone.
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _held(lock: Path, refusal: str) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise InputError(refusal) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
