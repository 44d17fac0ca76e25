"""`aml intake` against a real Kafka: whatever ends it, every element is told to the shards once, in blocks without a
hole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from aml.stream.block import unpack_block
from aml.stream.client import CLIENTS, Connection
from aml.stream.failpoints import INTAKE
from tests.broker import Broker
from tests.factories import txn

pytestmark = pytest.mark.thorough
ROOT = Path(__file__).parents[2]
BANK, LEGS, DEAD, PARTIES = "aml.transactions.v1", "aml.legs.v1", "aml.transactions.v1.dlq", "aml.parties.v1"
SHARDS = 3


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own: what the intake writes to has a fixed name."""
    with Broker(tmp_path / "kafka") as one:
        one.topic(2, BANK)
        one.topic(SHARDS, LEGS)
        one.topic(1, DEAD)
        one.topic(1, PARTIES)
        yield one


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which client the intakes of the test use."""
    monkeypatch.setenv("AML_KAFKA__CLIENT", request.param)
    return str(request.param)


class Bank:
    """Sends payments in turn to the partitions, every tenth message one that nobody can read."""

    def __init__(self, broker: Broker) -> None:
        from kafka import KafkaProducer

        self.producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", linger_ms=5)
        broker.closing.append(self.producer.close)
        self.sent: dict[int, int] = {}
        self.bad: list[bytes] = []

    def send(self, messages: int, partitions: int = 2) -> None:
        """Send so many messages, of one or three payments each."""
        for _ in range(messages):
            n = sum(self.sent.values())
            partition = n % partitions
            one = [txn(transaction_id=f"T{n}-{k}", originator_account=f"A{n % 97}") for k in range(1 + 2 * (n % 2))]
            value = json.dumps(one if len(one) > 1 else one[0]).encode()
            if n % 10 == 9:
                value = b"poison %d" % n
                self.bad.append(value)
            self.producer.send(BANK, value, partition=partition)
            self.sent[partition] = self.sent.get(partition, 0) + 1
        self.producer.flush()

    @property
    def elements(self) -> int:
        """How many elements were sent."""
        return sum(1 if n % 10 == 9 or n % 2 == 0 else 3 for n in range(sum(self.sent.values())))


@contextmanager
def intake(
    broker: Broker, state: Path, *, fail: str = "", name: str | None = None, **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A running intake; killed at the end, if it still runs."""
    told = {"AML_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap, "AML_STATE": str(state), "AML_FAIL_POINT": fail, **more}
    environment = {**os.environ, **told, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from aml.cli import main; main()", "intake", "--json"]
    command += [] if name is None else ["--name", name]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Told:
    """What the shards know of it: places by shard, each once; a hole in what blocks cover is an error."""

    def __init__(self, broker: Broker) -> None:
        self.rows: set[tuple[int, int, int]] = set()
        self.rejects: set[tuple[int, int, int]] = set()
        self.covered: dict[tuple[int, int], int] = {}
        self.consumed = 0
        for message in broker.read(LEGS):
            self._take(message.partition, unpack_block(message.value))

    def _take(self, shard: int, block) -> None:
        fresh = {}
        for r in block.head.ranges:
            at = self.covered.get((shard, r.partition), 0)
            assert r.first <= at, f"shard {shard} misses offsets {at} to {r.first - 1} of partition {r.partition}"
            # What overlaps in part is counted by the rows; the intake's count is for a whole range.
            assert r.first == at or r.next <= at or r.next > at
            fresh[r.partition] = at
            self.covered[shard, r.partition] = max(at, r.next)
            if shard == 0 and r.first == at:
                self.consumed += sum(c.elements() for c in r.consumed)
        told = block.rows.places()
        for places, into in (
            (told, self.rows), ([(r.partition, r.offset, r.index) for r in block.head.rejects], self.rejects),
        ):  # fmt: skip
            new = {place for place in places if place[1] >= fresh[place[0]]}
            assert not new & into, "an element was told twice as new"
            into |= new

    def next(self) -> dict[int, int]:
        """Up to where all shards know each partition."""
        return {p: min(self.covered.get((s, p), 0) for s in range(SHARDS)) for _, p in self.covered}


def settled(broker: Broker, bank: Bank, seconds: float = 60) -> Told:
    """What was told, once everything sent is covered."""
    until = time.monotonic() + seconds
    while (told := Told(broker)).next() != bank.sent:
        assert time.monotonic() < until, f"{told.next()} of {bank.sent}"
        time.sleep(0.3)
    return told


def check(told: Told, bank: Bank) -> None:
    assert len(told.rows) + len(told.rejects) == bank.elements
    assert len(told.rejects) == len(bank.bad)


def test_killed_at_every_step_of_a_flush_it_loses_and_doubles_nothing(own, tmp_path):
    bank = Bank(own)
    for round_, point in enumerate(INTAKE):
        bank.send(150)
        with intake(own, tmp_path / "state", fail=f"{point}:{1 + round_ % 3}") as process:
            sending = time.monotonic() + 40
            while process.poll() is None:
                assert time.monotonic() < sending, f"{point} was never reached"
                bank.send(20)
                time.sleep(0.05)
            assert process.returncode == -signal.SIGKILL, process.stderr.read()
    with intake(own, tmp_path / "state") as process:
        check(settled(own, bank), bank)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert {message.value for message in own.read(DEAD)} == set(bank.bad)


def test_intakes_share_partitions_and_take_over_from_one_that_was_killed(own, client, tmp_path):
    bank = Bank(own)
    bank.send(300)
    state = tmp_path / "state"
    with intake(own, state) as first, intake(own, state) as second:
        time.sleep(5)
        bank.send(300)
        first.kill()
        bank.send(300)
        check(settled(own, bank), bank)
        with intake(own, state) as again:
            bank.send(300)
            check(settled(own, bank), bank)
            assert again.stderr is not None and again.stderr.readline() != ""
            began = time.monotonic()
            for process in (second, again):
                process.send_signal(signal.SIGTERM)
            ended = [process.communicate(timeout=10) for process in (second, again)]
            assert time.monotonic() - began < 10
    assert [process.returncode for process in (second, again)] == [0, 0], ended
    assert {json.loads(out)["intake"] for out, _ in ended} == {"intake-0", "intake-1"}


class Reader:
    """An intake by one client, and which partitions it says that it reads."""

    def __init__(self, broker: Broker, state: Path, client: str, name: str) -> None:
        self._running = intake(broker, state, name=name, AML_KAFKA__CLIENT=client, AML_METRICS_PORT="0")
        self.process = self._running.__enter__()
        self.said: list[str] = []
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def reads(self) -> set[int]:
        told = [line for line in self.said.copy() if "reads nothing" in line or f"reads {BANK}[" in line]
        return {int(n) for n in re.findall(r"\[(\d+)\] from", told[-1])} if told else set()

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(10)
        assert self.process.returncode == (0 if number is signal.SIGTERM else -number), self.said
        self._running.__exit__(None, None, None)


def shared(*readers: Reader) -> None:
    """Wait until every intake has a partition, and every partition one of them."""
    until = time.monotonic() + 40
    while not all(one.reads() for one in readers) or sorted(n for one in readers for n in one.reads()) != [0, 1]:
        assert time.monotonic() < until, "".join(line for one in readers for line in one.said)
        time.sleep(0.1)


@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("clients", [CLIENTS, CLIENTS[::-1]], ids=["to-confluent-kafka", "to-kafka-python"])
def test_one_client_is_exchanged_for_the_other_intake_by_intake(own, clients, ended, tmp_path):
    """The first of the group computes who reads what, for members of its own client and of the other."""
    bank, state, (before, after) = Bank(own), tmp_path / "state", clients
    a, b = Reader(own, state, before, "a"), Reader(own, state, before, "b")
    try:
        shared(a, b)
        bank.send(100)
        b.end(ended)
        bank.send(100)
        b = Reader(own, state, after, "b")
        shared(a, b)
        bank.send(100)
        check(settled(own, bank), bank)
        a.end(ended)
        bank.send(100)
        check(settled(own, bank), bank)  # the other one takes over, once the session is over
        a = Reader(own, state, after, "a")
        shared(a, b)
        bank.send(100)
        check(settled(own, bank), bank)
        assert not [line for one in (a, b) for line in one.said if '"level": "error"' in line]
    finally:
        for one in (a, b):
            one.process.kill()
            one.process.wait(10)


def test_a_broker_that_goes_and_comes_back_is_waited_for_in_few_words(own, client, tmp_path):
    bank = Bank(own)
    bank.send(100)
    with intake(own, tmp_path / "state") as process:
        settled(own, bank)
        own.stop()
        time.sleep(12)
        assert process.poll() is None
        own.start()
        began = time.monotonic()
        bank.send(100)
        check(settled(own, bank), bank)
        assert time.monotonic() - began < 15
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    assert len(said.splitlines()) < 60, said


def test_new_partitions_of_the_bank_are_read_live(own, client, tmp_path):
    from kafka.admin import KafkaAdminClient, NewPartitions

    bank = Bank(own)
    with intake(own, tmp_path / "state"):
        bank.send(100)
        settled(own, bank)
        admin = KafkaAdminClient(bootstrap_servers=own.bootstrap)
        admin.create_partitions({BANK: NewPartitions(3)})
        admin.close()
        bank.producer = Bank(own).producer  # the old one knows of two partitions
        bank.send(100, partitions=3)
        check(settled(own, bank), bank)
    ranges = [r for m in own.read(LEGS) for r in unpack_block(m.value).head.ranges]
    assert {r.partitions for r in ranges} == {2, 3}


def test_a_partition_that_ends_with_a_transaction_s_mark_is_read_to_its_end(own, client):
    """The mark takes an offset and is never handed out."""
    bank = confluent_kafka.Producer({"bootstrap.servers": own.bootstrap, "transactional.id": "bank"})
    bank.init_transactions(30)
    place = BANK, 0
    consumer = Connection(own.bootstrap, client).consumer([BANK], "group", None)
    try:
        for n in (1, 2):
            bank.begin_transaction()
            bank.produce(BANK, b"x", partition=0)
            bank.commit_transaction(30)
            read, until = 0, time.monotonic() + 20
            while not (read == 1 and consumer.ended(place) and consumer.nothing_more([place])):
                assert time.monotonic() < until, (read, consumer.lag())
                read += len(consumer.poll(0.1, 100).messages)
            assert consumer.lag()[place] == 0
            assert consumer.commit({place: 2 * n - 1})
    finally:
        consumer.close()


def test_party_rows_fix_holders_from_their_own_time_on(own, tmp_path):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=own.bootstrap)
    own.closing.append(producer.close)
    payment = json.dumps(txn(originator_account="A1")).encode()
    party = {"account": "A1", "customer": "C1", "kind": "business"}
    with intake(own, tmp_path / "state"):
        for topic, value in ((BANK, payment), (PARTIES, json.dumps(party).encode()), (BANK, payment)):
            producer.send(topic, value, key=b"k", partition=0).get(10)
            time.sleep(0.05)
        bank = Bank(own)
        bank.sent = {0: 2, 1: 0}
        settled(own, bank)
    blocks = [unpack_block(m.value).rows for m in own.read(LEGS)]
    known = {rows["offset"][k]: rows.text("debit")[1].tobytes() for rows in blocks for k in range(rows.n)}
    assert known == {0: b"A1", 1: b"C1"}


@pytest.mark.parametrize(("missing", "said"), [(BANK, BANK), (LEGS, LEGS), (DEAD, DEAD)])
def test_a_topic_that_is_not_there_is_one_clear_line(tmp_path, missing, said):
    with Broker(tmp_path / "kafka") as broker:
        for topic in {BANK, LEGS, DEAD} - {missing}:
            broker.topic(1, topic)
        with intake(broker, tmp_path / "state") as process:
            _, told = process.communicate(timeout=40)
    assert process.returncode == 3
    assert f"error: topic {said} is not there: make it with `aml topics apply`" in told
