"""Kernels of the kind `aggregate`: cash by unit, within one unit, by leg, and by the person who brought it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from aml.engine.layout import CASH_IN, CASH_OUT, T_CASH, VISIT
from aml.engine.tables import first_on_day, inner
from aml.engine.walk import (
    add_distinct,
    counted_credit,
    counted_debit,
    hours_from,
    in_day_window,
    in_hours,
    is_due,
    party_at,
    unmandated,
)

BOOKED_BEFORE, BOOKED_AFTER = 1, 5  # how far a unit day may lie before and after the local day
LOOKED_BACK = 180  # days before the window in which markers compare
WEEKS = 8  # each with two deposits: a holder that lives on cash
VISIT_TIME = 15 * 60 * 1_000_000
NOT_HERE = -1


@inner
def is_last_of_unit(led: Any, tx: Any, h: int, i: int, bit: int) -> bool:
    """Whether no later leg of the holder belongs to the same unit."""
    row = led.holders[h]
    unit = tx[led.legs[row.start + i].tx].unit_day
    k = i + 1
    while k < row.n and led.legs[row.start + k].day <= unit + BOOKED_BEFORE:
        leg = led.legs[row.start + k]
        if (leg.tag & bit) and tx[leg.tx].unit_day == unit:
            return False
        k += 1
    return True


@inner
def units(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, bit: int, f: np.ndarray,
          work: Any) -> int:
    """Under-units of [floor, ceiling] in N unit days up to the leg at i, with the markers of intent; evidence: their
    legs. A cash leg must be the last of a counted unit."""
    start = led.holders[h].start
    hit = led.legs[start + i]
    at_debit = (hit.tag & bit) == 0
    last = hit.day if at_debit else tx[hit.tx].unit_day
    if not at_debit and not knobs.unit_is_leg and not is_last_of_unit(led, tx, h, i, bit):
        return NOT_HERE
    w0 = last - det.window_days + 1
    lo = first_on_day(led.legs, start, 0, i + 1, w0 - BOOKED_AFTER)
    n_units = unit_sums(led, tx, knobs, h, lo, i, bit, w0, last, work)
    n, total, due, largest = 0, 0, 0, 0
    for u in range(n_units):
        amount = work.slots[u].unit_sum
        work.slots[u].unit_ok = counts_as_unit(knobs, det, amount)
        if is_due(knobs, amount):
            due += 1
        elif work.slots[u].unit_ok:
            n += 1
            total += amount
            largest = max(largest, amount)
    if n < det.least:
        return NOT_HERE
    if not at_debit:
        mine = hit.amount if knobs.unit_is_leg else work.slots[last - w0].unit_sum
        if not counts_as_unit(knobs, det, mine):
            return NOT_HERE
    ev = counted_places(led, tx, h, lo, i, bit, w0, last, knobs, work, f)
    f[0], f[1], f[2], f[3] = n, total, due, largest
    markers(led, tx, party, knobs, det, h, i, bit, w0, last, work, f)
    f[17] = math.nan
    if bit == 1 << CASH_OUT:
        f[17] = funded(led, tx, h, i, work.ev[0], total)
    f[18] = total / knobs.threshold
    return ev


@inner
def counts_as_unit(knobs: Any, det: Any, amount: int) -> bool:
    """Whether a unit's sum is kept under: no report is due, and it lies between floor and ceiling."""
    return not is_due(knobs, amount) and det.floor <= amount <= det.ceiling


@inner
def unit_sums(led: Any, tx: Any, knobs: Any, h: int, lo: int, i: int, bit: int, w0: int, last: int, work: Any) -> int:
    """Sums of the window's units (one slot a day, or a leg where the profile never aggregates); returns their
    number."""
    row = led.holders[h]
    start = row.start
    n = 0
    if not knobs.unit_is_leg:
        n = last - w0 + 1
        for u in range(n):
            work.slots[u].unit_sum = 0
    k = lo
    while k < row.n and (k <= i or led.legs[start + k].day <= led.legs[start + i].day):
        leg = led.legs[start + k]
        if (leg.tag & bit) and in_day_window(led, start, i, k):
            unit = tx[leg.tx].unit_day
            if w0 <= unit <= last:
                if knobs.unit_is_leg:
                    if n < work.slots.size:
                        work.slots[n].unit_sum = leg.amount
                        n += 1
                else:
                    work.slots[unit - w0].unit_sum += leg.amount
        k += 1
    return n


