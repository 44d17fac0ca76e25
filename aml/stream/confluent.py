"""librdkafka behind the small interface of client.py: where messages come faster than kafka-python reads them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import Connection, Place, Polled, no_topic, removed
from aml.stream.forms import Message

try:
    import confluent_kafka as ck
except ImportError as error:
    raise AmlError("confluent-kafka is not installed: pip install 'aml-monitor[stream,fast]'") from error

_METADATA_AGE_MS: Final = 5_000
_ASK: Final = 5.0
_AWAY: Final = 10.0
_log: Final = logging.getLogger("aml.intake")
_REFUSED: Final = (
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED, ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
    ck.KafkaError.FENCED_INSTANCE_ID, ck.KafkaError._FATAL,
)  # fmt: skip


def _common(connection: Connection) -> dict[str, Any]:
    return {
        "bootstrap.servers": connection.brokers,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": _METADATA_AGE_MS,
        "allow.auto.create.topics": False,
        **(connection.options or {}),
    }


class ConfluentConsumer:
    """A member of a group, by librdkafka."""

    def __init__(self, connection: Connection, topics: Sequence[str], group: str, member: str | None) -> None:
        settings = _common(connection) | {
            "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "error", "isolation.level":
            "read_committed", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 2_000,
            "max.poll.interval.ms": 600_000, "fetch.wait.max.ms": 100, "partition.assignment.strategy": "range",
            "queued.max.messages.kbytes": 65_536,
        }  # fmt: skip
        if member is not None:
            settings["group.instance.id"] = member
        self._consumer = ck.Consumer(settings, logger=_log)
        self._counts: dict[str, tuple[float, int]] = {}
        self._new: list[Any] | None = None
        self._next: dict[Place, int] = {}
        self._paused: set[Place] = set()
        for topic in topics:
            if not self.partitions(topic):
                raise no_topic(topic)
        self._consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, consumer: Any, parts: list[Any]) -> None:
        self._new = parts

    def _on_revoke(self, consumer: Any, parts: list[Any]) -> None:
        self._new = []

    def poll(self, seconds: float, most: int) -> Polled:
        """See `client.Consumer`."""
        found = self._consumer.consume(most, seconds)
        if self._new is not None:
            try:
                return Polled((), self._settled(self._new))
            except ck.KafkaException as error:
                _log.warning("Kafka: %s", error)
                return Polled()
        good = []
        for message in found:
            wrong = message.error()
            if wrong is None:
                good.append(message)
            elif wrong.code() in _REFUSED:
                raise AmlError(f"Kafka refuses the intake ({wrong.str()}): give it the right to read")
            elif wrong.code() == ck.KafkaError._AUTO_OFFSET_RESET:
                place = (str(message.topic()), int(message.partition() or 0))
                begins, _ = self._consumer.get_watermark_offsets(ck.TopicPartition(*place), _ASK)
                raise removed(place, begins, self._next.get(place, 0))
            else:
                _log.warning("Kafka: %s", wrong.str())
        return self._told(good)

    def _told(self, found: list[Any]) -> Polled:
        messages = [
            Message(
                m.topic(), m.partition(), m.offset(), m.timestamp()[1] * 1000, m.key(), m.value(), m.headers() or ()
            )
            for m in found
        ]
        self._next.update({m[:2]: m.offset + 1 for m in messages})
        return Polled(messages)

    def _settled(self, new: list[Any]) -> dict[Place, int]:
        """Begin every partition where the group has come."""
        positions = {}
        for part in self._consumer.committed(new, _ASK) if new else []:
            begins, _ = self._consumer.get_watermark_offsets(part, _ASK)
            place = (part.topic, part.partition)
            positions[place] = begins if part.offset < 0 else part.offset
            if positions[place] < begins:
                raise removed(place, begins, positions[place])
        self._consumer.assign([ck.TopicPartition(*place, at) for place, at in positions.items()])
        self._next, self._new, self._paused = dict(positions), None, set()
        return positions

    def ended(self, place: Place) -> bool:
        """See `client.Consumer`."""
        part = ck.TopicPartition(*place)
        try:
            _, end = self._consumer.get_watermark_offsets(part, cached=True)
            (at,) = self._consumer.position([part])
        except ck.KafkaException:
            return False
        return end >= 0 and max(at.offset, self._next.get(place, -1)) >= end

    def partitions(self, topic: str) -> int:
        """See `client.Consumer`."""
        until, count = self._counts.get(topic, (0.0, 0))
        if time.monotonic() < until:
            return count
        try:
            count = len(self._consumer.list_topics(topic, _AWAY).topics[topic].partitions) or count
        except ck.KafkaException as error:
            if not count:
                raise AmlError(f"Kafka does not answer ({error}): mend AML_KAFKA__BOOTSTRAP_SERVERS") from error
        self._counts[topic] = (time.monotonic() + _METADATA_AGE_MS / 1000, count)
        return count

    def pause(self, places: Sequence[Place]) -> None:
        """See `client.Consumer`."""
        wanted = set(places) & self._next.keys()
        self._consumer.resume([ck.TopicPartition(*place) for place in self._paused - wanted])
        self._consumer.pause([ck.TopicPartition(*place) for place in wanted - self._paused])
        self._paused = wanted

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """See `client.Consumer`."""
        try:
            self._consumer.commit(
                offsets=[ck.TopicPartition(*place, at) for place, at in offsets.items()], asynchronous=False
            )
        except ck.KafkaException as error:
            if error.args[0].code() in _REFUSED:
                raise AmlError(f"Kafka refuses the intake's commit ({error}): give it the right to") from error
            return False
        return True

    def close(self) -> None:
        """See `client.Consumer`."""
        self._consumer.close()


class ConfluentProducer:
    """A producer that retries until the broker takes what was handed over, or refuses it for good."""

    def __init__(self, connection: Connection) -> None:
        self._producer = ck.Producer(
            _common(connection) | {
                "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 0, "message.max.bytes": 64 << 20,
                "delivery.timeout.ms": 0, "queue.buffering.max.kbytes": 1 << 20,
            },
            logger=_log,
        )  # fmt: skip
        self._refused: Any = None

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        """See `client.Producer`."""
        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        try:
            self._producer.produce(topic, value, key, on_delivery=self._delivered, headers=list(headers), **place)
        except (ck.KafkaException, BufferError) as error:
            raise AmlError(f"Kafka refused a message for {topic} for good ({error}): see `aml topics check`") from error

    def _delivered(self, error: Any, message: Any) -> None:
        self._refused = self._refused or error

    def flush(self, seconds: float) -> bool:
        """See `client.Producer`."""
        left = self._producer.flush(seconds)
        if self._refused is not None:
            raise AmlError(f"Kafka refused a message for good ({self._refused.str()}): see `aml topics check`")
        return left == 0

    def close(self) -> None:
        """See `client.Producer`."""
        self._producer.purge()
