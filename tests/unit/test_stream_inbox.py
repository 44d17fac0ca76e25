"""The inbox: whatever the Kafka client hands out, a step gets every message once and in order."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from aml.stream.inbox import FULL, SEEK_AGAIN, Inbox
from aml.stream.takeover import LEGS, RECORDS


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(inbox: Inbox, shard: int = 0, most: int = 1 << 20) -> list[int]:
    return [offset for offset, _ in inbox.take([shard], 0.0, most).get(shard, ([], []))[0]]


def test_what_comes_twice_is_taken_once_and_what_is_not_opened_never():
    inbox = Inbox()
    inbox.put((LEGS, 0), 5, b"nobody asked")
    inbox.open(0, 5)
    inbox.hear(0, 0)
    for offset in (3, 4, 5, 6, 5, 6, 7):
        inbox.put((LEGS, 0), offset, b"x")
    assert taken(inbox) == [5, 6, 7]
    assert inbox.size == 0


def test_a_hole_is_sought_once_a_second_until_it_is_filled():
    clock = Clock()
    inbox = Inbox(clock)
    inbox.open(0, 5)
    inbox.hear(0, 2)
    assert inbox.wanted() == {(LEGS, 0): 5, (RECORDS, 0): 2}
    assert inbox.wanted() == {}, "asked a moment ago"
    inbox.put((LEGS, 0), 5, b"x")
    clock.now += SEEK_AGAIN
    assert inbox.wanted() == {(RECORDS, 0): 2}
    inbox.put((RECORDS, 0), 2, b"x")
    inbox.put((LEGS, 0), 9, b"too far")
    assert inbox.wanted() == {(LEGS, 0): 6}
    clock.now += SEEK_AGAIN
    assert inbox.wanted() == {(LEGS, 0): 6}
    for offset in (6, 7, 8, 9):
        inbox.put((LEGS, 0), offset, b"x")
    clock.now += SEEK_AGAIN
    assert inbox.wanted() == {}
    assert taken(inbox) == [5, 6, 7, 8, 9]


def test_it_says_when_it_is_full_and_a_step_takes_some():
    inbox = Inbox()
    inbox.open(0, 0)
    inbox.hear(0, 0)
    piece = b"x" * (FULL // 4)
    for offset in range(4):
        assert not inbox.full
        inbox.put((LEGS, 0), offset, piece)
    assert inbox.full
    assert taken(inbox, most=1) == [0], "one at least"
    assert not inbox.full
    assert taken(inbox, most=2 * len(piece)) == [1, 2]
    inbox.close(0)
    assert inbox.size == 0
    assert taken(inbox) == []


def test_a_rebalance_goes_on_behind_what_waits():
    inbox = Inbox()
    inbox.open(0, 5)
    inbox.hear(0, 2)
    inbox.put((LEGS, 0), 5, b"x")
    assert inbox.positions() == {(LEGS, 0): 6, (RECORDS, 0): 2}


@given(st.lists(st.integers(0, 12)), st.integers(0, 5))
def test_any_order_of_delivery_gives_a_run_without_holes(delivered, first):
    inbox = Inbox()
    inbox.open(0, first)
    inbox.hear(0, 0)
    for offset in delivered:
        inbox.put((LEGS, 0), offset, b"x")
    # Kafka's client, sought where the inbox asks, then delivers the rest.
    for offset in range(inbox.positions()[LEGS, 0], 13):
        inbox.put((LEGS, 0), offset, b"x")
    assert taken(inbox) == list(range(first, 13))


def test_letters_wait_outside_until_they_may_be_heard():
    inbox = Inbox()
    inbox.open(0, 0)
    inbox.put((RECORDS, 0), 0, b"early")
    inbox.put((LEGS, 0), 0, b"legs")
    assert inbox.take([0], 0.0, 99) == {0: ([(0, b"legs")], [])}
    assert inbox.wanted() == {}
    inbox.hear(0, 0)
    assert inbox.wanted() == {(RECORDS, 0): 0}
    inbox.put((RECORDS, 0), 0, b"early")
    assert inbox.take([0], 0.0, 99) == {0: ([], [(0, b"early")])}


def test_letters_alone_do_not_wait_for_ever():
    inbox = Inbox()
    inbox.open(0, 0)
    inbox.hear(0, 0)
    inbox.put((RECORDS, 0), 0, b"letter")
    began = time.monotonic()
    assert inbox.take([0], 0.1, 99) == {0: ([], [(0, b"letter")])}
    assert 0.1 <= time.monotonic() - began < 1.0
