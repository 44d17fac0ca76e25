"""kafka-python behind the small interface of client.py.

Traps that this goes around: a member that polls before it knows its topics may wait for ever (metadata first, and a
watchdog); positions right after a rebalance are not to be trusted, so each is set to what is committed; a partition
that is paused while only a part of what was fetched is handed out is never read again (3.0.12), so polls are whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import LARGEST, LONG_POLL_MS, Connection, Place, Polled, no_topic, refused, removed, unreachable
from aml.stream.forms import Message

try:
    import kafka
    from kafka import errors as kafka_errors
except ImportError as error:
    raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error

_METADATA_AGE_MS: Final = 5_000  # so soon are new partitions seen
_JOIN_SECONDS: Final = 60.0  # without partitions for so long: begin anew
_ALL: Final = 1 << 30
_STUCK_SECONDS: Final = 30.0  # so long nothing of a partition that has more: begin anew
_SESSION_MS: Final = 10_000
_BACKOFF_MS: Final = 1_000
_FOR_EVER_MS: Final = 2**31 - 1
_ASK_MS: Final = 2_000
_log: Final = logging.getLogger("aml.intake")
_REFUSED: Final = (
    kafka_errors.TopicAuthorizationFailedError, kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.FencedInstanceIdError,
)  # fmt: skip


def common_settings(connection: Connection) -> dict[str, Any]:
    """What every kafka-python client is given."""
    return {
        "bootstrap_servers": connection.brokers.split(","),
        "reconnect_backoff_max_ms": _BACKOFF_MS,
        "metadata_max_age_ms": _METADATA_AGE_MS,
        "allow_auto_create_topics": False,
        **(connection.options or {}),
    }


class _Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes that the assignment is another one."""

    def __init__(self) -> None:
        self.changed = False

    def on_partitions_revoked(self, revoked: object) -> None:
        self.changed = True

    def on_partitions_assigned(self, assigned: object) -> None:
        self.changed = True


class KafkaPythonConsumer:
    """A member of a group, by kafka-python."""

    def __init__(self, connection: Connection, topics: Sequence[str], group: str, member: str | None) -> None:
        self._settings = common_settings(connection) | {
            "group_id": group, "group_instance_id": member, "enable_auto_commit": False, "auto_offset_reset": "none",
            "isolation_level": "read_committed", "session_timeout_ms": _SESSION_MS, "heartbeat_interval_ms": 2_000,
            "max_partition_fetch_bytes": 1 << 20, "max_poll_interval_ms": 600_000, "fetch_max_wait_ms": LONG_POLL_MS,
        }  # fmt: skip
        self._brokers, self._topics = connection.brokers, list(topics)
        self._open()

    def _open(self) -> None:
        try:
            self._consumer = kafka.KafkaConsumer(**self._settings)
        except kafka_errors.KafkaError as error:
            raise unreachable(self._brokers, _told(error)) from error
        for topic in self._topics:
            if not self.partitions(topic):
                raise no_topic(topic)
        self._listener = _Listener()
        self._consumer.subscribe(self._topics, listener=self._listener)
        self._unassigned_since = time.monotonic()
        self._assigned: frozenset[Any] = frozenset()
        self._quiet: dict[Any, float] = {}  # partitions that have more but give nothing, since when

    def poll(self, seconds: float, most: int) -> Polled:
        """See `client.Consumer`; all that was fetched is handed out, a MiB of each partition at most."""
        try:
            found = self._consumer.poll(timeout_ms=max(1, int(seconds * 1000)), max_records=_ALL)
            if self._listener.changed:
                return Polled((), self._settled())
        except _REFUSED as error:
            raise AmlError(f"Kafka refuses the intake ({_told(error)}): give it the right to read") from error
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError):
            return self._again()
        except kafka_errors.KafkaError as error:
            return self._wait(error)
        self._watch(found)
        return Polled([_message(record) for records in found.values() for record in records])

    def _again(self) -> Polled:
        """The client does not know where to begin: tell it."""
        self._listener.changed = True
        try:
            return Polled((), self._settled())
        except kafka_errors.KafkaError as error:
            return self._wait(error)

    def _wait(self, error: Exception) -> Polled:
        """The broker is away or on its way: nothing came; the client goes on trying."""
        _log.warning("Kafka at %s: %s", self._brokers, _told(error))
        time.sleep(0.1)
        return Polled()

    def _settled(self) -> dict[Place, int]:
        """Set every partition to where the group has come; what this poll brought comes again."""
        parts = sorted(self._consumer.assignment())
        begins = self._consumer.beginning_offsets(parts, timeout_ms=_ASK_MS) if parts else {}
        positions = {}
        for part in parts:
            committed = self._consumer.committed(part, timeout_ms=_ASK_MS)
            at = begins[part] if committed is None else committed
            if at < begins[part]:
                raise removed((part.topic, part.partition), begins[part], at)
            self._consumer.seek(part, at)
            positions[part.topic, part.partition] = at
        self._assigned = frozenset(parts)
        # Only now: where the broker went away in between, the next poll tries again.
        self._listener.changed = False
        return positions

    def _watch(self, found: Mapping[Any, object]) -> None:
        """Begin anew where the group gives no partitions for long, or a partition gives nothing though it has more."""
        now = time.monotonic()
        waiting = [p for p in self._assigned - self._consumer.paused() if p not in found and not self.ended(tuple(p))]
        self._quiet = {part: self._quiet.get(part, now) for part in waiting}
        if self._assigned:
            self._unassigned_since = now
        elif now <= self._unassigned_since + _JOIN_SECONDS:
            return
        if not self._assigned or any(now > since + _STUCK_SECONDS for since in self._quiet.values()):
            _log.warning("Kafka gives nothing: begins anew")
            self._consumer.close(autocommit=False, timeout_ms=1000)
            self._open()

    def ended(self, place: Place) -> bool:
        """See `client.Consumer`."""
        part = kafka.TopicPartition(*place)
        if part not in self._assigned or not self._consumer.assignment().issuperset({part}):
            return False
        end = self._consumer.highwater(part)
        try:
            position = self._consumer.position(part, timeout_ms=0)
        except kafka_errors.KafkaError:
            return False
        return end is not None and position is not None and position >= end

    def lag(self) -> dict[Place, int]:
        """See `client.Consumer`."""
        found = {}
        for part in self._consumer.assignment():
            end, position = self._consumer.highwater(part), self._consumer.position(part, timeout_ms=_ASK_MS)
            found[part.topic, part.partition] = 0 if end is None or position is None else max(0, end - position)
        return found

    def nothing_more(self, places: Sequence[Place]) -> set[Place]:
        """See `client.Consumer`."""
        parts = [kafka.TopicPartition(*place) for place in places]
        try:
            ends = self._consumer.end_offsets(parts, timeout_ms=_ASK_MS) if parts else {}
            return {tuple(p) for p in parts if self._consumer.position(p, timeout_ms=_ASK_MS) >= ends[p]}
        except kafka_errors.KafkaError:
            return set()

    def partitions(self, topic: str) -> int:
        """See `client.Consumer`."""
        return len(self._consumer.partitions_for_topic(topic) or ())

    def pause(self, places: Sequence[Place]) -> None:
        """See `client.Consumer`."""
        wanted = {kafka.TopicPartition(*place) for place in places} & self._consumer.assignment()
        paused = self._consumer.paused()
        self._consumer.resume(*(paused - wanted))
        self._consumer.pause(*(wanted - paused))

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """See `client.Consumer`."""
        named = {
            kafka.TopicPartition(*place): kafka.OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()
        }
        try:
            self._consumer.commit(named, timeout_ms=_ASK_MS)
        except _REFUSED as error:
            raise AmlError(f"Kafka refuses the intake's commit ({_told(error)}): give it the right to") from error
        except kafka_errors.KafkaError:
            return False
        return True

    def close(self) -> None:
        """See `client.Consumer`."""
        self._consumer.close(autocommit=False, timeout_ms=2000)


