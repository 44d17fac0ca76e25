"""Kernels of the kind `fan` around one holder: many in, many out, in and out, and money that comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DEBIT, HOUR, NONE, PERSON, T_BATCH, T_CARD, T_COUNTED, T_LEG, T_NEW, T_REFUND
from aml.engine.tables import first_on_day, inner
from aml.engine.walk import (
    age_at,
    counted_credit,
    counted_debit,
    day_ratio,
    end_of,
    hours_from,
    in_day_window,
    in_hours,
    segment_at,
)

NOT_HERE = -1


@inner
def new_payers(led: Any, start: int, i: int, lo: int, end: int, mark: int, work: Any) -> tuple[int, int]:
    """Mark the payers whose first leg lies in the window (work.fresh); returns their number and the sum they paid."""
    n, total = 0, 0
    for k in range(lo, end):
        leg = led.legs[start + k]
        if leg.cp < 0 or not counted_credit(leg.tag) or not in_day_window(led, start, i, k):
            continue
        if leg.tag & T_NEW:
            work.marks[leg.cp].fresh = mark
            n += 1
        if work.marks[leg.cp].fresh == mark:
            total += leg.amount
    return n, total


@inner
def new_payees(led: Any, tx: Any, start: int, i: int, lo: int, end: int, mark: int, payroll: bool,
               work: Any) -> tuple[int, int]:
    """Mark the payees whose first leg, not by card, lies in the window (work.fresh_out); their number and sum."""
    n, total = 0, 0
    for k in range(lo, end):
        leg = led.legs[start + k]
        if leg.cp < 0 or not pays(leg.tag, payroll) or not in_day_window(led, start, i, k):
            continue
        if leg.tag & T_NEW:
            work.marks[leg.cp].fresh_out = mark
            work.slots[n].order = k
            n += 1
        if work.marks[leg.cp].fresh_out == mark:
            total += leg.amount
    return n, total


@inner
def pays(tag: int, payroll: bool) -> bool:
    """A counted debit that is neither spending by card nor part of an established payroll."""
    return counted_debit(tag) and (tag & T_CARD) == 0 and not (payroll and (tag & T_BATCH) != 0)


@inner
def pays_batches(led: Any, h: int, w0: int) -> bool:
    """Whether the holder paid batches in each of the two spans of 30 days before day w0."""
    row = led.holders[h]
    if not row.batches:
        return False
    earlier, later = False, False
    for k in range(first_on_day(led.legs, row.start, 0, row.n, w0 - 60), row.n):
        leg = led.legs[row.start + k]
        if leg.day >= w0 or (earlier and later):
            break
        if (leg.tag & T_BATCH) and counted_debit(leg.tag):
            if leg.day < w0 - 30:
                earlier = True
            else:
                later = True
    return earlier and later


@inner
def fan_in(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """New payers of the window; evidence: what they paid and, at a debit, what left within the hours given."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    w0 = hit.day - det.window_days + 1
    lo, end = first_on_day(led.legs, start, 0, i + 1, w0), end_of(led, h, i)
    work.serial[0] += 1
    mark = work.serial[0]
    n, total = new_payers(led, start, i, lo, end, mark, work)
    if n < det.least:
        return NOT_HERE
    at_debit = counted_debit(hit.tag)
    if not at_debit and (hit.cp < 0 or work.marks[hit.cp].fresh != mark):
        return NOT_HERE
    if at_debit and hit.cp >= 0 and work.marks[hit.cp].fresh == mark:
        return NOT_HERE
    ev, in_sum, out = 0, 0, 0
    for k in range(lo, end):
        leg = led.legs[start + k]
        if not in_day_window(led, start, i, k):
            continue
        paid = counted_credit(leg.tag) and leg.cp >= 0 and work.marks[leg.cp].fresh == mark
        if counted_credit(leg.tag):
            in_sum += leg.amount
        left = (at_debit and counted_debit(leg.tag) and not (leg.cp >= 0 and work.marks[leg.cp].fresh == mark)
                and in_hours(led, start, i, k, det.out_within))
        if left:
            out += leg.amount
        if paid or left:
            work.ev[ev] = leg.tx
            ev += 1
    f[0], f[1], f[2] = n, total, in_sum
    f[3], f[4], f[5] = math.nan, math.nan, math.nan
    if at_debit:
        f[3] = out / total
    else:
        f[4] = age_at(led, tx, party, knobs, h, i)
        f[5] = day_ratio(led, h, i, w0, in_sum, CREDIT, segment_at(led, tx, h, i) == PERSON)
    return ev


