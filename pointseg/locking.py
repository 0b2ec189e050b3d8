"""One process at a time at a place, for as long as a block runs."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointseg.errors import InputError

HOLDER = "{holder}"

_HELD: dict[tuple[int, str], object] = {}
"""Process and lock file -> who holds it. The system refuses a lock to other processes alone, not to its holder; the
process is named because a forked one inherits this table and no lock."""


@contextmanager
def only_process(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, which names the holder and is removed in the end.

    The lock is the process's own: it ends with the process, however that ends, and processes it has started do not keep
    it. Nothing is locked by a file that a killed process left.

    Args:
        lock: the file; its folder exists.
        refusal: what to say where it is held; ``HOLDER`` in it becomes the name of the holder.

    Raises:
        InputError: another process holds it, or this one already does.
        OSError: the file system has no locks, or the file cannot be written.
    """
    key, me = (os.getpid(), os.path.realpath(lock)), object()
    # One step, so that of two threads one is first. Before the file is opened: closing it again would free the lock.
    if _HELD.setdefault(key, me) is not me:
        raise InputError(refusal.replace(HOLDER, "this very process"))
    try:
        descriptor = _held(lock, refusal)
        try:
            yield
        finally:
            # Removed while it is still held; who opened it meanwhile sees in ``_held`` that it has gone.
            lock.unlink(missing_ok=True)
            os.close(descriptor)
    finally:
        del _HELD[key]


def _held(lock: Path, refusal: str) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_there(lock, descriptor):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            # Anything else, such as a file system without locks, is not somebody holding it.
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise InputError(refusal.replace(HOLDER, holder)) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _still_there(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
