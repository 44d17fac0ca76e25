"""Source partitions wait for one another in a catch-up, and only then; messages go in the order in which they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aml.stream.balance import LEAD, STUCK, Balance, as_they_came
from aml.stream.forms import Message

A, B, C = ("t", 0), ("t", 1), ("t", 2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def balance(**times: int) -> tuple[Balance, Clock]:
    clock = Clock()
    made = Balance(clock)
    made.moved({("t", int(name[1:])): at for name, at in times.items()})
    return made, clock


def test_what_leads_by_more_than_ten_minutes_waits():
    made, _ = balance(p0=0, p1=LEAD, p2=LEAD + 1)
    assert made.waiting([A, B, C]) == [C]


def test_it_goes_on_when_the_slowest_has_come_near():
    made, _ = balance(p0=0, p1=LEAD + 1)
    assert made.waiting([A, B]) == [B]
    made.moved({A: 1})
    assert made.waiting([A, B]) == []


def test_live_nothing_waits():
    made, _ = balance(p0=0, p1=5 * LEAD)
    assert made.waiting([]) == []
    assert made.waiting([B]) == []


def test_what_has_given_nothing_for_a_while_holds_nobody_back():
    made, clock = balance(p0=0, p1=5 * LEAD)
    clock.now = STUCK + 0.1
    assert made.waiting([A, B]) == []


def test_a_new_assignment_begins_anew():
    made, _ = balance(p0=0, p1=5 * LEAD)
    made.forget()
    assert made.waiting([A, B]) == []


def test_partitions_that_are_read_together_go_on_together_however_much_they_give_at_once():
    made, _ = balance(p0=0, p1=0)
    made.moved({A: 6 * LEAD, B: 9 * LEAD})
    assert made.waiting([A, B]) == []
    made.moved({B: 18 * LEAD})  # now it leads by more
    assert made.waiting([A, B]) == [B]


def message(partition: int, offset: int, at: int) -> Message:
    return Message("t", partition, offset, at, None, b"")


def test_messages_go_by_the_broker_s_time():
    polled = [message(0, 0, 10), message(0, 1, 30), message(1, 0, 20), message(1, 1, 30), message(1, 2, 40)]
    assert [(m.partition, m.offset) for m in as_they_came(polled)] == [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5))))
def test_whatever_times_they_bear_messages_of_a_partition_keep_their_order(places: list[tuple[int, int]]):
    polled = [message(partition, offset, at) for offset, (partition, at) in enumerate(places)]
    ordered = as_they_came(polled)
    assert sorted(ordered, key=lambda m: m.offset) == polled
    for partition in range(4):
        mine = [m for m in ordered if m.partition == partition]
        assert mine == sorted(mine, key=lambda m: m.offset)
