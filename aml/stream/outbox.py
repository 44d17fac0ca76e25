"""Relays the outbox to the topic of alerts: at least once, in order per alert, the newest version last.

A relay that lost a shard without knowing it may tell an old version after its successor told a newer one, and a
compacted topic keeps what was told last. So whoever takes a shard over tells the newest versions of late once more,
again after the time in which a lost relay's message may still be under way; and a relay that finds out does the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from aml.store.database import Database
from aml.store.outbox import Told, owned, unsent
from aml.store.unit_of_work import UnitOfWork

TOPIC: Final = "aml.alerts.v1"
_SECOND: Final = 1_000_000
# Longer than a producer keeps trying to deliver (two minutes), and than rows that were told are kept (a week) by far.
UNDER_WAY: Final = 150 * _SECOND
KEPT: Final = 7 * 86_400 * _SECOND


class Producer(Protocol):
    """What the relay asks of a producer."""

    def send(self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> object:
        """Hand over a message; messages of one key keep their order."""

    def flush(self) -> object:
        """Wait until the broker has acknowledged all; raises where it has not (kafka-python's own does not: see
        `chores.Told`)."""


class Relay:
    """Tells the changes of the alerts of the shards that this process owns."""

    def __init__(self, database: Database, producer: Producer, topic: str = TOPIC) -> None:
        self._database = database
        self._producer = producer
        self._topic = topic
        self._epochs: dict[int, int] = {}
        self._repeat: dict[int, int] = {}  # shard -> when to tell once more what was told of late, UTC µs

    def own(self, epochs: Mapping[int, int]) -> None:
        """From now on own these shards, under these epochs, and no others."""
        gained = {shard for shard, epoch in epochs.items() if self._epochs.get(shard) != epoch}
        self._epochs = dict(epochs)
        now = self._database.clock()
        self._repeat = {shard: at for shard, at in self._repeat.items() if shard in epochs}
        self._repeat.update(dict.fromkeys(gained, now + UNDER_WAY))
        if gained:
            with self._database.begin() as uow:
                uow.outbox.again_since(gained, now - UNDER_WAY)

    def relay(self, limit: int = 1000) -> int:
        """Tell what is to be told, at most so many changes; returns how many were. Call it again and again.

        Raises what the producer raises, or StoreError: then nothing is noted, and the same is told next time.
        """
        self._repeat_what_is_due()
        if not self._epochs:
            return 0
        with self._database.read() as connection:
            told = unsent(connection, self._epochs, limit)
        if not told:
            return 0
        for row in told:
            headers = [("version", str(row.version).encode())]
            self._producer.send(self._topic, row.body.encode(), key=row.alert_id.encode(), headers=headers)
        self._producer.flush()
        with self._database.begin() as uow:
            self._note(uow, told)
        return len(told)

    def _note(self, uow: UnitOfWork, told: list[Told]) -> None:
        still = owned(uow.connection, self._epochs)
        uow.outbox.sent(told)
        uow.outbox.again(sorted({row.alert_id for row in told if row.shard not in still}))
        self._epochs = {shard: self._epochs[shard] for shard in still}

    def _repeat_what_is_due(self) -> None:
        now = self._database.clock()
        due = [shard for shard, at in self._repeat.items() if at <= now]
        if due:
            with self._database.begin() as uow:
                uow.outbox.again_since(due, now - 2 * UNDER_WAY)
            for shard in due:
                del self._repeat[shard]

    def purge(self) -> int:
        """Forget what was told over a week ago; returns how many changes went. Once an hour is enough."""
        with self._database.begin() as uow:
            return uow.outbox.purge(self._database.clock() - KEPT)
