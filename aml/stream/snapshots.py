"""Snapshots of a worker's shards: one at a time, copied between two steps, written in a thread of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from aml.stream.frozen import Kept, adopt, freeze
from aml.stream.shard import Shard

EVERY: Final = 120.0  # seconds between two of a shard, at least
ROWS: Final = 1 << 18  # rows in memory that hurry the next one
SPARE: Final = 20  # times as long between two as one takes
LATER: Final = 60.0  # seconds after one that failed
_log: Final = logging.getLogger("aml.worker")


@dataclass(slots=True)
class _Mark:
    """A shard's last snapshot: where the shard stood, when, and when the next one may come."""

    at: tuple[int, int]
    since: float
    not_before: float


@dataclass(frozen=True, slots=True)
class _Going:
    """A snapshot that is being written. sealed: whether records wait for it in the shard."""

    shard: Shard
    future: Future[Kept]
    began: float
    sealed: bool


class Snapshots:
    """Takes them when they are due."""

    def __init__(
        self, database_id: str, told: Callable[[int, float], None], clock: Callable[[], float] = time.monotonic,
        every: float = EVERY,
    ) -> None:  # fmt: skip
        self._database_id, self._told, self._clock, self._every = database_id, told, clock, every
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._marks: dict[int, _Mark] = {}
        self._going: _Going | None = None

    def turn(self, held: Mapping[int, Shard]) -> None:
        """Between two steps: take up what was written, begin the next one that is due."""
        now = self._clock()
        for number in self._marks.keys() - held.keys():
            del self._marks[number]
        for number in held.keys() - self._marks.keys():
            # Not all at once where many shards come at once.
            first = now + self._every * (1 + number % 8) / 8
            self._marks[number] = _Mark(held[number].at, now, first)
        if self._going is not None:
            self._finish(held, now)
        elif due := self._all_due(held, now):
            self._begin(max(due, key=lambda shard: (shard.records.held, -self._marks[shard.terms.shard].since)))

    def due(self, held: Mapping[int, Shard]) -> bool:
        """Whether the next turn begins one: what the shards remember must be committed then."""
        return self._going is None and bool(self._all_due(held, self._clock()))

    def _all_due(self, held: Mapping[int, Shard], now: float) -> list[Shard]:
        marks = self._marks
        return [shard for number, shard in held.items() if number in marks and self._due(shard, marks[number], now)]

    def _due(self, shard: Shard, mark: _Mark, now: float) -> bool:
        return shard.at != mark.at and (now >= mark.not_before or (shard.records.held >= ROWS and mark.at[0] >= 0))

    def _begin(self, shard: Shard) -> None:
        began = self._clock()
        frozen = freeze(shard)
        future = self._pool.submit(frozen.write, self._database_id)
        self._going = _Going(shard, future, began, frozen.sealed is not None)
        self._marks[shard.terms.shard].at = frozen.at

    def _finish(self, held: Mapping[int, Shard], now: float) -> None:
        assert self._going is not None
        going, shard = self._going, self._going.shard
        if not going.future.done():
            return
        self._going = None
        number = shard.terms.shard
        if held.get(number) is not shard:
            return  # somebody else's now; what was written lies there unused
        mark = self._marks[number]
        mark.since = now
        try:
            kept = going.future.result()
        except OSError as error:
            # What is in memory stays there, and is part of the next one.
            _log.error("shard %d: no snapshot (%s): free space on the disk of AML_STATE", number, error)
            if going.sealed:
                shard.records.unseal()
            mark.not_before, mark.at = now + LATER, (-1, -1)
            return
        adopt(shard, kept)
        mark.not_before = now + max(self._every, SPARE * (now - going.began))
        self._told(kept.path.stat().st_size, now - going.began)

    def close(self) -> None:
        """Wait for the one that is under way."""
        self._pool.shutdown(wait=True)
