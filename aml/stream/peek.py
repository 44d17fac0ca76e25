"""Looks into topics without being a member of any group: where they end, and what waits in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aml.domain.errors import AmlError
from aml.store.completeness import Known
from aml.stream.client import unreachable
from aml.stream.ledger import Broker, Place, Waiting
from aml.stream.mail import unpack_letters

_POLL_MS: Final = 500
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Message:
    """One message; at: broker timestamp, UTC µs."""

    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Peeker(Protocol):
    """What is asked of a broker."""

    def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Begin and end offset by partition; none where there is no such topic."""

    def read(
        self, spans: Mapping[Place, tuple[int, int]], take: Callable[[Message], None], most: int, seconds: float
    ) -> dict[Place, int]:
        """Hand over the messages of [first, next) of each partition, in order within one.

        Returns where it stopped in the partitions that it did not read to the end of their spans: at most so many
        messages are read, for so many seconds.
        """


class KafkaPeeker:
    """Looks with kafka-python."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Begin and end offset by partition; none where there is no such topic."""
        from kafka import TopicPartition

        numbers = self._consumer.partitions_for_topic(topic) or set()
        parts = [TopicPartition(topic, number) for number in sorted(numbers)]
        if not parts:
            return {}
        begins, ends = self._consumer.beginning_offsets(parts), self._consumer.end_offsets(parts)
        return {part.partition: (begins[part], ends[part]) for part in parts}

    def read(
        self, spans: Mapping[Place, tuple[int, int]], take: Callable[[Message], None], most: int, seconds: float
    ) -> dict[Place, int]:
        """Hand over the messages of spans; returns where it stopped short of them."""
        from kafka import TopicPartition

        left = {TopicPartition(*place): span for place, span in spans.items() if span[0] < span[1]}
        self._consumer.assign(list(left))
        for part, (first, _) in left.items():
            self._consumer.seek(part, first)
        until, given = time.monotonic() + seconds, 0
        while left and given < most and time.monotonic() < until:
            polled = self._consumer.poll(timeout_ms=_POLL_MS, max_records=min(_AT_ONCE, most - given))
            for part, records in polled.items():
                for record in records:
                    if part in left and record.offset < left[part][1]:
                        given += 1
                        take(_message(record))
            # Control records take offsets and are never handed out: the position tells, not the last message.
            for part in [part for part, (_, end) in left.items() if self._consumer.position(part) >= end]:
                del left[part]
                self._consumer.pause(part)
        return {(part.topic, part.partition): self._consumer.position(part) for part in left}


def _message(record: Any) -> Message:
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp * 1000,
        record.key,
        record.value,
        tuple(record.headers),
    )


@contextmanager
def peeking(settings: Mapping[str, Any], brokers: str) -> Iterator[KafkaPeeker]:
    """A peeker for the time of a command. settings: kafka-python's own, for a consumer; brokers: for messages.

    Raises AmlError where kafka-python is not installed or no broker answers.
    """
    try:
        from kafka import KafkaConsumer
        from kafka.errors import KafkaError
    except ImportError as error:
        raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error
    try:
        consumer = KafkaConsumer(
            **{**settings, "group_id": None, "enable_auto_commit": False, "isolation_level": "read_committed"}
        )
    except KafkaError as error:
        raise unreachable(brokers, error) from error
    try:
        yield KafkaPeeker(consumer)
    except KafkaError as error:
        raise unreachable(brokers, error) from error
    finally:
        consumer.close(timeout_ms=1000)


def look(
    peeker: Peeker,
    known: Known,
    topics: Iterable[str],
    inner: tuple[str, str],
    elements_of: Callable[[Message], int],
    *,
    most: int = 20_000,
    seconds: float = 20.0,
) -> Broker:
    """What waits in the source topics behind what was consumed, and in the records between shards.

    topics: beside those that the database knows; inner: the topics of legs and of records; most, seconds: how much is
    read to count elements.
    """
    legs, records = (peeker.ends(topic) for topic in inner)
    lost = [
        f"{topic}[{shard.shard}]: offsets {at} to {ends[shard.shard][0] - 1} were removed before the shard read them: "
        "see the runbook on restoring"
        for shard in known.shards
        for topic, ends, at in ((inner[0], legs, shard.legs), (inner[1], records, shard.records))
        if shard.shard in ends and ends[shard.shard][0] > at
    ]
    rows = 0

    def take(message: Message) -> None:
        nonlocal rows
        rows += sum(letter.of("transactions").size for letter in unpack_letters(message.value or b""))

    spans = {
        (inner[1], shard.shard): (max(shard.records, begin), end)
        for shard in known.shards
        for begin, end in [records.get(shard.shard, (0, 0))]
    }
    stopped = peeker.read(spans, take, most, seconds)
    rows += sum(spans[place][1] - at for place, at in stopped.items())
    return Broker(_waiting(peeker, known, topics, elements_of, most, seconds), rows, not stopped, tuple(lost))


def _waiting(
    peeker: Peeker,
    known: Known,
    topics: Iterable[str],
    elements_of: Callable[[Message], int],
    most: int,
    seconds: float,
) -> dict[Place, Waiting]:
    reached = {(row.topic, row.partition): row.next for row in known.sources}
    bounds: dict[Place, tuple[int, int]] = dict.fromkeys(reached, (0, 0))
    for topic in sorted({*topics, *(topic for topic, _ in reached)}):
        bounds.update({(topic, partition): found for partition, found in peeker.ends(topic).items()})
    spans = {place: (max(begin, reached.get(place, 0)), end) for place, (begin, end) in bounds.items()}
    elements: dict[Place, int] = dict.fromkeys(spans, 0)
    oldest: dict[Place, int] = {}
    unjudged: dict[Place, int] = {}

    def take(message: Message) -> None:
        place = (message.topic, message.partition)
        elements[place] += elements_of(message)
        oldest.setdefault(place, message.at)

    def note(message: Message) -> None:
        unjudged[message.topic, message.partition] = message.at

    stopped = peeker.read(spans, take, most, seconds)
    # What the shard that counts has consumed, another may have yet to judge.
    for place, at in _judged_to(known).items():
        first = max(at, bounds[place][0])
        if first < min(reached[place], bounds[place][1]):
            peeker.read({place: (first, first + 1)}, note, 1, seconds)
    for place, at in stopped.items():
        # Messages that were not read count one each: that much there is at the least.
        elements[place] += spans[place][1] - at
    return {
        place: Waiting(*bounds[place], elements[place], place not in stopped, oldest.get(place), unjudged.get(place))
        for place in spans
    }


def _judged_to(known: Known) -> dict[Place, int]:
    """Up to where all shards have judged the partitions of the source topics."""
    covered = [shard.state.get("covered", {}) for shard in known.shards]
    return {
        (row.topic, row.partition): min(held.get(f"{row.topic}:{row.partition}", 0) for held in covered)
        for row in known.sources
    }
