"""A consumer by confluent-kafka, which is librdkafka, behind the small interface of client.py, for single messages.

Traps that this goes around: `consume(n)` waits for n messages, so the first is awaited alone and the rest taken as they
lie there; where reading goes on is told explicitly after every rebalance; a commit that is waited for has no time limit
and must not outlive its client, so none is waited for: polls bring the answers; a callback that raises leaves a client
that never closes, so they only note; a static member whose broker was away while it joined is fenced by itself, for
good (2.16.1): a new client follows it; and one that is fenced while it holds partitions never comes back from being
closed: that is done in a thread, for which nobody waits long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import LONG_POLL_MS, Connection, Place, Polled, no_topic, removed, unreachable
from aml.stream.forms import Message

try:
    import confluent_kafka as confluent
    from confluent_kafka import KafkaError, KafkaException, TopicPartition
except ImportError as error:
    raise AmlError("confluent-kafka is not installed: pip install 'aml-monitor[fast]'") from error

# The producer's module takes confluent-kafka from here, where its absence has a name.
__all__ = ["ConfluentConsumer", "KafkaException", "common_settings", "confluent", "is_fatal"]
_AGE: Final = 5.0  # seconds for which the number of a topic's partitions is believed
_ASK: Final = 2.0  # seconds that a question to the brokers may take
_FIRST: Final = 10.0  # seconds that the first one about a topic may take
_LEAVE: Final = 3.0  # seconds in which a client may leave the brokers
_LEAVE_FATAL: Final = 0.5  # and one that a fatal error has ended, which hangs where it held partitions
_SOON: Final = 60.0  # seconds in which a client that is fenced twice has another of its name
_AGAIN: Final = 1.0  # seconds after which a commit that failed is asked for again
_QUIET: Final = 10.0  # seconds between two lines about what goes wrong
_log: Final = logging.getLogger("aml.intake")
_REFUSED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
)  # fmt: skip
_ABSENT: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
_END: Final = KafkaError._PARTITION_EOF  # no error: all was handed out
_NOWHERE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def common_settings(connection: Connection) -> dict[str, Any]:
    """What every client of librdkafka is given."""
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
        self._settings = common_settings(connection) | static | {
            "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "error",
            "isolation.level": "read_committed", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 2_000,
            "max.poll.interval.ms": 600_000, "fetch.wait.max.ms": LONG_POLL_MS, "max.partition.fetch.bytes": 1 << 20,
            "queued.max.messages.kbytes": 32 << 10, "fetch.queue.backoff.ms": 10,
            "partition.assignment.strategy": "range", "enable.partition.eof": True,
            "error_cb": self._told, "on_commit": self._answered,
        }  # fmt: skip
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
        self._owed: dict[Place, int] = {}  # what was to be committed and is not known to be
        self._asked = 0  # commits without an answer
        self._denied: Any = None  # the error of a commit for which a right is missing
        self._again = 0.0  # when what is owed may be asked for once more
        self._changed = False
        self._fatal: Any = None
        self._consumer = confluent.Consumer(self._settings, logger=_log)
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked)

    def _told(self, error: Any) -> None:
        if is_fatal(error):
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
        self._leave()
        self._open()
        return Polled((), {})

    def _assigned(self, consumer: Any, parts: list[Any]) -> None:
        consumer.assign([])  # nothing is read before it is known where
        self._next = dict.fromkeys(((part.topic, part.partition) for part in parts), -1)
        self._owed, self._changed = {}, True

    def _revoked(self, consumer: Any, _: list[Any]) -> None:
        consumer.unassign()
        self._next, self._owed, self._changed = {}, {}, True

    def poll(self, seconds: float, most: int) -> Polled:
        """What is there; at most so many."""
        found = self._consumer.consume(1, seconds)
        self._ends = {place: end for place in self._next if (end := self._end(place)) is not None}
        if found and most > 1:
            found += self._consumer.consume(most - 1, 0)
        said = [(error, one) for one in found if (error := one.error()) is not None]
        errors = [error for error, _ in said if error.code() != _END]
        self._fatal = next(filter(is_fatal, errors), self._fatal)
        if self._fatal is not None:
            return self._anew()
        if self._denied is not None:
            raise AmlError(f"Kafka refuses the intake's commit ({self._denied.str()}): give it the right to")
        for error in errors:
            if error.code() in _NOWHERE:
                self._changed = True
            else:
                self._judge(error)
        if self._changed:
            return Polled((), self._settled())
        if self._owed and not self._asked and time.monotonic() >= self._again:
            self._ask(self._owed)
        messages = [_message(one) for one in found if one.error() is None]
        for m in messages:
            self._next[m.topic, m.partition] = m.offset + 1
        for error, one in said:
            if error.code() == _END:
                self._reached(one)
        return Polled(messages)

    def _reached(self, end: Any) -> None:
        """Marks of transactions may lie between a partition's last message and its end."""
        place = end.topic(), end.partition()
        self._next[place] = max(self._next[place], end.offset())

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
        unsaid = [part.error for part in committed if part.error is not None]
        for told in unsaid:
            self._judge(told)
        if unsaid:
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
        known = topic in self._counts
        asked, count = self._counts.get(topic, (0.0, 0))
        if time.monotonic() < asked + _AGE and count:
            return count
        try:
            found = self._consumer.list_topics(topic, timeout=_ASK if known else _FIRST).topics
            error = found[topic].error if topic in found else None
        except KafkaException as failed:
            found, error = {}, failed.args[0]
        if error is None or error.code() in _ABSENT:
            count = len(found[topic].partitions) if topic in found else 0
        else:
            self._judge(error)
            if not known:
                raise unreachable(self._brokers, error.str())
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
        """Asked for at once, and again until it is so or the partitions change hands."""
        if self._changed or not offsets.keys() <= self._next.keys():
            return False
        self._owed |= offsets
        self._ask(offsets)
        return True

    def _ask(self, offsets: Mapping[Place, int]) -> None:
        self._asked += 1
        self._consumer.commit(offsets=[TopicPartition(*place, at) for place, at in offsets.items()], asynchronous=True)

    def _answered(self, error: Any, parts: list[Any]) -> None:
        """The answer to a commit, which comes while the client is polled or closed."""
        self._asked -= 1
        errors = [error] if error is not None else [part.error for part in parts if part.error is not None]
        for told in errors:
            self._again = time.monotonic() + _AGAIN
            if told.code() in _REFUSED:
                self._denied = told
            self._told(told)
        for part in parts:
            place = part.topic, part.partition
            if error is None and part.error is None and self._owed.get(place) == part.offset:
                del self._owed[place]

    def close(self) -> None:
        """What is owed is asked for once more; a static member's partitions wait for it."""
        if self._owed and not self._asked:
            self._ask(self._owed)
        self._leave()

    def _leave(self) -> None:
        closing = threading.Thread(target=self._consumer.close, daemon=True)
        closing.start()
        closing.join(_LEAVE if self._fatal is None else _LEAVE_FATAL)


def is_fatal(error: Any) -> bool:
    """Whether a client is done for after such an error."""
    return bool(error.fatal()) or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID)


def _message(one: Any) -> Message:
    _, at = one.timestamp()
    return Message(one.topic(), one.partition(), one.offset(), at * 1000, one.key(), one.value(), one.headers() or ())