@inner
def fan_out(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """New payees of the window and what funded them; evidence: payments to them and the credits before."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    w0 = hit.day - det.window_days + 1
    lo, end = first_on_day(led.legs, start, 0, i + 1, w0), end_of(led, h, i)
    payroll = pays_batches(led, h, w0)
    if hit.cp < 0 or not pays(hit.tag, payroll):
        return NOT_HERE
    work.serial[0] += 1
    mark = work.serial[0]
    n, total = new_payees(led, tx, start, i, lo, end, mark, payroll, work)
    if n < det.least or work.marks[hit.cp].fresh_out != mark:
        return NOT_HERE
    ev, funded, out_sum = 0, 0, 0
    from_hours = hours_from(led, h, i, det.out_within)
    for k in range(min(lo, from_hours), end):
        leg = led.legs[start + k]
        if counted_credit(leg.tag) and in_hours(led, start, i, k, det.out_within):
            if leg.cp < 0 or work.marks[leg.cp].fresh_out != mark:
                funded += leg.amount
                work.ev[ev] = leg.tx
                ev += 1
        elif k >= lo and counted_debit(leg.tag) and in_day_window(led, start, i, k):
            out_sum += leg.amount
            if leg.cp >= 0 and pays(leg.tag, payroll) and work.marks[leg.cp].fresh_out == mark:
                work.ev[ev] = leg.tx
                ev += 1
    f[0], f[1] = n, total
    f[2] = funded / total
    f[3] = together(led, tx, start, n, work) / n
    f[4] = out_sum
    f[5] = day_ratio(led, h, i, w0, out_sum, DEBIT, segment_at(led, tx, h, i) == PERSON)
    f[6] = age_at(led, tx, party, knobs, h, i)
    return ev


@inner
def together(led: Any, tx: Any, start: int, n: int, work: Any) -> int:
    """Most of the n new payees (first legs at work.order) paid first in one batch or within one hour."""
    most = 1
    first = 0
    for a in range(n):
        while led.legs[start + work.slots[a].order].t - led.legs[start + work.slots[first].order].t > HOUR:
            first += 1
        most = max(most, a - first + 1)
    for a in range(n):
        batch = tx[led.legs[start + work.slots[a].order].tx].batch
        if batch < 0 or most > n - a:
            continue
        same = 0
        for b in range(a, n):
            if tx[led.legs[start + work.slots[b].order].tx].batch == batch:
                same += 1
        most = max(most, same)
    return most


@inner
def gather_scatter(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray,
                   work: Any) -> int:
    """New payers and new payees around one holder; evidence: what the new payers paid and the debits to others."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    w0 = hit.day - det.window_days + 1
    lo, end = first_on_day(led.legs, start, 0, i + 1, w0), end_of(led, h, i)
    work.serial[0] += 1
    mark = work.serial[0]
    payers, paid = new_payers(led, start, i, lo, end, mark, work)
    if payers < det.least:
        return NOT_HERE
    payroll = pays_batches(led, h, w0)
    payees, _ = new_payees(led, tx, start, i, lo, end, mark, payroll, work)
    if payees < det.least:
        return NOT_HERE
    at_debit = counted_debit(hit.tag)
    from_new = hit.cp >= 0 and work.marks[hit.cp].fresh == mark
    if from_new if at_debit else not from_new:
        return NOT_HERE
    ev, out, in_sum = 0, 0, 0
    for k in range(lo, end):
        leg = led.legs[start + k]
        if not in_day_window(led, start, i, k):
            continue
        if counted_credit(leg.tag):
            in_sum += leg.amount
        theirs = leg.cp >= 0 and work.marks[leg.cp].fresh == mark
        left = counted_debit(leg.tag) and not theirs
        if left:
            out += leg.amount
        if left or (theirs and counted_credit(leg.tag)):
            work.ev[ev] = leg.tx
            ev += 1
    f[0], f[1], f[2], f[3] = payers, paid, payees, out
    f[4] = out / paid
    f[5] = day_ratio(led, h, i, w0, in_sum, CREDIT, segment_at(led, tx, h, i) == PERSON)
    f[6] = age_at(led, tx, party, knobs, h, i)
    return ev


@inner
def goes_across(tx: Any, leg: Any) -> bool:
    """A counted leg of a payment between two holders, not by card, that is no refund."""
    both = tx[leg.tx].debit_tag & tx[leg.tx].credit_tag & T_LEG
    return leg.cp >= 0 and (leg.tag & (T_CARD | T_REFUND)) == 0 and (leg.tag & T_COUNTED) != 0 and both != 0


@inner
def there_and_back(led: Any, tx: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """Payments to one counterparty that came back, each return matched to the earliest open payment; evidence: both."""
    start = led.holders[h].start
    hit = led.legs[start + i]
    if not goes_across(tx, hit):
        return NOT_HERE
    lo = first_on_day(led.legs, start, 0, i + 1, hit.day - det.window_days + 1)
    times, paid, back, opened, ev = 0, 0, 0, 0, 0
    hit_matched = False
    for k in range(lo, i + 1):
        leg = led.legs[start + k]
        if leg.cp != hit.cp or not goes_across(tx, leg):
            continue
        if counted_debit(leg.tag):
            work.slots[opened].order = k
            opened += 1
        elif counted_credit(leg.tag):
            for o in range(opened):
                if work.slots[o].order == NONE:
                    continue
                out = led.legs[start + work.slots[o].order]
                share = leg.amount / out.amount
                if det.kept_least <= share <= det.kept_most:
                    times += 1
                    paid += out.amount
                    back += leg.amount
                    work.ev[ev], work.ev[ev + 1] = out.tx, leg.tx
                    ev += 2
                    work.slots[o].order = NONE
                    hit_matched = k == i
                    break
    if not hit_matched:
        return NOT_HERE
    f[0], f[1], f[2], f[3] = times, paid, back, back / paid
    return ev
