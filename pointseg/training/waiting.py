"""How much of the time of a training goes into waiting for its data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class DataClock:
    """Adds up the seconds spent waiting for batches and those spent in steps; evaluations are neither."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.worked = 0.0

    @property
    def share(self) -> float:
        """Seconds waited out of all seconds counted, 0 to 1; 0 before the first."""
        return self.waited / max(self.waited + self.worked, 1e-9)

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches, with the time each takes to come counted as waiting."""
        iterator = iter(batches)
        while True:
            started = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - started
            yield batch

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time of the block as work."""
        started = time.perf_counter()
        yield
        self.worked += time.perf_counter() - started
