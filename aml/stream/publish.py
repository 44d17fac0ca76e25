"""Publishes a feed to the bank's topic: paced, acknowledged by all replicas, resumed where it was interrupted.

A position is noted only after all before it is acknowledged; what was under way when a process died is sent again, and
is a duplicate by its identity.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from aml.domain.errors import AmlError
from aml.feed.formats import STDIN
from aml.feed.mapping import Mapping
from aml.feed.rates import Rates
from aml.feed.read import read_feed
from aml.store.encoding import rfc3339
from aml.store.files import sha256_of, write_whole
from aml.stream.client import Producer
from aml.stream.publishing import Manifests, manifest_key, messages
from aml.stream.told import party_lines

AT_ONCE: Final = 4 << 20  # bytes between two acknowledgements
EVERY: Final = 0.5  # seconds between two acknowledgements at most
PATIENCE: Final = 60.0  # seconds without an acknowledgement that are an error


@dataclass(frozen=True, slots=True)
class Terms:
    """How a feed is read and sent. batch: records a message; rate: records a second, 0 without limit; speed: event time
    over time, 0 without; hourly: manifests by the hour; now: UTC µs; state: folder of positions."""

    topic: str
    manifests: str
    institution: str
    currency: str
    rates: Rates | None
    mapping: Mapping | None
    batch: int
    key: str
    rate: float
    speed: float
    hourly: bool
    now: int
    state: Path


@dataclass(slots=True)
class Published:
    """What was done for one feed. skipped: messages that an earlier process had sent."""

    feed: str
    records: int = 0
    rejects: int = 0
    messages: int = 0
    skipped: int = 0
    manifests: int = 0


class Pace:
    """Holds a sender back to a rate, or to the pace of events."""

    def __init__(
        self, rate: float, speed: float, clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._rate, self._speed, self._clock, self._sleep = rate, speed, clock, sleep
        self._began = clock()
        self._sent = 0
        self._first = 0

    def wait(self, records: int, at: int) -> None:
        """Wait until so many records, the last of them executed at `at` (UTC µs, 0 unknown), may go."""
        due = self._began
        if self._rate:
            due = max(due, self._began + self._sent / self._rate)
        if self._speed and at:
            self._first = self._first or at
            due = max(due, self._began + (at - self._first) / 1e6 / self._speed)
        self._sent += records
        left = due - self._clock()
        if left > 0:
            self._sleep(left)


class Publisher:
    """Sends feeds one after the other. progress: told of every message's records."""

    def __init__(self, producer: Producer, terms: Terms, progress: Callable[[int], None] = lambda n: None) -> None:
        self._producer, self._terms, self._progress = producer, terms, progress
        self._pace = Pace(terms.rate, terms.speed)

    def feed(self, path: str) -> Published:
        """Send a feed and its manifests. Raises AmlError where it cannot be read or the brokers do not take it."""
        terms = self._terms
        done = Published(path)
        name, place = self._place(path)
        start = _position(place)
        sums = Manifests(name, terms.hourly)
        size, due = 0, time.monotonic() + EVERY
        chunks = read_feed(
            path, institution=terms.institution, ingest_time_us=terms.now, reporting_currency=terms.currency,
            rates=terms.rates, mapping=terms.mapping,
        )  # fmt: skip
        for chunk in chunks:
            for message in messages(chunk, terms.batch, terms.key):
                done.messages += 1
                if done.messages <= start:
                    done.skipped += 1
                    continue
                self._pace.wait(message.records, message.at)
                self._producer.send(terms.topic, message.value, key=message.key)
                self._progress(message.records)
                size += len(message.value)
                if size >= AT_ONCE or time.monotonic() >= due:
                    self._acknowledged(place, done.messages)
                    size, due = 0, time.monotonic() + EVERY
            sums.take(chunk.transactions)
            done.records += chunk.transactions.height
            done.rejects += len(chunk.rejects)
        self._acknowledged(place, done.messages)
        for manifest in sums.told(rfc3339(terms.now)):
            self._producer.send(terms.manifests, msgspec.json.encode(manifest), key=manifest_key(manifest))
            done.manifests += 1
        self._acknowledged(None, 0)
        if place is not None:
            place.unlink(missing_ok=True)
        return done

    def parties(self, frame: pl.DataFrame, topic: str) -> int:
        """Send the party table, a message a row; returns how many rows."""
        rows = party_lines(frame, self._terms.currency)
        for key, line in rows:
            self._producer.send(topic, line.encode(), key=key.encode())
        self._acknowledged(None, 0)
        return len(rows)

    def _place(self, path: str) -> tuple[str, Path | None]:
        """The feed's name in its manifests, and where its position is noted: by its content and how it is sent."""
        if path == STDIN:
            return f"stdin {rfc3339(self._terms.now)}", None
        digest = sha256_of(Path(path))
        terms = self._terms
        sent = f"{digest[:16]}-{terms.batch}-{terms.key}-{terms.topic}.json"
        return f"{Path(path).name} {digest[:8]}", terms.state / "published" / sent

    def _acknowledged(self, place: Path | None, sent: int) -> None:
        if not self._producer.flush(PATIENCE):
            raise AmlError("Kafka does not take what is sent for a minute: mend it and repeat the command, it goes on")
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, lambda out: out.write(json.dumps({"messages": sent}).encode()))


def _position(place: Path | None) -> int:
    """How many messages of the feed are acknowledged."""
    if place is None or not place.exists():
        return 0
    try:
        return int(json.loads(place.read_bytes())["messages"])
    except (ValueError, KeyError) as error:
        raise AmlError(f"{place}: is damaged: remove it, and the feed is sent from its beginning") from error
