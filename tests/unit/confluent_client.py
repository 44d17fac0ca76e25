"""The intake's consumer by confluent-kafka against librdkafka's mock of a broker: positions, commits, refusals."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from aml.domain.errors import AmlError
from aml.stream import confluent
from aml.stream.client import Connection, Place, Polled
from aml.stream.confluent import ConfluentConsumer
from tests.mock_kafka import HEARTBEAT, JOIN_GROUP, OFFSET_COMMIT, OFFSET_FETCH, MockKafka

BANK = "bank"
FIRST, SECOND = (BANK, 0), (BANK, 1)
MESSAGES = 50  # of each partition


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    """A broker with two partitions of fifty messages."""
    mock = MockKafka()
    mock.topic(BANK, 2)
    producer = confluent_kafka.Producer({"bootstrap.servers": mock.bootstrap})
    for n in range(2 * MESSAGES):
        producer.produce(BANK, b"%d" % n, partition=n % 2)
    producer.flush()
    yield mock
    mock.close()


class Quick(ConfluentConsumer):
    """Heartbeats come fast, so that rebalances do."""

    def _open(self) -> None:
        self._settings |= {"session.timeout.ms": 1_000, "heartbeat.interval.ms": 100}
        super()._open()


class Member:
    """A consumer, what it handed out, and where it was told to begin."""

    def __init__(self, kafka: MockKafka, group: str, client: type[ConfluentConsumer]) -> None:
        self.consumer = client(Connection(kafka.bootstrap, "confluent-kafka"), [BANK], group, None)
        self.positions: list[dict[Place, int]] = []
        self.messages: list[tuple[int, int]] = []

    def poll(self, seconds: float = 0.1) -> Polled:
        polled = self.consumer.poll(seconds, 1000)
        if polled.positions is not None:
            self.positions.append(dict(polled.positions))
        self.messages += [(m.partition, m.offset) for m in polled.messages]
        return polled

    def until(self, holds: Callable[[], object], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, (self.positions, len(self.messages))
            self.poll()

    def begun(self) -> Member:
        """Polled until it has its partitions."""
        self.until(lambda: self.positions and self.positions[-1])
        return self


@pytest.fixture
def member(kafka: MockKafka) -> Iterator[Callable[..., Member]]:
    """Makes members of one group, closed at the end."""
    made: list[Member] = []
    group = uuid.uuid4().hex

    def make(client: type[ConfluentConsumer] = Quick) -> Member:
        made.append(Member(kafka, group, client))
        return made[-1]

    yield make
    for one in made:
        one.consumer.close()


def committed(kafka: MockKafka, member: Member) -> dict[Place, int]:
    """What the broker holds of a member's group."""
    asking = confluent_kafka.Consumer({
        "bootstrap.servers": kafka.bootstrap, "group.id": member.consumer._settings["group.id"],
    })  # fmt: skip
    try:
        parts = asking.committed([confluent_kafka.TopicPartition(BANK, n) for n in (0, 1)], 5)
    finally:
        asking.close()
    return {(part.topic, part.partition): part.offset for part in parts if part.offset >= 0}


def failing(monkeypatch: pytest.MonkeyPatch, partition: int, code: int, times: int) -> None:
    """Let the first so many answers about committed offsets bear an error of one partition alone."""
    left = [times]

    class Client(confluent_kafka.Consumer):  # type: ignore[misc]
        def committed(self, parts: Any, timeout: float) -> list[Any]:
            told = super().committed(parts, timeout)
            if not left[0]:
                return list(told)
            left[0] -= 1
            return [_with_error(part, code) if part.partition == partition else part for part in told]

    monkeypatch.setattr(confluent.confluent, "Consumer", Client)


def _with_error(part: Any, code: int) -> SimpleNamespace:
    return SimpleNamespace(topic=part.topic, partition=part.partition, offset=-1001, error=KafkaError(code))


def closes_within(seconds: float, member: Member) -> None:
    """In a thread, as librdkafka has no limit to it: a test that fails must not hang."""
    closing = threading.Thread(target=member.consumer.close, daemon=True)
    closing.start()
    closing.join(seconds)
    assert not closing.is_alive()


# ---------------------------------------------------------------------- where it begins


