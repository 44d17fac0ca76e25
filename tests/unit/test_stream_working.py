"""A worker evaluates a step while the one before is committed, and tells nobody before that stands."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from aml.store.stream import Move
from aml.stream import working
from aml.stream.commit import Committed
from aml.stream.mail import RECORD, Head, pack_letter
from aml.stream.shard import Step
from aml.stream.working import Worker


class Shard:
    """Steps that only count, each with a letter."""

    hears, at, epoch = True, (0, 0), 1

    def __init__(self):
        self.terms, self.epochs, self.steps = SimpleNamespace(shard=0), {}, 0
        self.records = SimpleNamespace(held=0)

    def step(self, blocks, letters, now):
        self.steps += 1
        letter = pack_letter(Head(0, 1, 0, RECORD, now), {})
        return Step(Move(0, 1, self.steps - 1, self.steps, 0, 0, {}), letters=[(0, letter)])


class Made:
    """A worker of one shard, with a broker, an inbox and a database that the test moves."""

    def __init__(self, monkeypatch):
        self.shard, self.sent, self.done, self.lost = Shard(), 0, [], set()
        self.may_commit = threading.Event()
        terms = SimpleNamespace(
            database=SimpleNamespace(database_id="x"), judgement=SimpleNamespace(scoring=None), owner="w"
        )
        inbox = SimpleNamespace(
            open=lambda *_: None, hear=lambda *_: None, close=lambda *_: None, take=lambda held, *_: self.given(held)
        )
        takeovers = SimpleNamespace(
            waiting=frozenset(), begin=lambda _: None, done=self.taken_over, close=lambda: None
        )
        watcher = SimpleNamespace(
            turned=lambda: None, owns=lambda *_: None, snapshot=lambda *_: None, outage=lambda *_: None,
            stepped=self.done.append,
        )  # fmt: skip
        log = SimpleNamespace(send=self.send, flush=lambda: None)
        monkeypatch.setattr(working, "commit_surely", self.commit)
        self.fresh = [self.shard]
        self.worker = Worker(terms, inbox, log, takeovers, lambda: False, watcher)
        self.worker.assign(frozenset({0}))

    def taken_over(self):
        fresh, self.fresh = self.fresh, []
        return fresh

    def given(self, held):
        return {number: ([], []) for number in held}

    def send(self, *_):
        self.sent += 1

    def commit(self, *_):
        assert self.may_commit.wait(10)
        return Committed(set(self.lost))


@pytest.fixture
def made(monkeypatch):
    return Made(monkeypatch)


def test_the_next_step_is_evaluated_meanwhile_and_told_afterwards(made):
    made.worker.turn()
    assert (made.shard.steps, made.sent) == (1, 1)
    turning = threading.Thread(target=made.worker.turn)
    turning.start()
    until = time.monotonic() + 5
    while made.shard.steps < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert (made.shard.steps, made.sent, made.done) == (2, 1, [])
    made.may_commit.set()
    turning.join(5)
    assert (made.sent, len(made.done)) == (2, 1)


def test_what_was_evaluated_on_a_step_that_is_lost_is_dropped(made):
    made.lost = {0}
    made.worker.turn()
    made.may_commit.set()
    made.worker.turn()
    assert (made.shard.steps, made.sent) == (2, 1)
    assert made.worker.epochs == {}
    assert [done.steps for done in made.done] == [[]]


def test_before_a_shard_comes_or_goes_everything_is_committed(made):
    made.worker.turn()
    made.worker.assign(frozenset())
    turning = threading.Thread(target=made.worker.turn)
    turning.start()
    turning.join(0.3)
    assert turning.is_alive()
    assert made.worker.epochs == {0: 1}
    made.may_commit.set()
    turning.join(5)
    assert made.worker.epochs == {}
    assert len(made.done) == 1
