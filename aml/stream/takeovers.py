"""Takes shards over beside the steps of those that are held: one after the other, in a thread of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from aml.domain.errors import AmlError
from aml.pipeline.inforce import Judgement
from aml.store.database import Database
from aml.store.failures import will_pass
from aml.store.stream_rows import ShardRow
from aml.stream.shard import Shard, ShardTerms
from aml.stream.takeover import Log, Stopped, take_over

_log: Final = logging.getLogger("aml.worker")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerTerms:
    """What a worker is made for: its name as owner, the number of all shards and their generation, what it judges by,
    lateness in µs, the folder of the shards' state, and the database."""

    owner: str
    shards: int
    generation: int
    judgement: Judgement
    lateness: int
    state: Path
    database: Database


class Takeovers:
    """The shards that are on their way."""

    def __init__(self, terms: WorkerTerms, make_log: Callable[[], Log], stop: Callable[[], bool]) -> None:
        self._terms, self._make_log, self._stop = terms, make_log, stop
        self._log: Log | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="takeover")
        self._waiting: dict[int, Future[Shard]] = {}

    @property
    def waiting(self) -> frozenset[int]:
        """The shards that are on their way."""
        return frozenset(self._waiting)

    def begin(self, shard: int) -> None:
        """Take a shard over as soon as its turn comes."""
        self._waiting[shard] = self._pool.submit(self._take, shard)

    def drop(self, shard: int) -> None:
        """It is not ours any more: what comes of it is thrown away."""
        self._waiting.pop(shard).cancel()

    def done(self) -> Iterator[Shard]:
        """The shards that are taken over. Raises whatever made one impossible."""
        for shard in [shard for shard, future in self._waiting.items() if future.done()]:
            yield self._waiting.pop(shard).result()

    def close(self) -> None:
        """Take no more over; waits for the one that is under way, which looks at `stop`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, number: int) -> Shard:
        terms, began = self._terms, time.monotonic()
        folder = shard_folder(terms.state, terms.generation, number)
        if self._log is None:
            self._log = self._make_log()
        wanted = ShardTerms(number, terms.shards, terms.judgement, terms.lateness, folder)
        now = time.time_ns() // 1000
        shard = take_over(wanted, terms.database.database_id, self._own, self._log, now, _log.info)
        seconds = time.monotonic() - began
        _log.info("shard %d: epoch %d, current after %.1f s, goes on at %s", number, shard.epoch, seconds, shard.at)
        return shard

    def _own(self, shard: int, seen: int) -> ShardRow:
        def owned() -> ShardRow:
            with self._terms.database.begin() as uow:
                return uow.stream.take_over(shard, self._terms.owner, seen)

        row = patiently(owned, self._stop)
        if row.generation != self._terms.generation:
            raise AmlError("the shards were made anew meanwhile: start the worker again")
        return row


def shard_folder(state: Path, generation: int, shard: int) -> Path:
    """Where a shard's snapshots and archive lie; made if it is not there."""
    folder = state / f"shard-{generation}-{shard:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def patiently(ask: Callable[[], T], stop: Callable[[], bool]) -> T:
    """What a database answers, as soon as it can be asked. Raises Stopped where `stop` says so meanwhile, and whatever
    does not pass by itself."""
    seconds = 0.1
    while True:
        try:
            return ask()
        except Exception as error:
            if not will_pass(error):
                raise
            _log.warning("the database does not answer: waiting for it (%s)", str(error).splitlines()[0])
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if stop():
                raise Stopped
            time.sleep(0.05)
        seconds = min(2 * seconds, 2.0)
