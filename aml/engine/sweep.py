"""Fans measured at many legs of one holder in one pass: the window slides, and what enters and leaves it is counted.

A busy holder has thousands of legs in a window and a candidate at many of them; walking the window at each would cost
their product. The facts are those of `fans.fan_out` and `fans.gather_scatter`; only where they satisfy the rule's
condition is the window walked, for the evidence. Not for holders of whose legs only days are known.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DEBIT, PERSON, T_BATCH, T_CARD, T_DEBIT, T_NEW
from aml.engine.tables import first_after, first_on_day, inner
from aml.engine.walk import age_at, counted_credit, counted_debit, day_ratio, segment_at

PAYERS, PAID, CREDITS, DEBITS, BACK, RECENT = range(6)
PAYEES, PAID_OUT, RECENT_BACK = 6, 8, 10  # by whether batches are an established payroll


@inner
def place_of(tally: np.ndarray, mask: int, stamp: int, cp: int) -> int:
    """Place of the counterparty's entry, empty where it is met for the first time."""
    slot = (cp * 40503) & mask
    while tally[slot].stamp == stamp and tally[slot].cp != cp:
        slot = (slot + 1) & mask
    entry = tally[slot]
    if entry.stamp != stamp:
        entry.stamp, entry.cp = stamp, cp
        entry.credit, entry.debit, entry.recent = 0, 0, 0
        entry.payer = False
        for p in range(2):
            entry.pay[p] = 0
            entry.payee[p] = 0
    return slot


@inner
def is_payment(tag: int, payroll: int) -> bool:
    """A counted debit that is neither spending by card nor, where there is one, part of an established payroll."""
    return counted_debit(tag) and (tag & T_CARD) == 0 and (payroll == 0 or (tag & T_BATCH) == 0)


@inner
def enter(leg: Any, entry: Any, sums: np.ndarray) -> None:
    """A leg with a counterparty enters the window."""
    if counted_credit(leg.tag):
        entry.credit += leg.amount
        if leg.tag & T_NEW:
            entry.payer = True
            sums[PAYERS] += 1
            sums[BACK] += entry.debit
        if entry.payer:
            sums[PAID] += leg.amount
    elif counted_debit(leg.tag):
        entry.debit += leg.amount
        if entry.payer:
            sums[BACK] += leg.amount
        for p in range(2):
            if is_payment(leg.tag, p):
                entry.pay[p] += leg.amount
                if leg.tag & T_NEW:
                    entry.payee[p] = 1
                    sums[PAYEES + p] += 1
                    sums[RECENT_BACK + p] += entry.recent
                if entry.payee[p] != 0:
                    sums[PAID_OUT + p] += leg.amount


@inner
def leave(leg: Any, entry: Any, sums: np.ndarray) -> None:
    """A leg with a counterparty leaves the window; with a pair's first leg the newness goes."""
    if counted_credit(leg.tag):
        if entry.payer:
            sums[PAID] -= leg.amount
        entry.credit -= leg.amount
        if leg.tag & T_NEW:
            entry.payer = False
            sums[PAYERS] -= 1
            sums[PAID] -= entry.credit
            sums[BACK] -= entry.debit
    elif counted_debit(leg.tag):
        entry.debit -= leg.amount
        if entry.payer:
            sums[BACK] -= leg.amount
        for p in range(2):
            if is_payment(leg.tag, p):
                if entry.payee[p] != 0:
                    sums[PAID_OUT + p] -= leg.amount
                entry.pay[p] -= leg.amount
                if leg.tag & T_NEW:
                    entry.payee[p] = 0
                    sums[PAYEES + p] -= 1
                    sums[PAID_OUT + p] -= entry.pay[p]
                    sums[RECENT_BACK + p] -= entry.recent


@inner
def move(led: Any, start: int, k: int, by: int, mask: int, stamp: int, work: Any) -> None:
    """The leg at index k enters (1) or leaves (-1) the window."""
    leg = led.legs[start + k]
    sums = work.sums
    if counted_credit(leg.tag):
        sums[CREDITS] += by * leg.amount
    elif counted_debit(leg.tag):
        sums[DEBITS] += by * leg.amount
    if leg.cp >= 0:
        entry = work.tally[place_of(work.tally, mask, stamp, leg.cp)]
        if by > 0:
            enter(leg, entry, sums)
        else:
            leave(leg, entry, sums)