@inner
def counted_places(led: Any, tx: Any, h: int, lo: int, i: int, bit: int, w0: int, last: int, knobs: Any, work: Any,
                   f: np.ndarray) -> int:
    """Branches, machines and conductors of the counted units' legs (f[4:8]); their transactions go to work.ev."""
    row = led.holders[h]
    start = row.start
    ev, branches, machines, conductors, strangers, leg_no = 0, 0, 0, 0, 0, 0
    k = lo
    while k < row.n and (k <= i or led.legs[start + k].day <= led.legs[start + i].day):
        leg = led.legs[start + k]
        if (leg.tag & bit) and in_day_window(led, start, i, k):
            x = leg.tx
            unit = tx[x].unit_day
            if w0 <= unit <= last:
                ok = work.slots[leg_no if knobs.unit_is_leg else unit - w0].unit_ok
                leg_no += 1
                if ok:
                    branches = add_distinct(work.distinct[0], branches, tx[x].branch)
                    machines = add_distinct(work.distinct[1], machines, tx[x].terminal)
                    conductors = add_distinct(work.distinct[2], conductors, tx[x].conductor)
                    if unmandated(leg.tag, tx[x].conductor):
                        strangers = add_distinct(work.distinct[3], strangers, tx[x].conductor)
                    work.ev[ev] = x
                    ev += 1
        k += 1
    f[4], f[5], f[6], f[7] = branches, machines, conductors, strangers
    return ev


@inner
def markers(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, bit: int, w0: int, last: int,
            work: Any, f: np.ndarray) -> None:
    """m1 … m7 (f[8:15]), their number (f[15]) and whether the holder lives on cash (f[16]), from f[0:8] and the
    holder's history."""
    row = led.holders[h]
    cash_in = bit == 1 << CASH_IN
    total = f[1]
    past = history(led, tx, knobs, h, i, bit, w0, last, work)
    known = min(LOOKED_BACK, w0 - row.first_day)
    f[8] = 1.0 if f[4] >= 2 or f[5] >= 2 else 0.0
    f[9] = 1.0 if f[6] >= 2 or f[7] >= 1 else 0.0
    often = past.near * 10 >= past.n * 6 and past.n_before >= 10
    f[10] = 1.0 if often and past.near_before * 10 <= past.n_before * 2 else 0.0
    f[11] = 0.0
    if past.due_before and f[2] == 0.0 and known >= 7:
        f[11] = 1.0 if past.cash * 7.0 / det.window_days >= 0.7 * (past.cash_before * 7.0 / known) else 0.0
    f[12] = 1.0 if cash_in and gone(led, h, i) * 10 >= total * 7 else 0.0
    f[13] = 1.0 if row.first_day <= w0 - 90 and past.cash_90 * 5 < total else 0.0
    mine = party_at(led, tx, h, i)
    f[14] = 0.0
    if cash_in and mine >= 0 and party[mine].turnover >= 0:
        f[14] = 1.0 if past.month > 2 * party[mine].turnover else 0.0
    f[15] = f[8] + f[9] + f[10] + f[11] + f[12] + f[13] + f[14]
    weeks = 0
    for w in range(WEEKS):
        weeks += 1 if work.slots[LOOKED_BACK + w].unit_sum >= 2 else 0
    f[16] = 1.0 if weeks == WEEKS or (mine >= 0 and party[mine].cash_intensive) else 0.0


class Past(NamedTuple):
    """Cash of one direction in the window and before it: legs, those near T, sums, and whether a report was due."""

    n: int
    near: int
    cash: int
    month: int
    n_before: int
    near_before: int
    cash_before: int
    cash_90: int
    due_before: bool


