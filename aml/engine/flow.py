"""Kernels of the kinds `sequence` and `baseline`: money that comes in and goes on, and accounts that wake."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DEBIT, NONE, PERSON, T_EXIT, T_NEW, WAKE
from aml.engine.ledger import base_day, last_of
from aml.engine.tables import inner
from aml.engine.walk import (
    age_at,
    counted_credit,
    counted_debit,
    hour_ratio,
    hours_from,
    in_day_window,
    in_hours,
    segment_at,
)

NOT_HERE = -1


@inner
def pass_through(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """Credits of the window and the debits that leave for others than their payers; evidence: both."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    lo = hours_from(led, h, i, det.window)
    work.serial[0] += 1
    mark = work.serial[0]
    in_sum, in_count, payers, from_new = 0, 0, 0, 0
    end = row.n if row.whole_days else i + 1
    for k in range(lo, end):
        leg = led.legs[start + k]
        if leg.day > hit.day:
            break
        if not counted_credit(leg.tag) or not in_hours(led, start, i, k, det.window):
            continue
        in_sum += leg.amount
        in_count += 1
        if leg.cp >= 0:
            if work.marks[leg.cp].stamp != mark:
                work.marks[leg.cp].stamp = mark
                payers += 1
            if leg.tag & T_NEW:
                work.marks[leg.cp].fresh = mark
            if work.marks[leg.cp].fresh == mark:
                from_new += leg.amount
    if in_sum < det.least or (hit.cp >= 0 and work.marks[hit.cp].stamp == mark):
        return NOT_HERE
    ev, out_sum, to_new, exits = 0, 0, 0, 0
    for k in range(lo, end):
        leg = led.legs[start + k]
        if leg.day > hit.day:
            break
        if not in_hours(led, start, i, k, det.window):
            continue
        if counted_credit(leg.tag):
            work.ev[ev] = leg.tx
            ev += 1
        elif counted_debit(leg.tag) and not (leg.cp >= 0 and work.marks[leg.cp].stamp == mark):
            work.ev[ev] = leg.tx
            ev += 1
            out_sum += leg.amount
            if leg.tag & T_EXIT:
                exits += leg.amount
            if leg.cp >= 0:
                if leg.tag & T_NEW:
                    work.marks[leg.cp].fresh_out = mark
                if work.marks[leg.cp].fresh_out == mark:
                    to_new += leg.amount
    f[0], f[1], f[2], f[3] = in_sum, in_count, payers, out_sum
    f[4] = out_sum / in_sum
    f[5] = from_new / in_sum
    f[6] = to_new / out_sum
    f[7] = exits / out_sum
    f[8] = age_at(led, tx, party, knobs, h, i)
    f[9] = hour_ratio(led, h, i, hit.t - det.window, in_sum, CREDIT, segment_at(led, tx, h, i) == PERSON)
    return ev


@inner
def woken(led: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """What came in and left since the account woke, against its earlier life; evidence: the legs since waking."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    wake = last_of(led, start, i + 1, WAKE)
    if wake == NONE or led.legs[start + wake].day <= hit.day - det.window_days:
        return NOT_HERE
    slept_from = last_day_before(led, h, wake)
    work.serial[0] += 1
    mark = work.serial[0]
    in_sum = 0
    end = row.n if row.whole_days else i + 1
    for k in range(wake, end):
        leg = led.legs[start + k]
        if leg.day > hit.day:
            break
        if counted_credit(leg.tag) and in_day_window(led, start, i, k):
            in_sum += leg.amount
            if leg.cp >= 0:
                work.marks[leg.cp].stamp = mark
    if in_sum < det.least or (hit.cp >= 0 and work.marks[hit.cp].stamp == mark):
        return NOT_HERE
    ev, out_sum = 0, 0
    for k in range(wake, end):
        leg = led.legs[start + k]
        if leg.day > hit.day:
            break
        if not in_day_window(led, start, i, k):
            continue
        out = counted_debit(leg.tag) and not (leg.cp >= 0 and work.marks[leg.cp].stamp == mark)
        if out:
            out_sum += leg.amount
        if out or counted_credit(leg.tag):
            work.ev[ev] = leg.tx
            ev += 1
    earlier = led.legs[start + wake - 1].sums[CREDIT]
    f[0] = led.legs[start + wake].day - slept_from
    f[1] = in_sum
    f[2] = earlier * 30.0 / max(30, slept_from - row.first_day)
    f[3] = in_sum / f[2] if f[2] > 0.0 else math.inf
    f[4] = out_sum / in_sum
    f[5] = out_sum
    return ev


@inner
def last_day_before(led: Any, h: int, i: int) -> int:
    """Local day of the last counted leg before index i; there is one."""
    row = led.holders[h]
    last = max(last_of(led, row.start, i, CREDIT), last_of(led, row.start, i, DEBIT))
    return int(led.legs[row.start + last].day) if last != NONE else base_day(led, row.base)