@inner
def move_recent(led: Any, start: int, k: int, by: int, mask: int, stamp: int, work: Any) -> None:
    """The leg at index k enters or leaves the hours before the leg."""
    leg = led.legs[start + k]
    if not counted_credit(leg.tag):
        return
    work.sums[RECENT] += by * leg.amount
    if leg.cp >= 0:
        entry = work.tally[place_of(work.tally, mask, stamp, leg.cp)]
        entry.recent += by * leg.amount
        for p in range(2):
            if entry.payee[p] != 0:
                work.sums[RECENT_BACK + p] += by * leg.amount


@inner
def slide(led: Any, det: Any, h: int, i: int, at: np.ndarray, mask: int, stamp: int, work: Any) -> None:
    """Move the windows to end with the leg at index i. at: first index in window, in hours, and one past the last."""
    start = led.holders[h].start
    hit = led.legs[start + i]
    lo = first_on_day(led.legs, start, at[0], i + 1, hit.day - det.window_days + 1)
    recent = first_after(led.legs, start, at[1], i + 1, hit.t - det.out_within) if det.out_within > 0 else i + 1
    for k in range(at[2], i + 1):
        move(led, start, k, 1, mask, stamp, work)
        move_recent(led, start, k, 1, mask, stamp, work)
    for k in range(at[0], lo):
        move(led, start, k, -1, mask, stamp, work)
    for k in range(at[1], recent):
        move_recent(led, start, k, -1, mask, stamp, work)
    at[0], at[1], at[2] = lo, recent, i + 1


@inner
def begin(led: Any, det: Any, h: int, i: int, last: int, at: np.ndarray, work: Any) -> int:
    """Empty windows before the first candidate, at index i; returns the mask of the look-up for all up to `last`."""
    start = led.holders[h].start
    hit = led.legs[start + i]
    lo = first_on_day(led.legs, start, 0, i + 1, hit.day - det.window_days + 1)
    if det.out_within > 0:
        lo = min(lo, first_after(led.legs, start, 0, i + 1, hit.t - det.out_within))
    at[:] = lo
    work.rolls[:] = 0
    work.rolls[:3] = first_on_day(led.legs, start, 0, i + 1, hit.day - det.window_days - 59)
    work.sums[:] = 0
    size = 16
    while size < 2 * (last + 1 - lo) and size < work.tally.size:
        size *= 2
    return size - 1


@inner
def measured(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, outward: bool, payroll: int,
             mask: int, stamp: int, f: np.ndarray, work: Any) -> bool:
    """Facts of fan-out (outward) or gather-scatter at the leg at index i; False where the leg completes nothing.

    Of fan-out the share that went in one batch is left unknown.
    """
    hit = led.legs[led.holders[h].start + i]
    sums = work.sums
    payees = sums[PAYEES + payroll]
    if payees < det.least or (not outward and sums[PAYERS] < det.least):
        return False
    if hit.cp < 0 and (outward or not counted_debit(hit.tag)):
        return False
    entry = work.tally[place_of(work.tally, mask, stamp, hit.cp)]
    person = segment_at(led, tx, h, i) == PERSON
    w0 = hit.day - det.window_days + 1
    if outward:
        if not is_payment(hit.tag, payroll) or entry.payee[payroll] == 0:
            return False
        total = sums[PAID_OUT + payroll]
        f[0], f[1] = payees, total
        f[2] = (sums[RECENT] - sums[RECENT_BACK + payroll]) / total
        f[3] = math.nan
        f[4] = sums[DEBITS]
        f[5] = day_ratio(led, h, i, w0, sums[DEBITS], DEBIT, person)
    else:
        of_new = hit.cp >= 0 and entry.payer
        if of_new == ((hit.tag & T_DEBIT) != 0):
            return False
        out = sums[DEBITS] - sums[BACK]
        f[0], f[1], f[2], f[3] = sums[PAYERS], sums[PAID], payees, out
        f[4] = out / sums[PAID]
        f[5] = day_ratio(led, h, i, w0, sums[CREDITS], CREDIT, person)
    f[6] = age_at(led, tx, party, knobs, h, i)
    return True


@inner
def is_payroll(led: Any, h: int, w0: int, at: np.ndarray) -> int:
    """1 if the holder paid batches in each of the two spans of 30 days before day w0, which never falls, else 0.

    at: first indices on or after the days w0 - 60, w0 - 30 and w0 of the last call, then the batches in both spans.
    """
    row = led.holders[h]
    if not row.batches:
        return 0
    for b in range(3):
        k = at[b]
        while k < row.n and led.legs[row.start + k].day < w0 - 60 + 30 * b:
            tag = led.legs[row.start + k].tag
            if counted_debit(tag) and (tag & T_BATCH) != 0:
                if b < 2:
                    at[3 + b] -= 1
                if b > 0:
                    at[2 + b] += 1
            k += 1
        at[b] = k
    return 1 if at[3] > 0 and at[4] > 0 else 0
