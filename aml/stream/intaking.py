"""The intake as a process: polls the bank's topic, writes blocks and dead letters, then commits; and again.

Nothing is committed before every message of a flush is acknowledged, so whatever ends the process, the next one begins
where all is told; what is told twice the shards know by its offsets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from aml.pipeline.accept import Calendar
from aml.pipeline.parties import Parties
from aml.pipeline.resolved import resolve
from aml.stream.balance import Balance, as_they_came
from aml.stream.client import Consumer, Place, Producer, no_topic
from aml.stream.decode import Decoder
from aml.stream.failpoints import asked, reached
from aml.stream.intake import Assigned, Flushed, IntakeCore
from aml.stream.partyfeed import PartyFeed

ROWS, BYTES = 20_000, 6 << 20  # so much is flushed at once
SOON, LATER = 0.02, 0.2  # seconds that a message waits at most: live, and while there is much more to read
_AT_HAND: Final = 0.002
EVERY: Final = 1.0  # seconds between flushes at most
GRACE: Final = 3.0  # seconds that the last flush may take
_log: Final = logging.getLogger("aml.intake")


@dataclass(frozen=True, slots=True)
class Topics:
    """Where it reads and writes."""

    bank: str
    legs: str

    @property
    def dead(self) -> str:
        """Where messages go that were not read whole."""
        return f"{self.bank}.dlq"


class Intake:
    """One intake. stop: whether it was told to end; flushed: told of every flush and the seconds that it took; waits:
    told of the seconds for which the brokers do not answer."""

    def __init__(
        self,
        name: str,
        topics: Topics,
        decoder: Decoder,
        calendar: Calendar,
        consumer: Consumer,
        producer: Producer,
        parties: PartyFeed | None,
        stop: Callable[[], bool],
        flushed: Callable[[Flushed, float], None] = lambda done, seconds: None,
        waits: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        shards = consumer.partitions(topics.legs)
        for topic, partitions in ((topics.legs, shards), (topics.dead, consumer.partitions(topics.dead))):
            if not partitions:
                raise no_topic(topic)
        self._topics, self._consumer, self._producer, self._parties = topics, consumer, producer, parties
        self._calendar, self._shards = calendar, shards
        self._core = IntakeCore(name, shards, decoder, self._resolve)
        self._balance = Balance(time.monotonic)
        self._stop, self._told, self._waits = stop, flushed, waits
        self._places: list[Place] = []
        self._committed: dict[Place, int] = {}
        self._since: float | None = None  # when the oldest message that waits came
        self._last = time.monotonic()  # when was flushed last
        self._until: float | None = None  # when the process must have ended

    def run(self) -> None:
        """Work until told to stop; what was polled is flushed then, where the broker lets it in time.

        Raises AmlError where Kafka refuses for good.
        """
        try:
            while not self._stop():
                self._turn()
            self._until = time.monotonic() + GRACE
            if self._core.held:
                self._flush()
        finally:
            self._consumer.close()
            self._producer.close()

    def _turn(self) -> None:
        self._gather()
        self._poll(self._patience())
        if self._due() and self._is_live():
            # What was handed out now was fetched when the last poll asked: what came since is there too.
            self._poll(_AT_HAND)
        if self._due():
            self._flush()

    def _poll(self, seconds: float) -> None:
        polled = self._consumer.poll(seconds, ROWS)
        reached("intake.after_poll")
        if polled.positions is not None:
            self._assign(polled.positions)
        if polled.messages:
            self._core.take(as_they_came(polled.messages))
            self._since = self._since or time.monotonic()

    def _gather(self) -> None:
        """Let messages come together, where one waits: a poll for every few of them keeps the broker busy."""
        if self._since is not None and self._is_live():
            time.sleep(max(0.0, self._since + SOON - time.monotonic()))

    def _assign(self, positions: Mapping[Place, int]) -> None:
        _log.info("reads %s", ", ".join(f"{t}[{p}] from {at}" for (t, p), at in sorted(positions.items())) or "nothing")
        self._core.assign(positions)
        self._places = sorted(positions)
        self._committed = dict(positions)
        self._balance.forget()
        self._consumer.pause(())
        self._since = None

    def _patience(self) -> float:
        """Seconds that a poll may take."""
        now = time.monotonic()
        due = self._last + EVERY
        if self._since is not None:
            due = min(due, self._since + (SOON if self._is_live() else LATER))
        return min(max(due - now, 0.001), EVERY)

    def _due(self) -> bool:
        now = time.monotonic()
        if self._since is None:
            return bool(self._places) and now >= self._last + EVERY
        if self._core.held >= ROWS or self._core.waiting >= BYTES:
            return True
        return now >= self._since + (SOON if self._is_live() else LATER)

    def _is_live(self) -> bool:
        return all(self._consumer.ended(place) for place in self._places)

    def _flush(self) -> None:
        while self._parties is not None and not self._parties.refresh():
            if self._is_over():
                return
        ended = self._ended()
        counts = {topic: self._consumer.partitions(topic) for topic, _ in self._places}
        assigned = {place: Assigned(counts[place[0]], ended[place]) for place in self._places}
        while True:
            began = time.monotonic()
            done = self._core.flush(time.time_ns() // 1000, assigned)
            if not self._write(done):
                return
            self._commit(done.offsets)
            self._balance.moved(done.event_time)
            self._told(done, time.monotonic() - began)
            if not self._core.held:
                break
        self._since, self._last = None, time.monotonic()
        # Under steady traffic the broker always has more: what is read to the end that the client knows of is live.
        self._consumer.pause(self._balance.waiting(place for place in self._places if not self._consumer.ended(place)))

    def _ended(self) -> dict[Place, bool]:
        """Which partitions have nothing more. The broker is asked anew where there are several: what one
        of them gave may be younger than the last look at another."""
        candidates = [place for place in self._places if self._consumer.ended(place)]
        if self._consumer.partitions(self._topics.bank) > 1:
            candidates = list(self._consumer.nothing_more(candidates))
        return {place: place in candidates for place in self._places}

    def _write(self, done: Flushed) -> bool:
        """Write a flush; whether all of it is acknowledged, which only the process's end may prevent."""
        reached("intake.before_produce")
        for shard, block in enumerate(done.blocks):
            self._producer.send(self._topics.legs, block, partition=shard)
            if not shard and asked("intake.after_first_block"):
                self._producer.flush(5.0)
                reached("intake.after_first_block")
        for letter in done.dead:
            self._producer.send(letter.topic, letter.value, key=letter.key, headers=letter.headers)
        waited = 0
        while not self._producer.flush(1.0):
            waited += 1
            self._waits(waited)
            if waited % 10 == 1:
                _log.warning("Kafka does not take what is written for %d s: nothing is committed, trying on", waited)
            if self._is_over():
                _log.warning("ends without the broker: what it did not take is read again by the next intake")
                return False
        reached("intake.after_produce")
        return True

    def _is_over(self) -> bool:
        if self._until is None and self._stop():
            self._until = time.monotonic() + GRACE
        return self._until is not None and time.monotonic() > self._until

    def _commit(self, offsets: Mapping[Place, int]) -> None:
        moved = {place: at for place, at in offsets.items() if at != self._committed.get(place)}
        if not moved:
            return
        reached("intake.before_commit")
        if self._consumer.commit(moved):
            self._committed.update(moved)
        else:
            # With the next flush; or the partitions are another's, who writes the same once more.
            _log.warning("offsets were not committed: the broker is away, or has given the partitions to another")
        reached("intake.after_commit")

    def _resolve(self, frame: pl.DataFrame) -> pl.DataFrame:
        def fixed(some: pl.DataFrame, table: Parties | None) -> pl.DataFrame:
            return resolve(some, self._calendar, table, self._shards)

        return fixed(frame, None) if self._parties is None else self._parties.resolve(frame, fixed)

