"""What the intake asks of a Kafka client: whole polls of a group's partitions, and messages that are acknowledged.

kafka-python is the client; confluent-kafka can stand in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aml.domain.errors import USAGE, AmlError
from aml.stream.forms import Message

Place = tuple[str, int]
CLIENTS: Final = ("kafka-python", "confluent-kafka")
LARGEST: Final = 64 << 20  # bytes of a message that a producer hands over
# One fetch at a time is under way to a broker: while it waits for quiet partitions, messages of the others wait too.
LONG_POLL_MS: Final = 20


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought.

    positions: where every assigned partition begins, given where the assignment is another than at the last poll; what
    was polled before and not committed comes again then. Messages of a partition are in their order.
    """

    messages: Sequence[Message] = ()
    positions: Mapping[Place, int] | None = None


class Consumer(Protocol):
    """A member of a group that reads topics to commit what it has done with them."""

    def poll(self, seconds: float, most: int) -> Polled:
        """Messages that are there, at most so many, waiting for one at most so long. Raises AmlError for good reason
        to end: no topic, no right, messages that were removed before they were read."""

    def ended(self, place: Place) -> bool:
        """Whether everything in a partition was handed out."""

    def lag(self) -> Mapping[Place, int]:
        """Messages that are there and were not handed out, by assigned partition, as the client knows it."""

    def nothing_more(self, places: Sequence[Place]) -> set[Place]:
        """Those of which everything was handed out that the broker has now; none where it does not answer."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has now; 0 where it is not there."""

    def pause(self, places: Sequence[Place]) -> None:
        """Hand out messages of all assigned partitions but these."""

    def commit(self, offsets: Mapping[Place, int]) -> bool:
        """Have the next offsets of partitions noted, now or as soon as the broker answers while they are ours; False
        where they are no longer ours, or the broker is away: then they are to come again. Raises AmlError, here or at
        a later poll, where the right is missing."""

    def close(self) -> None:
        """Leave the broker, within seconds, there or not; a static member's partitions wait for it."""


class Producer(Protocol):
    """Writes messages, acknowledged by all replicas, none twice."""

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        """Hand a message over."""

    def flush(self, seconds: float) -> bool:
        """Wait so long for all that was handed over; whether it is acknowledged. Raises AmlError where a message was
        refused for good."""

    def close(self) -> None:
        """End; what is not acknowledged is dropped."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the brokers. options, librdkafka: kafka-python's and librdkafka's own, beside what their use here
    needs."""

    brokers: str
    client: str = CLIENTS[0]
    options: Mapping[str, object] | None = None
    librdkafka: Mapping[str, str] | None = None

    def consumer(self, topics: Sequence[str], group: str, member: str | None) -> Consumer:
        """A consumer of a group; member: its static id. Raises AmlError where the client is not installed."""
        if self._is_fast():
            from aml.stream.confluent import ConfluentConsumer

            return ConfluentConsumer(self, topics, group, member)
        from aml.stream.kafkapython import KafkaPythonConsumer

        return KafkaPythonConsumer(self, topics, group, member)

    def producer(self, linger_ms: int = 0) -> Producer:
        """A producer whose messages wait so long for others. Raises AmlError where the client is not installed."""
        if self._is_fast():
            from aml.stream.confluentproducer import ConfluentProducer

            return ConfluentProducer(self, linger_ms)
        from aml.stream.kafkapython import KafkaPythonProducer

        return KafkaPythonProducer(self, linger_ms)

    def _is_fast(self) -> bool:
        if self.client not in CLIENTS:
            raise AmlError(f"AML_KAFKA__CLIENT={self.client}: is none of {', '.join(CLIENTS)}", USAGE)
        return self.client == CLIENTS[1]


def removed(place: Place, begins: int, position: int) -> AmlError:
    """The error of messages that the broker threw away before they were read."""
    topic, partition = place
    return AmlError(
        f"{topic}[{partition}]: offsets {position} to {begins - 1} were removed before the intake read them: raise the "
        "topic's retention; what was lost must come again from the bank"
    )


def unreachable(brokers: str, error: object, mend: str = "AML_KAFKA__BOOTSTRAP_SERVERS") -> AmlError:
    """The error of brokers that do not answer; mend: what may be wrong."""
    return AmlError(f"Kafka at {brokers} does not answer ({error}): start it, or mend {mend}")


def refused(topic: str, error: object) -> AmlError:
    """The error of a message that no trying again brings in; topic: empty where it is not known."""
    where = f" for {topic}" if topic else ""
    return AmlError(f"Kafka refused a message{where} for good ({error}): see `aml topics check`")


def no_topic(topic: str) -> AmlError:
    """The error of a topic that is not there."""
    return AmlError(f"topic {topic} is not there: make it with `aml topics apply`, or name another")
