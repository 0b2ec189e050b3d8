"""Files and folders that appear whole or not at all: written under a hidden name beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_file(target: Path) -> Iterator[Path]:
    """A hidden path beside ``target`` that becomes ``target`` when the block ends well and vanishes when it does not.

    The hidden name keeps the ending of the target, for writers that go by it.
    """
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    try:
        with _naming(target):
            yield unfinished
            os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A fresh hidden folder that becomes ``target`` when the block ends well and vanishes when it does not."""
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        # mkdtemp makes it private to the user; a finished scene has the permissions any new folder has.
        unfinished.chmod(target.parent.stat().st_mode & 0o777)
        with _naming(target):
            yield unfinished
        if target.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
            os.replace(target, replaced / target.name)
            try:
                os.replace(unfinished, target)
            except BaseException:
                os.replace(replaced / target.name, target)
                raise
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Put the place into errors of writing, which do not know it: that of a full disk above all."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(target)
        raise


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what a killed run left of ``<folder>/<name>``."""
    for leftover in folder.glob(f".{name}.*.tmp*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