def test_everything_comes_once_in_order_from_where_the_group_has_come(kafka, member):
    one = member().begun()
    assert one.positions == [{FIRST: 0, SECOND: 0}]
    one.until(lambda: len(one.messages) == 2 * MESSAGES)
    assert [m for m in one.messages if m[0] == 0] == [(0, n) for n in range(MESSAGES)]
    assert one.consumer.commit({FIRST: 7})
    one.consumer.close()
    again = member().begun()
    assert again.positions == [{FIRST: 7, SECOND: 0}]
    again.until(lambda: len(again.messages) == 2 * MESSAGES - 7)
    again.until(lambda: again.consumer.ended(FIRST) and again.consumer.ended(SECOND))
    assert set(again.consumer.lag().values()) == {0}
    assert again.consumer.nothing_more([FIRST, SECOND]) == {FIRST, SECOND}


def test_a_partition_whose_committed_offset_is_not_told_is_asked_again_not_begun_at_its_start(
    member, kafka, monkeypatch
):
    one = member().begun()
    assert one.consumer.commit({FIRST: 30, SECOND: 40})
    one.consumer.close()
    failing(monkeypatch, 1, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, 2)
    again = member().begun()
    assert again.positions == [{FIRST: 30, SECOND: 40}]


def test_a_partition_that_the_group_may_not_read_is_refused_by_name(member, kafka, monkeypatch):
    failing(monkeypatch, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED, 1)
    with pytest.raises(AmlError, match=r"Kafka refuses the intake .*give it the right to read"):
        member().begun()


def test_offsets_that_no_broker_tells_are_asked_for_until_one_does(member, kafka):
    one = member()
    kafka.fail(OFFSET_FETCH, [KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError.NOT_COORDINATOR] * 3)
    one.begun()
    assert one.positions == [{FIRST: 0, SECOND: 0}]


