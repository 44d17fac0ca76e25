"""The topic of party rows, read from its beginning to its end of the moment: every intake has the whole table."""

from __future__ import annotations

import logging
from typing import Any, Final

import kafka
from kafka import errors as kafka_errors

from aml.stream.client import Connection
from aml.stream.forms import Message
from aml.stream.kafkapython import common_settings

_POLL_MS: Final = 200
_AT_ONCE: Final = 5_000
_ASK_MS: Final = 2_000
_log: Final = logging.getLogger("aml.intake")


class KafkaPartyRows:
    """Reads the topic on; partitions that are added later are found."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self._topic = topic
        self._consumer = kafka.KafkaConsumer(
            **common_settings(connection), group_id=None, enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest",
        )  # fmt: skip
        self._parts: set[Any] = set()
        self._found: list[Message] = []

    def read(self) -> list[Message] | None:
        """What came since the last time; None where the broker is away: what was read of it is told the next time."""
        try:
            self._read()
        except kafka_errors.KafkaError as error:
            _log.warning("the party table cannot be read (%s): trying on", type(error).__name__)
            return None
        found, self._found = self._found, []
        return found

    def _read(self) -> None:
        parts = {kafka.TopicPartition(self._topic, n) for n in self._consumer.partitions_for_topic(self._topic) or ()}
        if not parts:
            return
        if parts != self._parts:
            held = {part: self._consumer.position(part, timeout_ms=_ASK_MS) for part in self._parts}
            self._consumer.assign(sorted(parts))
            for part in parts:
                if held.get(part) is None:
                    self._consumer.seek_to_beginning(part)
                else:
                    self._consumer.seek(part, held[part])
            self._parts = parts
        ends = self._consumer.end_offsets(sorted(parts), timeout_ms=_ASK_MS)
        while any((self._consumer.position(part, timeout_ms=_ASK_MS) or 0) < end for part, end in ends.items()):
            polled = self._consumer.poll(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            self._found += [
                Message(r.topic, r.partition, r.offset, r.timestamp * 1000, r.key, r.value, r.headers)
                for records in polled.values()
                for r in records
            ]

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close(timeout_ms=1000)
