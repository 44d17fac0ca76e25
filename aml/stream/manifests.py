"""Reads what the bank says it sent, and keeps it in the database to be held against what was scored."""

from __future__ import annotations

import logging
from typing import Any, Final

import kafka
import msgspec
from kafka import errors as kafka_errors

from aml.feed.validate import LONGEST
from aml.settings import DEFAULT_INSTITUTION
from aml.store.database import Database
from aml.store.dead_letters import BAD_MANIFEST, DeadLetter, of_stream
from aml.store.stream_rows import Manifest
from aml.stream.client import Connection
from aml.stream.kafkapython import common_settings
from aml.stream.messages import ManifestMessage

_POLL_MS: Final = 50
_AT_ONCE: Final = 500
_log: Final = logging.getLogger("aml.worker")
_decode: Final = msgspec.json.Decoder(ManifestMessage).decode


class ManifestReader:
    """Reads the topic from its beginning at each start: it is small, and what comes again changes nothing."""

    def __init__(self, connection: Connection, topic: str, database: Database) -> None:
        self._connection, self._topic, self._database = connection, topic, database
        self._consumer: Any = None
        self._held: list[Any] = []  # read, not in the database yet

    def poll(self) -> int:
        """Take what came; returns how many manifests. A broker that is away is asked again next time.

        Raises StoreError where the database does not answer: what was read is written next time.
        """
        try:
            self._held += self._read()
        except kafka_errors.KafkaError as error:
            _log.warning("manifests cannot be read (%s): trying on", type(error).__name__)
            self._close()
        if not self._held:
            return 0
        manifests, wrong = [], []
        for record in self._held:
            try:
                if record.value:
                    manifests.append(_row(read_manifest(record.value)))
            except ValueError as error:
                wrong.append(_refused(record, str(error)))
        with self._database.begin() as uow:
            uow.stream.manifests(manifests)
            uow.dead_letters.add(wrong)
        self._held = []
        return len(manifests)

    def _read(self) -> list[Any]:
        if self._consumer is None:
            self._consumer = kafka.KafkaConsumer(
                **common_settings(self._connection), group_id=None, enable_auto_commit=False,
                isolation_level="read_committed", auto_offset_reset="earliest",
            )  # fmt: skip
        found = self._consumer.partitions_for_topic(self._topic) or ()
        parts = {kafka.TopicPartition(self._topic, number) for number in found}
        if not parts:
            return []
        if parts != self._consumer.assignment():
            self._consumer.assign(sorted(parts))
            self._consumer.seek_to_beginning()
        polled = self._consumer.poll(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
        return [record for records in polled.values() for record in records]

    def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(timeout_ms=500)

    def close(self) -> None:
        """Leave the brokers."""
        self._close()


def read_manifest(value: bytes) -> ManifestMessage:
    """The manifest that a message holds. Raises ValueError with what is wrong with it."""
    try:
        found = _decode(value)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    for name in ("institution", "source", "manifest"):
        if len(getattr(found, name).encode()) > LONGEST:
            raise ValueError(f"{name}: is longer than {LONGEST} bytes")
    if (found.first_hour is None) != (found.last_hour is None):
        raise ValueError("first_hour and last_hour: both or neither")
    if (found.first_hour or "") > (found.last_hour or ""):
        raise ValueError("first_hour is after last_hour")
    return found


def _row(told: ManifestMessage) -> Manifest:
    return Manifest(
        told.institution, told.source, told.manifest, told.records, told.sums, told.first_id, told.last_id,
        told.first_hour, told.last_hour, told.sha256,
    )  # fmt: skip


def _refused(record: Any, detail: str) -> DeadLetter:
    """A manifest that nobody can read: kept and shown as any other message of the bank's."""
    _log.warning("%s[%d]:%d: is no manifest: see `aml dlq list`", record.topic, record.partition, record.offset)
    return of_stream(
        DEFAULT_INSTITUTION, record.topic, record.partition, record.offset, 0, BAD_MANIFEST, detail, record.value
    )
