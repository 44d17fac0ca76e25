"""confluent-kafka, which is librdkafka, behind the small interface of client.py: for many single messages.

Traps that this goes around: `consume(n)` waits for n messages, so the first is awaited alone and the rest taken as they
lie there; where reading goes on is told explicitly after every rebalance; a commit has no time limit of its own; a
static member whose broker was away while it joined is fenced by itself, for good (2.16.1): a new client follows it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import LARGEST, LONG_POLL_MS, Connection, Place, Polled, no_topic, refused, removed, unreachable
from aml.stream.forms import Message

try:
    import confluent_kafka as confluent
    from confluent_kafka import KafkaError, KafkaException, TopicPartition
except ImportError as error:
    raise AmlError("confluent-kafka is not installed: pip install 'aml-monitor[fast]'") from error

_AGE: Final = 5.0  # seconds for which the number of a topic's partitions is believed
_ASK: Final = 2.0  # seconds that a question to the brokers may take
_ROOM: Final = 60.0  # seconds that a message may wait for room in the producer
_SOON: Final = 60.0  # seconds in which a client that is fenced twice has another of its name
_QUIET: Final = 10.0  # seconds between two lines about what goes wrong
_log: Final = logging.getLogger("aml.intake")
_REFUSED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
)  # fmt: skip
_NOWHERE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def _common(connection: Connection) -> dict[str, Any]:
    return {
        "bootstrap.servers": connection.brokers, "reconnect.backoff.max.ms": 1_000, "log_level": 2,
        "topic.metadata.refresh.interval.ms": 5_000, "allow.auto.create.topics": False,
        **(connection.librdkafka or {}),
    }  # fmt: skip


class ConfluentConsumer:
    """A member of a group, by confluent-kafka. See `client.Consumer` for what each method promises."""

    def __init__(self, connection: Connection, topics: Sequence[str], group: str, member: str | None) -> None:
        static = {} if member is None else {"group.instance.id": member}
        self._brokers, self._topics = connection.brokers, list(topics)
        self._settings = _common(connection) | static | {
            "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "error",
            "isolation.level": "read_committed", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 2_000,
            "max.poll.interval.ms": 600_000, "fetch.wait.max.ms": LONG_POLL_MS, "max.partition.fetch.bytes": 1 << 20,
            "queued.max.messages.kbytes": 32 << 10, "fetch.queue.backoff.ms": 10,
            "partition.assignment.strategy": "range",
            "error_cb": self._told,
        }  # fmt: skip
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._counts: dict[str, tuple[float, int]] = {}  # by topic when it was asked, and its partitions
        self._begun = -_SOON  # when this client was made
        self._spoke = -_QUIET
        self._open()
        for topic in topics:
            if not self.partitions(topic):
                raise no_topic(topic)

    def _open(self) -> None:
        self._next: dict[Place, int] = {}  # what is handed out next, by assigned partition
        self._ends: dict[Place, int] = {}  # what was known of it at the last poll
        self._paused: set[Place] = set()
        self._changed = False
        self._fatal: Any = None
        self._consumer = confluent.Consumer(self._settings, logger=_log)
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked)

    def _told(self, error: Any) -> None:
        if _is_fatal(error):
            self._fatal = error
        elif time.monotonic() > self._spoke + _QUIET:
            self._spoke = time.monotonic()
            _log.warning("Kafka at %s: %s", self._brokers, error.str())

    def _anew(self) -> Polled:
        """Begin with a new client in place of one that is done for, if that is the first time in a while."""
        if time.monotonic() < self._begun + _SOON:
            raise AmlError(f"Kafka refuses the intake ({self._fatal.str()}): is another process of the same name?")
        _log.warning("Kafka at %s: %s: begins anew", self._brokers, self._fatal.str())
        self._begun = time.monotonic()
        self._consumer.close()
        self._open()
        return Polled((), {})

    def _assigned(self, consumer: Any, parts: list[Any]) -> None:
        consumer.assign([])  # nothing is read before it is known where
        self._next = dict.fromkeys(((part.topic, part.partition) for part in parts), -1)
        self._changed = True

    def _revoked(self, consumer: Any, _: list[Any]) -> None:
        consumer.unassign()
        self._next, self._changed = {}, True

    def poll(self, seconds: float, most: int) -> Polled:
        """What is there; at most so many."""
        found = self._consumer.consume(1, seconds)
        self._ends = {place: end for place in self._next if (end := self._end(place)) is not None}
        if found and most > 1:
            found += self._consumer.consume(most - 1, 0)
        errors = [error for one in found if (error := one.error()) is not None]
        self._fatal = next(filter(_is_fatal, errors), self._fatal)
        if self._fatal is not None:
            return self._anew()
        if self._changed:
            return Polled((), self._settled())
        if any(error.code() in _NOWHERE for error in errors):
            self._changed = True
            return Polled((), self._settled())
        for error in errors:
            self._judge(error)
        messages = [_message(one) for one in found if not one.error()]
        for m in messages:
            self._next[m.topic, m.partition] = m.offset + 1
        return Polled(messages)

    def _judge(self, error: Any) -> None:
        if error.code() in _REFUSED:
            raise AmlError(f"Kafka refuses the intake ({error.str()}): give it the right to read")
        self._told(error)

    def _settled(self) -> dict[Place, int] | None:
        """Read every partition on from where the group has come; None where the brokers do not say."""
        parts = [TopicPartition(*place) for place in sorted(self._next)]
        try:
            committed = self._consumer.committed(parts, _ASK) if parts else []
            begins = [self._consumer.get_watermark_offsets(part, _ASK)[0] for part in parts]
        except KafkaException as error:
            self._judge(error.args[0])
            return None
        positions = {}
        for part, begin in zip(committed, begins, strict=True):
            at = begin if part.offset < 0 else part.offset
            if at < begin:
                raise removed((part.topic, part.partition), begin, at)
            positions[part.topic, part.partition] = at
        self._consumer.assign([TopicPartition(*place, at) for place, at in sorted(positions.items())])
        self._next, self._ends, self._paused = dict(positions), {}, set()
        # Only now: where the broker went away in between, the next poll tries again.
        self._changed = False
        return positions

    def ended(self, place: Place) -> bool:
        """By what the client knew when it was polled: it goes on fetching by itself."""
        end = self._ends.get(place)
        return end is not None and not self._changed and self._next.get(place, -1) >= end

    def _end(self, place: Place) -> int | None:
        if self._changed or place not in self._next:
            return None
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return end if end >= 0 else None

    def lag(self) -> dict[Place, int]:
        """By what the client knows."""
        ends = {place: self._end(place) for place in self._next.copy()}
        return {place: 0 if end is None else max(0, end - self._next.get(place, end)) for place, end in ends.items()}

    def nothing_more(self, places: Sequence[Place]) -> set[Place]:
        """By what the brokers say."""
        try:
            ends = {place: self._consumer.get_watermark_offsets(TopicPartition(*place), _ASK)[1] for place in places}
        except KafkaException:
            return set()
        return {place for place, end in ends.items() if self._next.get(place, -1) >= end}

    def partitions(self, topic: str) -> int:
        """As many as there were seconds ago at most, or as were known last."""
        asked, count = self._counts.get(topic, (0.0, 0))
        if time.monotonic() < asked + _AGE and count:
            return count
        try:
            found = self._consumer.list_topics(topic, timeout=10.0 if not self._counts else _ASK).topics
        except KafkaException as error:
            if not self._counts:
                raise unreachable(self._brokers, error.args[0].str()) from error
            return count
        count = len(found[topic].partitions) if topic in found else 0
        self._counts[topic] = time.monotonic(), count
        return count

    def pause(self, places: Sequence[Place]) -> None:
        """All others go on."""
        wanted = set(places) & self._next.keys()
        if self._changed or wanted == self._paused:
            return
        self._consumer.resume([TopicPartition(*place, self._next[place]) for place in self._paused - wanted])
        self._consumer.pause([TopicPartition(*place) for place in wanted - self._paused])
        self._paused = wanted

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """Within two seconds, or not."""
        named = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        try:
            done = self._commits.submit(self._consumer.commit, offsets=named, asynchronous=False).result(_ASK)
        except Late:
            return False
        except KafkaException as error:
            told = error.args[0]
            if told.code() in _REFUSED:
                raise AmlError(f"Kafka refuses the intake's commit ({told.str()}): give it the right to") from error
            return False
        return not any(part.error for part in done)

    def close(self) -> None:
        """A static member's partitions wait for it."""
        self._commits.shutdown(wait=False)
        self._consumer.close()


