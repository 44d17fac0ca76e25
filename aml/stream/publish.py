"""Publishes feeds: their records, as the reader of `aml run` understands them, to the bank's topic; then manifests.

A record is sent as the canonical JSON of it. What the reader rejects goes out too, alone and in its own bytes, so that
the intake rejects and counts it. Pieces are acknowledged one after the other, and the position moves on then: who goes
on after a crash sends a piece twice at most, whose records are duplicates by their identity.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.profile import load_profile
from aml.feed.fields import encode
from aml.feed.formats import STDIN
from aml.feed.mapping import load_mapping
from aml.feed.parties import read_parties
from aml.feed.rates import UNVALUED
from aml.feed.raw import Reject
from aml.pipeline.feeds import Feeds, FeedTerms, Part
from aml.pipeline.ordering import OutOfOrder
from aml.pipeline.threads import Ahead, hasty_threads
from aml.store.encoding import rfc3339
from aml.stream.client import Producer
from aml.stream.pacing import Pacer, cut
from aml.stream.packing import BATCH, Key, Packer, unreadable
from aml.stream.position import Position, Stand, name_of
from aml.stream.sent import Sent, manifest_key
from aml.stream.told import party_lines, transaction_lines

AHEAD: Final = 2
_PIECE: Final = 20_000  # records sent before an acknowledgement is waited for
_SINGLES: Final = 4_000  # as many where each is a message
_FAR: Final = 253_370_764_800_000_000  # year 9999: whether a time lies in the future is the intake's to say
_PATIENCE: Final = 1.0
_log: Final = logging.getLogger("aml.publish")


@dataclass(frozen=True, slots=True)
class Topics:
    """Where is written, and for the bank's topic its id in the cluster and its number of partitions."""

    bank: str
    parties: str
    manifests: str
    id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """What `aml publish` was asked. batch: records a message, 0: singles; rate: records a second; speed: times as fast
    as the feed's own times; hourly: a manifest an hour; again: from the start; state: folder of positions."""

    feeds: tuple[str, ...]
    state: Path
    mapping: Path | None = None
    parties: Path | None = None
    institution: str | None = None
    profile: str = "us"
    as_arrived: bool = False
    batch: int = BATCH
    key: Key = Key.NONE
    rate: float | None = None
    speed: float | None = None
    hourly: bool = False
    again: bool = False


@dataclass(slots=True)
class Published:
    """What was done. skipped: records and rejects that an earlier attempt sent; finished_before: it had sent all;
    stopped: it was told to end before the end."""

    records: int = 0
    rejects: int = 0
    skipped: int = 0
    messages: int = 0
    bytes: int = 0
    parties: int = 0
    manifests: int = 0
    finished_before: bool = False
    stopped: bool = False


def publish(
    settings: PublishSettings,
    topics: Topics,
    producer: Producer,
    hashed: Callable[[bytes], int],
    stop: Callable[[], bool],
    progress: Callable[[int, float | None], None] = lambda items, share: None,
    pacer: Pacer | None = None,
) -> Published:
    """Publish feeds; hashed: a key's number, of which the partition is what remains; stop: whether to end early.

    Raises AmlError where a feed cannot be read, another process publishes the same, or Kafka refuses for good.
    """
    currency = load_profile(settings.profile).currency
    mapping = None if settings.mapping is None else load_mapping(settings.mapping)
    feeds = Feeds(
        FeedTerms(settings.feeds, settings.institution, currency, _FAR, mapping, UNVALUED, settings.as_arrived)
    )
    tenant = feeds.institution_of(settings.feeds[0])
    parties = None if settings.parties is None else read_parties(settings.parties, tenant, currency)
    packer = Packer(settings.batch, settings.key, topics.partitions, hashed)
    with _position(settings, topics, currency, feeds.as_arrived) as position, hasty_threads():
        run = _Run(settings, topics, feeds, producer, packer, pacer or Pacer(settings.rate, settings.speed), position)
        return run.go(parties, currency, stop, progress)


def _position(settings: PublishSettings, topics: Topics, currency: str, as_arrived: bool) -> Position:
    stand = Stand(settings.feeds, topics.bank)
    if STDIN in settings.feeds:
        return Position(None, "", stand)
    mapping = None if settings.mapping is None else settings.mapping.read_bytes().hex()
    made_by = (mapping, settings.institution, currency, as_arrived, topics.id, topics.bank)
    return Position(settings.state / "published", name_of(settings.feeds, made_by), stand)