class KafkaPythonProducer:
    """A producer that retries until the broker takes what was handed over, or refuses it for good."""

    def __init__(self, connection: Connection, linger_ms: int = 0) -> None:
        settings = common_settings(connection) | {
            "acks": "all", "enable_idempotence": True, "compression_type": "lz4", "linger_ms": linger_ms,
            "max_request_size": LARGEST, "batch_size": 1 << 20, "delivery_timeout_ms": _FOR_EVER_MS,
            "max_block_ms": 60_000,
        }  # fmt: skip
        try:
            self._producer = kafka.KafkaProducer(**settings)
        except kafka_errors.KafkaError as error:
            raise unreachable(connection.brokers, _told(error)) from error
        self._sent: list[Any] = []

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        """See `client.Producer`."""
        if value is None and key is None:
            value = b""  # the client takes no message of nothing
        # A header may hold nothing, which the client takes for a mistake.
        told = [(name, content or b"") for name, content in headers]
        try:
            self._sent.append(self._producer.send(topic, value, key=key, headers=told, partition=partition))
        except (kafka_errors.KafkaError, ValueError) as error:
            raise refused(topic, _told(error)) from error

    def flush(self, seconds: float) -> bool:
        """See `client.Producer`."""
        until = time.monotonic() + seconds
        while self._sent:
            future = self._sent[-1]
            try:
                future.get(timeout=max(0.0, until - time.monotonic()))
            except kafka_errors.KafkaTimeoutError as error:
                if future.failed():
                    raise refused("", _told(error)) from error
                return False
            except kafka_errors.KafkaError as error:
                raise refused("", _told(error)) from error
            self._sent.pop()
        return True

    def close(self) -> None:
        """See `client.Producer`."""
        if self._sent:
            # The client's own close would wait for each of these and raise: they are given up first.
            self._producer._sender.force_close()
            self._sent = []
        self._producer.close(timeout=2)


def _message(record: Any) -> Message:
    return Message(
        record.topic, record.partition, record.offset, record.timestamp * 1000, record.key, record.value, record.headers
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()[:300]
