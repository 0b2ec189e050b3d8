"""One process at a time in a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pointseg.locking import HOLDER, only_process

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process while the block runs.

    Args:
        folder: exists; the lock is its file ``.lock``.

    Raises:
        InputError: another process holds it, or this one already does.
    """
    refusal = f"{folder} is in use by {HOLDER}; wait until it ends, stop it, or choose another --out"
    with only_process(folder / LOCK, refusal):
        yield