@inner
def history(led: Any, tx: Any, knobs: Any, h: int, i: int, bit: int, w0: int, last: int, work: Any) -> Any:
    """What markers compare; deposits of each of the eight weeks before are left in work.slots."""
    row = led.holders[h]
    start = row.start
    for u in range(LOOKED_BACK + WEEKS):
        work.slots[u].unit_sum = 0
    n, near, cash, month, n_before, near_before, before, cash_90 = 0, 0, 0, 0, 0, 0, 0, 0
    due_before = False
    k = first_on_day(led.legs, start, 0, i + 1, w0 - LOOKED_BACK - BOOKED_AFTER)
    while k < row.n and (k <= i or led.legs[start + k].day <= led.legs[start + i].day):
        leg = led.legs[start + k]
        k += 1
        if (leg.tag & (bit | (1 << CASH_IN))) == 0 or not in_day_window(led, start, i, k - 1):
            continue
        u = tx[leg.tx].unit_day
        if (leg.tag & (1 << CASH_IN)) != 0 and w0 - 7 * WEEKS <= u < w0:
            work.slots[LOOKED_BACK + (w0 - 1 - u) // 7].unit_sum += 1
        if (leg.tag & bit) == 0:
            continue
        band = 1 if knobs.threshold * 9 <= leg.amount * 10 and leg.amount <= knobs.threshold else 0
        if w0 <= u <= last:
            n += 1
            near += band
            cash += leg.amount
        elif w0 - LOOKED_BACK <= u < w0:
            n_before += 1
            near_before += band
            before += leg.amount
            cash_90 += leg.amount if u >= w0 - 90 else 0
            day = u - (w0 - LOOKED_BACK)
            work.slots[day].unit_sum = leg.amount + (0 if knobs.unit_is_leg else work.slots[day].unit_sum)
            due_before = due_before or is_due(knobs, work.slots[day].unit_sum)
        if last - 29 <= u <= last:
            month += leg.amount
    return Past(n, near, cash, month, n_before, near_before, before, cash_90, due_before)


@inner
def gone(led: Any, h: int, i: int) -> int:
    """Debits of the five days up to the leg at i."""
    row = led.holders[h]
    day = led.legs[row.start + i].day
    out = 0
    k = first_on_day(led.legs, row.start, 0, i + 1, day - 4)
    while k < row.n and (k <= i or led.legs[row.start + k].day <= day):
        if counted_debit(led.legs[row.start + k].tag) and in_day_window(led, row.start, i, k):
            out += led.legs[row.start + k].amount
        k += 1
    return out


@inner
def funded(led: Any, tx: Any, h: int, i: int, first: int, total: int) -> float:
    """Non-cash credits from 10 days before the first counted leg up to leg i, over the sum withdrawn."""
    row = led.holders[h]
    day = led.legs[row.start + i].day
    k = first_on_day(led.legs, row.start, 0, i + 1, tx[first].day - 10)
    into = 0
    while k < row.n and (k <= i or led.legs[row.start + k].day <= day):
        tag = led.legs[row.start + k].tag
        if counted_credit(tag) and (tag & T_CASH) == 0 and in_day_window(led, row.start, i, k):
            into += led.legs[row.start + k].amount
        k += 1
    return into / total


@inner
def one_unit(led: Any, tx: Any, knobs: Any, h: int, i: int, bit: int, f: np.ndarray, work: Any) -> int:
    """The visits of the unit whose last leg stands at i; evidence: its legs."""
    row = led.holders[h]
    start = row.start
    if not is_last_of_unit(led, tx, h, i, bit):
        return NOT_HERE
    unit = tx[led.legs[start + i].tx].unit_day
    ev, visits, total, branches, machines, conductors = 0, 0, 0, 0, 0, 0
    for k in range(first_on_day(led.legs, start, 0, i + 1, unit - BOOKED_AFTER), i + 1):
        leg = led.legs[start + k]
        x = leg.tx
        if (leg.tag & bit) == 0 or tx[x].unit_day != unit:
            continue
        work.ev[ev] = x
        ev += 1
        total += leg.amount
        branches = add_distinct(work.distinct[0], branches, tx[x].branch)
        machines = add_distinct(work.distinct[1], machines, tx[x].terminal)
        conductors = add_distinct(work.distinct[2], conductors, tx[x].conductor)
        visits = join_visit(tx, x, leg.t, leg.amount, visits, work)
    largest = 0
    for v in range(visits):
        largest = max(largest, work.slots[v].unit_sum)
    f[0], f[1] = visits, total
    f[2] = 1.0 if is_due(knobs, total) else 0.0
    f[3] = largest
    f[4] = 1.0 if is_due(knobs, largest) else 0.0
    f[5], f[6], f[7] = branches, machines, conductors
    f[8] = max(branches, machines, conductors)
    f[9] = total / knobs.threshold
    return ev


@inner
def join_visit(tx: Any, x: int, t: int, amount: int, visits: int, work: Any) -> int:
    """Add a cash leg to the visit it belongs to (same branch and machine, within 15 minutes of its first), or open
    one."""
    for v in range(visits - 1, -1, -1):
        y = work.slots[v].visit_tx
        if tx[y].branch == tx[x].branch and tx[y].terminal == tx[x].terminal and t - tx[y].t <= VISIT_TIME:
            work.slots[v].unit_sum += amount
            return visits
    if visits < work.slots.size:
        work.slots[visits].visit_tx = x
        work.slots[visits].unit_sum = amount
        return visits + 1
    return visits


@inner
def legs(led: Any, tx: Any, knobs: Any, det: Any, h: int, i: int, bit: int, f: np.ndarray, work: Any) -> int:
    """Single legs of at least the floor in the window, who brought them and where; evidence: the legs."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    if hit.amount < det.floor or (det.due_left_out and is_due(knobs, hit.amount)):
        return NOT_HERE
    if det.window_days > 0:
        k = first_on_day(led.legs, start, 0, i + 1, hit.day - det.window_days + 1)
    else:
        k = hours_from(led, h, i, det.window)
    ev, total, named, conductors, brought, branches, parties, largest = 0, 0, 0, 0, 0, 0, 0, 0
    while k < row.n and (k <= i or led.legs[start + k].day <= hit.day):
        leg = led.legs[start + k]
        inside = in_day_window(led, start, i, k) if det.window_days > 0 else in_hours(led, start, i, k, det.window)
        counts = det.floor <= leg.amount <= det.ceiling and not (det.due_left_out and is_due(knobs, leg.amount))
        if inside and counts and (leg.tag & bit) != 0:
            x = leg.tx
            work.ev[ev] = x
            ev += 1
            total += leg.amount
            largest = max(largest, leg.amount)
            branches = add_distinct(work.distinct[0], branches, tx[x].branch)
            parties = add_distinct(work.distinct[1], parties, leg.cp)
            if tx[x].conductor >= 0:
                named += 1
            if unmandated(leg.tag, tx[x].conductor):
                conductors = add_distinct(work.distinct[2], conductors, tx[x].conductor)
                brought += leg.amount
        k += 1
    f[0], f[1], f[2], f[3], f[4], f[5] = ev, total, conductors, brought, named, branches
    f[6], f[7] = total / knobs.threshold, brought / knobs.threshold
    f[8] = 1.0 if is_due(knobs, total) else 0.0
    f[9] = 1.0 if is_due(knobs, brought) else 0.0
    f[10], f[11] = parties, largest
    return ev


@inner
def conducted(led: Any, tx: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """Deposits that one person brought to other people's accounts; evidence: the deposits."""
    row = led.holders[h]
    start = row.start
    hit = led.legs[start + i]
    if hit.amount < det.floor or is_due(knobs, hit.amount):
        return NOT_HERE
    if det.window_days > 0:
        k = first_on_day(led.legs, start, 0, i + 1, hit.day - det.window_days + 1)
    else:
        k = hours_from(led, h, i, det.window)
    ev, total, recipients, branches = 0, 0, 0, 0
    while k < row.n and (k <= i or led.legs[start + k].day <= hit.day):
        leg = led.legs[start + k]
        inside = in_day_window(led, start, i, k) if det.window_days > 0 else in_hours(led, start, i, k, det.window)
        if inside and (leg.tag & (1 << VISIT)) and leg.amount >= det.floor and not is_due(knobs, leg.amount):
            work.ev[ev] = leg.tx
            ev += 1
            total += leg.amount
            recipients = add_distinct(work.distinct[0], recipients, leg.cp)
            branches = add_distinct(work.distinct[1], branches, tx[leg.tx].branch)
        k += 1
    f[0], f[1], f[2], f[3] = recipients, total, ev, branches
    f[4] = total / knobs.threshold
    f[5] = 1.0 if is_due(knobs, total) else 0.0
    return ev
