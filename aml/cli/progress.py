"""The progress of long work on standard error: a bar with rate and time left, or now and then a line."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from aml.cli import render

_LINE_SECONDS: Final = 10


class Work:
    """Shows how far work has come; call it with (items done, share done 0..1 or None where nobody knows)."""

    def __init__(self, what: str, unit: str = "transactions") -> None:
        self._what, self._unit = what, unit
        self._began = time.monotonic()
        self._said = self._began
        self._task: TaskID | None = None
        self._bar = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None, done="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, items: int, share: float | None = None) -> None:
        """Show that `items` are done."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = f"{items:,} {self._unit}, {items / seconds:,.0f}/s"
        if self._bar is not None and self._task is not None:
            total = None if share is None else 1.0
            self._bar.update(self._task, total=total, completed=share or 0, done=done)
        elif time.monotonic() - self._said >= _LINE_SECONDS:
            self._said = time.monotonic()
            render.say(f"{self._what}: {done}{_left(seconds, share)}")


def _left(seconds: float, share: float | None) -> str:
    if share is None or share <= 0:
        return ""
    return f", {render.span(seconds * (1 - share) / share * 1e6)} left"


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(compact=True),
        console=render.err(),
        transient=True,
    )
