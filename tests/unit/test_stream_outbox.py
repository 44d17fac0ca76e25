"""The relay tells everything at least once and in order; what a consumer is left with is the newest version."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from aml.store.database import open_database
from aml.store.outbox import count_unsent
from aml.store.tables import alerts
from aml.stream.outbox import TOPIC, UNDER_WAY, Relay
from tests.postgres import Clock
from tests.store_factory import finding, put

SHARDS = 3


class Log:
    """A topic: what was acknowledged, in its order. A producer's messages arrive as it flushes."""

    def __init__(self):
        self.messages = []

    def producer(self):
        return Producer(self)

    def versions(self):
        told = defaultdict(list)
        for key, value in self.messages:
            told[key].append(value["version"])
        return dict(told)


class Producer:
    def __init__(self, log):
        self.log, self.held, self.fails, self.meanwhile = log, [], False, lambda: None

    def send(self, topic, value, *, key, headers):
        decoded = json.loads(value)
        assert (topic, headers) == (TOPIC, [("version", str(decoded["version"]).encode())])
        assert key.decode() == decoded["alert_id"]
        self.held.append((key.decode(), decoded))

    def flush(self):
        held, self.held = self.held, []
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.fails:
            raise ConnectionError("broker away")
        self.log.messages += held


def take(database, relay, *shards):
    with database.begin() as uow:
        uow.stream.begin(SHARDS)
        epochs = {shard: uow.stream.take_over(shard, "x").epoch for shard in sorted(shards)}
    relay.own(epochs)


def pending(database):
    with database.read() as connection:
        return count_unsent(connection)


def alerts_of(*names, points=40):
    return [finding(name=name, points=points) for name in names]


@pytest.fixture
def log():
    return Log()


def test_everything_is_told_once_where_nothing_fails(database, log):
    relay = Relay(database, log.producer())
    assert relay.relay() == 0
    take(database, relay, 0, 1, 2)
    for points in (40, 80, 120):
        put(database, *alerts_of("C1", "C2", "C3", points=points))
    assert [relay.relay(limit=4) for _ in range(4)] == [4, 4, 1, 0]
    assert list(log.versions().values()) == [[1, 2, 3]] * 3


def test_what_the_broker_refused_is_told_later(database, log):
    producer = log.producer()
    relay = Relay(database, producer)
    take(database, relay, 0, 1, 2)
    put(database, *alerts_of("C1", "C2"))
    producer.fails = True
    with pytest.raises(ConnectionError):
        relay.relay()
    assert pending(database) == 2
    producer.fails = False
    assert relay.relay() == 2
    assert pending(database) == 0


def test_shards_of_others_are_left_to_them(database, log):
    one, other = Relay(database, log.producer()), Relay(database, log.producer())
    take(database, one, 0, 1)
    take(database, other, 2)
    put(database, *alerts_of(*(f"C{n}" for n in range(12))))
    told = one.relay() + other.relay()
    assert 0 < other.relay() + told == 12
    assert {tuple(v) for v in log.versions().values()} == {(1,)}


def test_a_lost_relay_that_tells_an_old_version_last_puts_it_right(database, log):
    lost, new = Relay(database, producer := log.producer()), Relay(database, log.producer())
    take(database, lost, 0, 1, 2)
    put(database, *alerts_of("C1"))

    def meanwhile():
        take(database, new, 0, 1, 2)
        put(database, *alerts_of("C1", points=80))
        assert new.relay() == 2

    producer.meanwhile = meanwhile
    lost.relay()
    assert list(log.versions().values()) == [[1, 2, 1]]
    assert lost.relay() == 0
    assert new.relay() == 1
    assert list(log.versions().values()) == [[1, 2, 1, 2]]


def test_a_relay_that_died_while_telling_is_put_right_by_its_successor(database, clock, log):
    lost, new = Relay(database, producer := log.producer()), Relay(database, log.producer())
    take(database, lost, 0, 1, 2)
    put(database, *alerts_of("C1"))

    def meanwhile():
        take(database, new, 0, 1, 2)
        put(database, *alerts_of("C1", points=80))
        new.relay()

    def dies(uow, told):
        raise KeyboardInterrupt

    producer.meanwhile, lost._note = meanwhile, dies
    with pytest.raises(KeyboardInterrupt):
        lost.relay()
    assert list(log.versions().values()) == [[1, 2, 1]]
    assert new.relay() == 0
    clock.now += UNDER_WAY
    assert new.relay() == 1
    assert list(log.versions().values()) == [[1, 2, 1, 2]]
    clock.now += UNDER_WAY
    assert new.relay() == 0


def test_old_ones_are_forgotten(database, clock, log):
    relay = Relay(database, log.producer())
    take(database, relay, 0, 1, 2)
    put(database, *alerts_of("C1"))
    relay.relay()
    clock.now += 7 * 86_400_000_000
    assert relay.purge() == 0
    clock.now += 1
    assert relay.purge() == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(["C1", "C2", "C3", "C4"]), st.integers(1, 5)),
        st.tuples(st.just("relay"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("take"), st.integers(0, 1), st.sets(st.integers(0, SHARDS - 1))),
    ),
    max_size=14,
)


@given(STEPS, STEPS)
def test_however_relays_interleave_the_newest_is_told_last(steps, within):
    """Two relays that take shards from each other, also in the midst of telling, and whose broker fails at times."""
    clock, log = Clock(), Log()
    database = open_database("sqlite://", clock=clock)
    producers = [log.producer(), log.producer()]
    relays = [Relay(database, producer) for producer in producers]
    take(database, relays[0], *range(SHARDS))

    def run(step):
        kind, which, how = step
        clock.now += 1
        if kind == "change":
            put(database, *alerts_of(which, points=how * 40))
        elif kind == "take":
            take(database, relays[which], *how)
        else:
            producers[which].fails = how
            with suppress(ConnectionError):
                relays[which].relay(limit=3)

    # What happens between a relay's sends and their arrival.
    for step in steps:
        if step[0] == "relay" and within:
            inner = within[:3]
            del within[:3]
            producers[step[1]].meanwhile = lambda inner=inner: [run(other) for other in inner]
        run(step)
    for producer in producers:
        producer.fails, producer.meanwhile = False, lambda: None
    take(database, relays[1], *range(SHARDS))
    for _ in range(2):
        while relays[1].relay():
            pass
        clock.now += UNDER_WAY
    newest = {}
    for key, value in log.messages:
        newest[key] = value["version"]
    with database.read() as connection:
        rows = connection.execute(select(alerts.c.alert_id, alerts.c.revision)).all()
    assert newest == {row.alert_id: row.revision for row in rows}
    database.close()