@pytest.mark.parametrize("code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_a_group_without_the_right_to_read_ends_in_one_line(member, kafka, code):
    kafka.fail(OFFSET_FETCH, [code] * 5)
    with pytest.raises(AmlError, match=r"Kafka refuses the intake .*give it the right to read"):
        member().begun()


def test_messages_that_were_removed_before_they_were_read_are_an_error(member, kafka):
    one = member().begun()
    assert one.consumer.commit({SECOND: 5})
    one.consumer.close()
    kafka.remove(BANK, 1, 20)
    with pytest.raises(AmlError, match=r"bank\[1\]: offsets 5 to 19 were removed"):
        member().begun()


def test_messages_that_are_removed_while_it_reads_are_an_error(member, kafka):
    one = member().begun()
    assert one.consumer.commit({FIRST: 5, SECOND: 5})
    one.consumer.pause([SECOND])
    kafka.remove(BANK, 1, 40)
    one.consumer.pause([])
    with pytest.raises(AmlError, match=r"bank\[1\]: offsets 5 to 39 were removed"):
        one.until(lambda: False, 5)


# ---------------------------------------------------------------------- commits


def test_a_slow_commit_holds_nobody_up_and_comes_in_the_end(member, kafka):
    one = member().begun()
    kafka.slow(3_000)
    began = time.monotonic()
    assert [one.consumer.commit({FIRST: n, SECOND: 2 * n}) for n in (1, 2, 3)] == [True] * 3
    assert time.monotonic() - began < 0.5
    kafka.slow(0)
    one.until(lambda: not one.consumer._owed)
    assert committed(kafka, one) == {FIRST: 3, SECOND: 6}


def test_what_was_committed_last_is_kept_by_a_client_that_is_closed_at_once(member, kafka):
    one = member().begun()
    kafka.slow(500)
    assert one.consumer.commit({FIRST: 1})
    assert one.consumer.commit({FIRST: 9})
    one.consumer.close()
    kafka.slow(0)
    assert committed(kafka, one) == {FIRST: 9}


def test_a_commit_that_failed_is_asked_for_again_though_nothing_more_is_read(member, kafka):
    one = member().begun()
    kafka.fail(OFFSET_COMMIT, [KafkaError.REQUEST_TIMED_OUT] * 4)
    assert one.consumer.commit({FIRST: 9})
    assert one.consumer._owed
    one.until(lambda: not one.consumer._owed)
    assert committed(kafka, one) == {FIRST: 9}


def test_an_older_commit_that_is_answered_late_does_not_settle_a_newer_one(member, kafka):
    one = member().begun()
    kafka.fail(OFFSET_COMMIT, [0, *[KafkaError.REQUEST_TIMED_OUT] * 4])
    assert one.consumer.commit({FIRST: 9, SECOND: 4})
    assert one.consumer.commit({FIRST: 20})
    one.until(lambda: not one.consumer._owed)
    assert committed(kafka, one) == {FIRST: 20, SECOND: 4}


@pytest.mark.parametrize("code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_a_commit_that_is_refused_ends_in_one_line(member, kafka, code):
    one = member().begun()
    kafka.fail(OFFSET_COMMIT, [code])
    assert one.consumer.commit({FIRST: 9})
    with pytest.raises(AmlError, match=r"Kafka refuses the intake's commit .*give it the right"):
        one.until(lambda: False, 5)
    closes_within(5, one)


def test_partitions_that_went_to_another_are_not_committed(member, kafka):
    one = member().begun()
    other = member()
    other.consumer.poll(0, 1)
    deadline = time.monotonic() + 20
    while not (one.positions[-1] and other.positions and other.positions[-1] and len(one.positions[-1]) == 1):
        assert time.monotonic() < deadline, (one.positions, other.positions)
        one.poll()
        other.poll()
    (mine,), (theirs,) = one.positions[-1], other.positions[-1]
    assert {mine, theirs} == {FIRST, SECOND}
    assert not one.consumer.commit({mine: 1, theirs: 1})
    assert one.consumer.commit({mine: 2})
    one.until(lambda: not one.consumer._owed)
    assert committed(kafka, one) == {mine: 2}


def test_what_is_owed_is_forgotten_with_the_partitions(member, kafka):
    """A commit that fails before a rebalance is not asked for after it, when another may have come further."""
    one = member().begun()
    kafka.fail(OFFSET_COMMIT, [KafkaError.ILLEGAL_GENERATION])
    assert one.consumer.commit({FIRST: 9})
    one.until(lambda: len(one.positions) > 1 and one.positions[-1])
    assert one.positions[-1] == {FIRST: 0, SECOND: 0}
    for _ in range(15):
        one.poll()
    assert committed(kafka, one) == {}


# ---------------------------------------------------------------------- fenced, away, not there


@pytest.mark.parametrize("request_", [HEARTBEAT, OFFSET_COMMIT])
def test_a_fenced_client_is_followed_by_a_new_one_and_twice_in_a_minute_is_an_error(member, kafka, request_):
    one = member().begun()
    fenced = one.consumer._consumer
    kafka.fail(request_, [KafkaError.FENCED_INSTANCE_ID])
    assert one.consumer.commit({FIRST: 8})
    one.until(lambda: one.consumer._consumer is not fenced, 5)
    assert one.positions[1] == {}
    assert one.consumer._owed == {}
    kafka.fail(JOIN_GROUP, [KafkaError.FENCED_INSTANCE_ID])
    with pytest.raises(AmlError, match="is another process of the same name"):
        one.until(lambda: False, 5)
    closes_within(5, one)


def test_a_broker_that_goes_and_comes_back_is_waited_for(member, kafka):
    one = member(ConfluentConsumer).begun()
    one.until(lambda: len(one.messages) == 2 * MESSAGES)
    with kafka.away():
        assert one.consumer.commit({FIRST: 9})
        began = time.monotonic()
        for _ in range(10):
            one.poll()
        assert one.consumer.nothing_more([FIRST, SECOND]) == set()
        assert time.monotonic() - began < 5
    one.until(lambda: not one.consumer._owed, 30)
    assert committed(kafka, one) == {FIRST: 9}


def test_it_ends_in_time_though_a_commit_waits_for_a_broker_that_is_away(member, kafka):
    one = member(ConfluentConsumer).begun()
    with kafka.away():
        one.poll()
        assert one.consumer.commit({FIRST: 9})
        began = time.monotonic()
        one.consumer.close()
        assert time.monotonic() - began < confluent._LEAVE + 1


def test_the_number_of_partitions_is_the_last_known_one_where_the_broker_does_not_say(member, kafka, monkeypatch):
    monkeypatch.setattr(confluent, "_AGE", 0.0)
    one = member().begun()
    assert one.consumer.partitions(BANK) == 2
    kafka.topic_fails(BANK, KafkaError.LEADER_NOT_AVAILABLE)
    assert one.consumer.partitions(BANK) == 2
    kafka.topic_fails(BANK, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(AmlError, match="give it the right to read"):
        one.consumer.partitions(BANK)
    assert one.consumer.partitions("other") in (0, 4)


def test_a_topic_of_which_a_broker_does_not_say_in_time_is_not_one_that_is_missing(member, kafka, monkeypatch):
    monkeypatch.setattr(confluent, "_ASK", 0.3)
    monkeypatch.setattr(confluent, "_FIRST", 0.3)
    one = member().begun()
    with kafka.away(), pytest.raises(AmlError, match="does not answer"):
        one.consumer.partitions("legs")
