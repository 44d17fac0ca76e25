"""What confirming kernels share: window ends, distinct counts, account age, the own month, due amounts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DAY, DEBIT, NONE, PERSON, T_DAYP, T_DEBIT, T_MANDATED, VISIT
from aml.engine.ledger import window_sum
from aml.engine.tables import first_after, first_on_day, inner

DISTINCT = 256  # most distinct branches, machines, conductors told apart in one window


@inner
def end_of(led: Any, h: int, i: int) -> int:
    """One past the last leg that may count as not after the leg at i: itself, or one of its day where only days are
    known."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    end = i + 1
    k = i + 1
    while row.whole_days and k < row.n and led.legs[row.start + k].day == leg.day:
        if (led.legs[row.start + k].tag | leg.tag) & T_DAYP:
            end = k + 1
        k += 1
    return end


@inner
def in_hours(led: Any, start: int, i: int, k: int, window: int) -> bool:
    """Whether leg k lies in the hour window that ends at leg i; a leg of which only the day is known counts for its
    whole day."""
    leg, past = led.legs[start + i], led.legs[start + k]
    whole_day = ((leg.tag | past.tag) & T_DAYP) != 0
    if k > i:
        return whole_day and past.day == leg.day
    if past.t > leg.t - window:
        return True
    return bool(whole_day and past.day >= leg.day - (window + DAY - 1) // DAY)


@inner
def hours_from(led: Any, h: int, i: int, window: int) -> int:
    """First index that may lie in the hour window that ends at leg i."""
    start = led.holders[h].start
    leg = led.legs[start + i]
    if led.holders[h].whole_days:
        return first_on_day(led.legs, start, 0, i + 1, leg.day - (window + DAY - 1) // DAY)
    return first_after(led.legs, start, 0, i + 1, leg.t - window)


@inner
def in_day_window(led: Any, start: int, i: int, k: int) -> bool:
    """Whether leg k, inside the window's days, is not after leg i (either order within a day known only as such)."""
    return bool(k <= i or ((led.legs[start + i].tag | led.legs[start + k].tag) & T_DAYP) != 0)


@inner
def add_distinct(held: np.ndarray, n: int, value: int) -> int:
    """Add a value to the n distinct ones held; returns their number (at most DISTINCT are told apart)."""
    if value < 0:
        return n
    for k in range(n):
        if held[k] == value:
            return n
    if n < DISTINCT:
        held[n] = value
        return n + 1
    return n


@inner
def is_due(knobs: Any, amount: int) -> bool:
    """Whether a report is due for a cash amount under the profile."""
    return bool(amount >= knobs.threshold if knobs.due_at else amount > knobs.threshold)


@inner
def party_at(led: Any, tx: Any, h: int, i: int) -> int:
    """Row of the party table in force for the holder at leg i, or NONE."""
    leg = led.legs[led.holders[h].start + i]
    if leg.tag & (1 << VISIT):
        return NONE
    return int(tx[leg.tx].debit_party) if leg.tag & T_DEBIT else int(tx[leg.tx].credit_party)


@inner
def segment_at(led: Any, tx: Any, h: int, i: int) -> int:
    """Segment of the holder at leg i; a conductor is a person."""
    leg = led.legs[led.holders[h].start + i]
    if leg.tag & (1 << VISIT):
        return PERSON
    return int(tx[leg.tx].debit_segment) if leg.tag & T_DEBIT else int(tx[leg.tx].credit_segment)


@inner
def age_at(led: Any, tx: Any, party: Any, knobs: Any, h: int, i: int) -> float:
    """Whole days since the account was opened; else since its first leg, where the feed is known to be complete."""
    row = led.holders[h]
    day = led.legs[row.start + i].day
    mine = party_at(led, tx, h, i)
    if mine >= 0 and party[mine].opened != NONE:
        return float(day - party[mine].opened)
    if knobs.history_from != NONE and row.first_day >= knobs.history_from + 90:
        return float(day - row.first_day)
    return math.nan


@inner
def own_month(led: Any, h: int, first: int, known_days: int, lo: int, measure: int, person: bool) -> float:
    """Sum of a direction over legs [lo, first): the 30 days before a window; a person's scaled up from ≥ 14 known days.

    NaN where history is too short or nothing moved.
    """
    start = led.holders[h].start
    total = float(window_sum(led, start, lo, first, measure))
    if person:
        known = min(30, known_days)
        if known < 14:
            return math.nan
        total = total * 30.0 / known
    elif known_days <= 30:
        return math.nan
    return total if total > 0.0 else math.nan


@inner
def day_ratio(led: Any, h: int, i: int, w0: int, total: int, measure: int, person: bool) -> float:
    """The sum of the day window from day w0 up to leg i over the own month before it."""
    row = led.holders[h]
    first = first_on_day(led.legs, row.start, 0, i + 1, w0)
    lo = first_on_day(led.legs, row.start, 0, first, w0 - 30)
    return total / own_month(led, h, first, w0 - row.first_day, lo, measure, person)


@inner
def hour_ratio(led: Any, h: int, i: int, since: int, total: int, measure: int, person: bool) -> float:
    """The sum of the hour window (since, leg i] over the own month: the 30 times 24 hours before it."""
    row = led.holders[h]
    first = first_after(led.legs, row.start, 0, i + 1, since)
    lo = first_after(led.legs, row.start, 0, first, since - 30 * DAY)
    known = (since - row.first_t) // DAY
    if not person:
        known = 31 if row.first_t <= since - 30 * DAY else 0
    return total / own_month(led, h, first, known, lo, measure, person)


@inner
def unmandated(tag: int, conductor: int) -> bool:
    """Whether the leg was brought by somebody who is neither the holder nor mandated."""
    return bool(conductor >= 0 and (tag & T_MANDATED) == 0)


@inner
def counted_debit(tag: int) -> bool:
    """A debit that rules count."""
    return (tag & (1 << DEBIT)) != 0


@inner
def counted_credit(tag: int) -> bool:
    """A credit that rules count."""
    return (tag & (1 << CREDIT)) != 0