@dataclass
class _Run:
    """One attempt."""

    settings: PublishSettings
    topics: Topics
    feeds: Feeds
    producer: Producer
    packer: Packer
    pacer: Pacer
    position: Position

    def go(
        self, parties: pl.DataFrame | None, currency: str, stop: Callable[[], bool],
        progress: Callable[[int, float | None], None],
    ) -> Published:  # fmt: skip
        """Everything in its order: parties, records, manifests."""
        self.done, self._stop, self._progress = Published(), stop, progress
        if self.settings.again:
            self.position.again()
        if self.position.stand.finished:
            return replace(self.done, finished_before=True, skipped=self.position.stand.done)
        if parties is not None and not (self.position.stand.parties and self.position.stand.done):
            self._parties(parties, currency)
        try:
            self._records(hold=self.position.stand.held)
        except OutOfOrder:
            _log.warning("records are further out of order than can be sorted on the way: begins anew, sorted whole")
            self.position.again(held=True)
            self._records(hold=True)
        if not self.done.stopped:
            self._manifests()
        self.position.note(now=True)
        return self.done

    def _parties(self, table: pl.DataFrame, currency: str) -> None:
        for key, line in party_lines(table, currency):
            self._send(self.topics.parties, line.encode(), key.encode())
        if self._acknowledged():
            self.done.parties = table.height
            self.position.stand.parties = True
            self.position.note(now=True)

    def _records(self, *, hold: bool) -> None:
        """All records and rejects behind the position; of those before it, too, the manifests tell."""
        self._sums, self._seen = Sent(self.settings.hourly), 0
        with Ahead(lambda: self.feeds.parts(hold), AHEAD) as ahead:
            for part in ahead.until(self._stopped):
                self._part(part)

    def _stopped(self) -> bool:
        self.done.stopped = self.done.stopped or self._stop()
        return self.done.stopped

    def _part(self, part: Part) -> None:
        skip = self._skip(part.frame.height)
        if part.frame.height:
            lines = transaction_lines(part.frame)
            self._sums.add(part.frame, lines)
            if not self._pieces(part.frame[skip:], lines[skip:], part.share):
                return
        rejects = [reject for _, reject in part.noted.rejects]
        rejects = rejects[self._skip(len(rejects)) :]
        for reject in rejects:
            self._reject(reject)
        if self._acknowledged():
            self._moved(len(rejects))
            self.done.rejects += len(rejects)

    def _moved(self, number: int) -> None:
        """So many more are acknowledged."""
        self._seen += number
        if self._seen > self.position.stand.done:
            self.position.moved(self._seen)

    def _skip(self, number: int) -> int:
        """How many of the next ones were acknowledged before."""
        skip = min(max(self.position.stand.done - self._seen, 0), number)
        self._seen += skip
        self.done.skipped += skip
        return skip

    def _pieces(self, frame: pl.DataFrame, lines: pl.Series, share: float | None) -> bool:
        """Send records piece by piece; False where it was told to stop before the end."""
        due = self.pacer.due(frame.get_column("executed_at").fill_null(-1).to_numpy())
        for first, past in cut(due, _PIECE if self.settings.batch else _SINGLES):
            if self._stopped() or not self._piece(frame[first:past], lines[first:past], due[first:past]):
                self.done.stopped = True
                return False
            self._progress(self.done.records, share)
        return True

    def _piece(self, frame: pl.DataFrame, lines: pl.Series, due: npt.NDArray[np.float64]) -> bool:
        """Send one piece and wait until it is acknowledged; False where it was not begun, or was not acknowledged."""
        messages = [*self.packer.messages(frame, lines)]
        if self.pacer.is_paced:
            messages.sort(key=lambda message: message.last)
        for number, message in enumerate(messages):
            # What is begun is sent whole, when told to stop: it is a moment's at most.
            if not self.pacer.wait(float(due[message.last]), self._stop) and not number:
                return False
            self._send(self.topics.bank, message.value, message.key, message.partition)
        if not self._acknowledged():
            return False
        self._moved(frame.height)
        self.done.records += frame.height
        return True

    def _reject(self, reject: Reject) -> None:
        source = (("ce_source", reject.source.encode()),)
        self._send(self.topics.bank, unreadable(reject.original), None, None, source)

    def _manifests(self) -> None:
        for manifest in self._sums.manifests(rfc3339(time.time_ns() // 1000)):
            self._send(self.topics.manifests, encode(manifest), manifest_key(manifest))
            self.done.manifests += 1
        if self._acknowledged():
            self.position.stand.done, self.position.stand.finished = self._seen, True

    def _send(
        self, topic: str, value: bytes, key: bytes | None = None, partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:  # fmt: skip
        self.producer.send(topic, value, key=key, partition=partition, headers=headers)
        self.done.messages += 1
        self.done.bytes += len(value)

    def _acknowledged(self) -> bool:
        """Whether the broker has all that was sent; only being told to stop ends the wait for a broker that is away."""
        waited = 0
        while not self.producer.flush(_PATIENCE):
            waited += 1
            if waited % 10 == 1:
                _log.warning("Kafka does not take what is sent for %d s: trying on", waited)
            if self._stop():
                self.done.stopped = True
                return False
        return True
