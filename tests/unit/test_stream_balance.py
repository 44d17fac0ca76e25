"""Source partitions wait for one another in a catch-up, and only then."""

from __future__ import annotations

from aml.stream.balance import LEAD, STUCK, Balance

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
