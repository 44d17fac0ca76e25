"""The two internal topics of the shards on Kafka: written with acknowledgement, read from any offset on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import kafka
from kafka import errors as kafka_errors

from aml.domain.errors import AmlError
from aml.stream.client import Connection, no_topic
from aml.stream.kafkapython import common_settings
from aml.stream.takeover import LEGS, RECORDS, Stopped

_ASK_MS: Final = 5_000
_POLL_MS: Final = 500
_log: Final = logging.getLogger("aml.worker")
T = TypeVar("T")


class KafkaLog:
    """See `takeover.Log`. For one thread; it waits while the broker is away, until `stop` says that it should not."""

    def __init__(self, connection: Connection, topics: Mapping[str, str], stop: Callable[[], bool]) -> None:
        self._connection, self._topics, self._stop = connection, topics, stop
        self._producer = connection.producer()
        self._readers: dict[str, Any] = {}  # by kind, so that reading one does not interrupt the other

    def send(self, kind: str, shard: int, value: bytes) -> None:
        """Hand over a message. Raises AmlError where it is refused for good."""
        self._producer.send(self._topics[kind], value, partition=shard)

    def flush(self) -> None:
        """Wait for all acknowledgements. Raises AmlError where one is refused for good, Stopped where told to stop."""
        waited = 0
        while not self._producer.flush(1.0):
            waited += 1
            if waited % 10 == 1:
                _log.warning("Kafka does not take what is written for %d s: nothing is committed, trying on", waited)
            if self._stop():
                raise Stopped

    def ends(self, shard: int) -> tuple[int, int]:
        """Offsets behind the last messages of both inputs of a shard."""
        return self._both(shard, lambda reader, parts: reader.end_offsets(parts, timeout_ms=_ASK_MS))

    def begins(self, shard: int) -> tuple[int, int]:
        """Offsets of the first messages kept."""
        return self._both(shard, lambda reader, parts: reader.beginning_offsets(parts, timeout_ms=_ASK_MS))

    def _both(self, shard: int, ask: Callable[[Any, list[Any]], Mapping[Any, int]]) -> tuple[int, int]:
        parts = [kafka.TopicPartition(self._topics[kind], shard) for kind in (LEGS, RECORDS)]
        found = self._asked(LEGS, lambda reader: ask(reader, parts))
        return found[parts[0]], found[parts[1]]

    def partitions(self, kind: str) -> int:
        """How many partitions a topic has. Raises AmlError where it is not there."""
        found = self._asked(kind, lambda reader: reader.partitions_for_topic(self._topics[kind]))
        if not found:
            raise no_topic(self._topics[kind])
        return len(found)

    def read(self, kind: str, shard: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """The messages [first, last), with their offsets."""
        part = kafka.TopicPartition(self._topics[kind], shard)
        while first < last:
            found = self._asked(kind, partial(_some, part=part, at=first))
            for record in found:
                if first <= record.offset < last:
                    yield record.offset, record.value
                    first = record.offset + 1
            if self._stop():
                raise Stopped

    def _asked(self, kind: str, ask: Callable[[Any], T]) -> T:
        """What a reader answers, as soon as it can be asked."""
        while True:
            try:
                if kind not in self._readers:
                    self._readers[kind] = _reader(self._connection)
                return ask(self._readers[kind])
            except (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError) as error:
                raise AmlError(
                    f"{error}: what the shards must read again was removed: raise the topic's retention, and begin "
                    "with a new database"
                ) from error
            except kafka_errors.AuthorizationError as error:
                raise AmlError(f"Kafka refuses the worker ({error}): give it the right to read and write") from error
            except kafka_errors.KafkaError as error:
                _log.warning("Kafka at %s: %s %s: trying on", self._connection.brokers, type(error).__name__, error)
                self._close_readers()
            if self._stop():
                raise Stopped
            time.sleep(0.5)

    def _close_readers(self) -> None:
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close(timeout_ms=1000)

    def close(self) -> None:
        """End; what is not acknowledged is dropped."""
        self._close_readers()
        self._producer.close()


def _reader(connection: Connection) -> Any:
    settings = common_settings(connection) | {"isolation_level": "read_committed", "enable_auto_commit": False}
    return kafka.KafkaConsumer(**settings, group_id=None, auto_offset_reset="none", max_partition_fetch_bytes=4 << 20)


def _some(reader: Any, part: Any, at: int) -> list[Any]:
    """Messages from an offset on; the reader goes on where it stands if that is it."""
    fresh = reader.assignment() != {part}
    if fresh:
        reader.assign([part])
    if fresh or reader.position(part, timeout_ms=_ASK_MS) != at:
        reader.seek(part, at)
    return [record for records in reader.poll(timeout_ms=_POLL_MS).values() for record in records]
