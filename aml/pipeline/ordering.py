"""The order in which files are read: by executed_at, several merged, without holding what is in order already.

Order decides nothing but how little is rewound and what counts as late, so records of one instant stand as they stood
in their files, the earlier-named file's first. A file that is nearly in order is sorted through a window and handed on
while it is read; where a record turns up that belongs before one already handed on, the reading begins again, and this
time everything is held and sorted. Records without a time (voids) come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.identity import NO_TIME

I64 = npt.NDArray[np.int64]
WINDOW: Final = 1 << 16  # rows held back, within which a file may be out of order


class OutOfOrder(Exception):
    """A record belongs before one that was handed on already."""


def times_of(frame: pl.DataFrame) -> I64:
    """executed_at in UTC µs; NO_TIME where there is none."""
    return frame.get_column("executed_at").fill_null(NO_TIME).to_numpy()


def by_time(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows by executed_at, equal ones as they stood, those without one last."""
    t = frame.get_column("executed_at").fill_null(np.iinfo(np.int64).max).to_numpy()
    if (t[1:] >= t[:-1]).all():
        return frame
    return frame[np.argsort(t, kind="stable").astype(np.uint32)]


class Ordered:
    """One feed's frames, put in order as far as a window reaches.

    `take` adds a frame and gives what is certain to come before all that follows, if the feed keeps to the window;
    `rest` what is left at its end. Raises OutOfOrder where it does not.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._held: list[pl.DataFrame] = []
        self._timeless: list[pl.DataFrame] = []
        self._rows = 0
        self._edge = NO_TIME  # all that was handed on lies before it

    def take(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Add a frame; the rows that can be handed on, at times before all that is held, or None."""
        timed = self._timed(frame)
        if timed.height:
            if times_of(timed).min() < self._edge:
                raise OutOfOrder
            self._held.append(timed)
            self._rows += timed.height
        if self._rows < 2 * self._window:
            return None
        return self._cut(by_time(pl.concat(self._held)))

    def rest(self) -> pl.DataFrame | None:
        """Everything that is held, in order, voids without a time last."""
        parts = [by_time(pl.concat(self._held))] if self._held else []
        parts += self._timeless
        self._held, self._timeless, self._rows = [], [], 0
        return pl.concat(parts) if parts else None

    def _timed(self, frame: pl.DataFrame) -> pl.DataFrame:
        column = frame.get_column("executed_at")
        if not column.null_count():
            return frame
        self._timeless.append(frame.filter(column.is_null()))
        return frame.filter(column.is_not_null())

    def _cut(self, whole: pl.DataFrame) -> pl.DataFrame | None:
        """Hand on all but the window; records of one instant stay together."""
        t = times_of(whole)
        edge = int(t[whole.height - self._window])
        size = int(np.searchsorted(t, edge))
        self._held, self._rows = [whole[size:]], whole.height - size
        if size == 0:
            return None
        self._edge = edge
        return whole[:size]


def merged(feeds: Sequence[Iterable[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """Feeds that are each in order, as one in order; a frame is handed on as soon as no feed can come before it."""
    if len(feeds) == 1:
        yield from feeds[0]
        return
    streams = [_Stream(iter(feed)) for feed in feeds]
    timeless: list[pl.DataFrame] = []
    while True:
        open_ = [stream for stream in streams if not stream.ended]
        behind = min(open_, key=lambda stream: stream.reached, default=None)
        if behind is not None:
            timeless += behind.advance()
        reached = min((stream.reached for stream in streams if not stream.ended), default=None)
        parts = [part for stream in streams for part in stream.give(reached)]
        if parts:
            yield by_time(pl.concat(parts))
        if behind is None:
            yield from timeless
            return


class _Stream:
    """One feed in order: how far it has come, and what it holds that the others have not passed yet."""

    def __init__(self, frames: Iterator[pl.DataFrame]) -> None:
        self._frames = frames
        self._held: list[pl.DataFrame] = []
        self.reached = NO_TIME
        self.ended = False

    def advance(self) -> list[pl.DataFrame]:
        """Take one more frame; its records without a time are given back at once."""
        frame = next(self._frames, None)
        if frame is None:
            self.ended = True
            return []
        column = frame.get_column("executed_at")
        timed = frame.filter(column.is_not_null()) if column.null_count() else frame
        if timed.height:
            self._held.append(timed)
            self.reached = int(times_of(timed)[-1])
        return [frame.filter(column.is_null())] if column.null_count() else []

    def give(self, reached: int | None) -> list[pl.DataFrame]:
        """What is held up to the time that every feed has reached; everything where none goes on."""
        given, kept = [], []
        for frame in self._held:
            size = frame.height if reached is None else int(np.searchsorted(times_of(frame), reached, side="right"))
            given += [frame[:size]] if size else []
            kept += [frame[size:]] if size < frame.height else []
        self._held = kept
        return given


def sorted_whole(feeds: Iterable[Iterable[pl.DataFrame]]) -> pl.DataFrame | None:
    """All feeds held and sorted."""
    held = [frame for feed in feeds for frame in feed if frame.height]
    return by_time(pl.concat(held)) if held else None


def in_order(frames: Iterable[pl.DataFrame], window: int = WINDOW) -> Iterator[pl.DataFrame]:
    """One feed's frames through the window. Raises OutOfOrder where it is too narrow."""
    ordered = Ordered(window)
    for frame in frames:
        ready = ordered.take(frame)
        if ready is not None:
            yield ready
    rest = ordered.rest()
    if rest is not None:
        yield rest
