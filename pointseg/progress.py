"""A progress bar on standard error, the same everywhere: description, bar, count, rate and time left. Where standard
error is no terminal, a line of text now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from rich import filesize
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

T = TypeVar("T")

LINE_SECONDS, LINE_SHARE = 60, 0.05
"""Of a task, that lie between two lines of text at least."""


class _Shown(Progress):
    """Draws bars on a terminal; elsewhere it writes lines, which can be read in a log while the work goes on."""

    def __init__(self, *columns: Any, amount: Callable[[float], str] = "{:.0f}".format, **kwargs: Any) -> None:
        super().__init__(*columns, **kwargs)
        self._amount = amount
        self._first = dict[TaskID, tuple[float, float]]()
        self._told = dict[TaskID, tuple[float, float]]()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], self.get_time()
        if self.console.is_terminal or not task.total:
            return
        # What was done already when work began says nothing about its speed.
        begun, before = self._first.setdefault(task_id, (now, task.completed))
        told, then = self._told.get(task_id, (begun, before))
        left = task.total - task.completed
        if left <= 0 or now - told < LINE_SECONDS or task.completed - then < LINE_SHARE * task.total:
            return
        self._told[task_id] = (now, task.completed)
        remaining = left * (now - begun) / (task.completed - before)
        share = task.completed / task.total
        count = f"{self._amount(task.completed)}/{self._amount(task.total)} ({share:.0%})"
        line = f"{task.description} {count}, {_duration(remaining)} left  {task.fields.get('status', '')}"
        self.console.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"about {minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"about {minutes} min"


def progress_bar() -> Progress:
    """A rich progress display; fields ``status`` on a task are shown at the end of its line."""
    return _Shown(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
    )


def bytes_bar() -> Progress:
    """A rich progress display for work measured in bytes: amount, rate and time left; ``status`` as above."""
    return _Shown(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        amount=lambda size: filesize.decimal(int(size)),
        console=Console(stderr=True),
    )


def track(items: Iterable[T], description: str) -> Iterator[T]:
    """Yield ``items`` while showing how many are done and how long the rest will take.

    Args:
        items: what to go through.
        description: the text before the bar.
    """
    total = len(items) if isinstance(items, Sized) else None
    with progress_bar() as bar:
        task = bar.add_task(description, total=total, status="")
        for item in items:
            yield item
            bar.advance(task)
