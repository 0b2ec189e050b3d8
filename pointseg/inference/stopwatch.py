"""Where the time of predicting a file goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("read", "voxelise", "network", "write")


@dataclass(frozen=True)
class Stopwatch:
    """Wall time by stage.

    Attributes:
        seconds: one of ``STAGES`` -> seconds.
    """

    seconds: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add what the block takes."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - started  # type: ignore[assignment]