class ConfluentProducer:
    """A producer that retries until the broker takes what was handed over, or refuses it for good."""

    def __init__(self, connection: Connection, linger_ms: int = 0) -> None:
        self._producer = confluent.Producer(_common(connection) | {
            "enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": linger_ms,
            "message.max.bytes": LARGEST, "batch.size": 1 << 20, "message.timeout.ms": 0,
            "queue.buffering.max.kbytes": 1 << 20, "partitioner": "murmur2_random", "error_cb": self._told,
        })  # fmt: skip
        self._refused: tuple[str, Any] | None = None  # topic and error

    def _told(self, error: Any) -> None:
        if _is_fatal(error):
            self._refused = "", error

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._refused = message.topic(), error

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        """Hand a message over, waiting for room."""
        self._check()
        until = time.monotonic() + _ROOM
        told: list[tuple[str, str | bytes | None]] = [(name, content or b"") for name, content in headers]
        while True:
            try:
                self._producer.produce(
                    topic, value, key, -1 if partition is None else partition, self._delivered, headers=told
                )
                break
            except BufferError as error:
                if time.monotonic() > until:
                    raise AmlError(f"{topic}: no room for a message for {_ROOM:.0f} s: is Kafka there?") from error
                self._producer.poll(0.1)
            except KafkaException as error:
                raise refused(topic, error.args[0].str()) from error
        self._producer.poll(0)

    def flush(self, seconds: float) -> bool:
        """Whether all is acknowledged."""
        left = self._producer.flush(seconds)
        self._check()
        return left == 0

    def _check(self) -> None:
        if self._refused is not None:
            topic, error = self._refused
            raise refused(topic, error.str())

    def close(self) -> None:
        """What is not acknowledged is dropped."""
        self._producer.purge()
        self._producer.flush(1.0)


def _is_fatal(error: Any) -> bool:
    return bool(error.fatal()) or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)


def _message(one: Any) -> Message:
    _, at = one.timestamp()
    return Message(one.topic(), one.partition(), one.offset(), at * 1000, one.key(), one.value(), one.headers() or ())
