"""The one path by which legs enter and leave: rewind each touched holder to its earliest changed leg, run forward.

In-order input is the case of zero rewind. While running forward a leg gets its pair history, running totals,
features and the candidates of every rule; nothing here knows a rule, only filters (see `program`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import (
    BUSINESS,
    CASH_IN,
    CASH_OUT,
    FREE_LISTS,
    FREE_SLOTS,
    MEASURES,
    NONE,
    PERSON,
    SUMS,
    T_CASH,
    T_DAYP,
    T_DEBIT,
    T_HOP,
    UNKNOWN,
    USED_SLOTS,
    VISIT,
)
from aml.engine.tables import before, bucket_of, find, first_on_day, fit_key, inner, kernel, pair_key, registers

CREDIT_SIDE = 0
DEBIT_SIDE = 1
VISIT_SIDE = 2
BUSINESS_PARTIES = 20
NEVER = -(1 << 30)
NEAR = 16  # legs that are walked before they are searched


@inner
def capacity_class(need: int) -> int:
    """Smallest class of the ladder 4, 6, 9, 14, … (half again as large each) that holds `need` legs."""
    cap = 4
    k = 0
    while cap < need:
        cap = cap + (cap + 1) // 2
        k += 1
    return k


@inner
def class_capacity(k: int) -> int:
    """Legs that a block of class k holds."""
    cap = 4
    for _ in range(k):
        cap = cap + (cap + 1) // 2
    return cap


@inner
def comes_before(led: Any, tx: Any, s: int, x: int) -> bool:
    """Whether the leg in slot s comes before transaction x; its own time decides, seldom its transaction's key."""
    t = led.legs[s].t
    return before(tx, led.legs[s].tx, x) if t == tx[x].t else bool(t < tx[x].t)


@inner
def position(led: Any, tx: Any, h: int, x: int) -> int:
    """Index at which transaction x stands, or would stand, among the holder's legs."""
    row = led.holders[h]
    start, n = row.start, row.n
    if n == 0 or comes_before(led, tx, start + n - 1, x):
        return int(n)
    lo, hi = 0, n
    while lo < hi:
        mid = (lo + hi) >> 1
        if comes_before(led, tx, start + mid, x):
            lo = mid + 1
        else:
            hi = mid
    return lo


@inner
def rewind_from(led: Any, tx: Any, h: int, x: int, side: int, first: int) -> int:
    """Earliest index that must be run again because x enters or leaves: its unit's first leg, its day's first leg
    where only days are known, else `first`."""
    row = led.holders[h]
    start = row.start
    tag = tx[x].credit_tag if side == CREDIT_SIDE else tx[x].debit_tag
    at = first
    if (tag & T_CASH) != 0 and side != VISIT_SIDE:
        unit = tx[x].unit_day
        want = tag & ((1 << CASH_IN) | (1 << CASH_OUT))
        k = first - 1
        while k >= 0 and led.legs[start + k].day >= unit - 6:
            leg = led.legs[start + k]
            if (leg.tag & want) != 0 and tx[leg.tx].unit_day == unit:
                at = k
            k -= 1
    k = first - 1 if row.whole_days or (tag & T_DAYP) != 0 else -1
    while k >= 0 and led.legs[start + k].day == tx[x].day:
        if ((tag | led.legs[start + k].tag) & T_DAYP) != 0:
            at = min(at, k)
        k -= 1
    return at


@kernel
def plan(led: Any, tx: Any, entries: Any, rewind: np.ndarray, size: np.ndarray) -> tuple[int, int]:
    """Where each touched holder is rewound to, how many legs it will have; returns (legs to run, slots to reserve).

    Entries of holder touched[i] are e.tx, e.side, e.add[offsets[i]:offsets[i+1]], in order. `rewind` holds a lower
    bound on entry (a large number where none) and the index on return.
    """
    legs_run = 0
    slots = 0
    for i in range(entries.touched.size):
        h = entries.touched[i]
        n = led.holders[h].n
        at = min(rewind[i], n)
        change = 0
        for j in range(entries.offsets[i], entries.offsets[i + 1]):
            if j == entries.offsets[i]:
                at = min(at, position(led, tx, h, entries.tx[j]))
            if at > 0:
                at = min(at, rewind_from(led, tx, h, entries.tx[j], entries.side[j], at))
            change += 1 if entries.add[j] else -1
        rewind[i] = at
        size[i] = n + change
        legs_run += n + change - at
        if n + change >= led.holders[h].cap:
            slots += class_capacity(capacity_class(n + change + 1))
    return legs_run, slots


@inner
def make_room(led: Any, h: int, need: int, keep: int) -> None:
    """Give the holder a block for `need` legs, keeping its first `keep`; free blocks of the class are used first.

    The slot before the first leg holds the running totals of what was dropped (zero at first), so that every window
    is one difference. A holder whose legs were all dropped has no block; its totals wait in the base table.
    """
    row = led.holders[h]
    if need < row.cap:
        return
    k = capacity_class(need + 1)
    cap = class_capacity(k)
    head = led.meter[FREE_LISTS + k]
    if head != NONE:
        led.meter[FREE_LISTS + k] = led.legs[head].t
        led.meter[FREE_SLOTS] -= cap
    else:
        head = led.meter[USED_SLOTS]
        led.meter[USED_SLOTS] += cap
    if row.cap > 0:
        old = row.start - 1
        for i in range(keep + 1):
            led.legs[head + i] = led.legs[old + i]
        old_class = capacity_class(row.cap)
        led.legs[old].t = led.meter[FREE_LISTS + old_class]
        led.meter[FREE_LISTS + old_class] = old
        led.meter[FREE_SLOTS] += row.cap
    else:
        for m in range(MEASURES):
            led.legs[head].counts[m] = led.base[row.base, 0].counts[m] if row.base != NONE else 0
        for m in range(SUMS):
            led.legs[head].sums[m] = led.base[row.base, 0].sums[m] if row.base != NONE else 0
    led.holders[h].start = head + 1
    led.holders[h].cap = cap


@kernel
def squeeze(led: Any, order: np.ndarray, drops: np.ndarray) -> None:
    """Move all blocks together, in the order of their places, without each holder's first `drops` legs; no block is
    free afterwards."""
    to = 0
    for o in range(order.size):
        row = led.holders[order[o]]
        k = drops[order[o]]
        n = row.n - k
        row.dropped += k
        row.n = n
        if n == 0 and row.base != NONE:
            row.start = 0
            row.cap = 0
            continue
        first = row.start - 1 + k  # the last dropped leg holds the running totals before the first one kept
        if first != to:
            for i in range(n + 1):
                led.legs[to + i] = led.legs[first + i]
        row.start = to + 1
        if k > 0:
            row.cap = class_capacity(capacity_class(n + 1))
        to += row.cap
    led.meter[USED_SLOTS] = to
    led.meter[FREE_SLOTS] = 0
    led.meter[FREE_LISTS:] = NONE


@inner
def undo(led: Any, h: int, at: int) -> None:
    """Take the legs from index `at` on out of the pair and bucket histories, last first."""
    row = led.holders[h]
    for i in range(row.n - 1, at - 1, -1):
        leg = led.legs[row.start + i]
        if registers(leg.tag, leg.cp):
            pair = led.pairs[find(led.pairs, pair_key(h, leg.cp))]
            pair.n[1 if leg.tag & T_DEBIT else 0] = leg.pair_n
            if pair.n[0] + pair.n[1] == 0:
                led.holders[h].pairs -= 1
        if (leg.tag & T_HOP) != 0 and (leg.tag & T_DEBIT) == 0:
            led.fits[find(led.fits, fit_key(h, bucket_of(leg.amount)))].last = leg.prev_fit
    if row.business_from != NONE and row.business_from >= row.dropped + at:
        led.holders[h].business_from = NONE


@inner
def side_of(tag: int) -> int:
    """Side of its transaction that a leg stands on."""
    if tag & (1 << VISIT):
        return VISIT_SIDE
    return DEBIT_SIDE if tag & T_DEBIT else CREDIT_SIDE


@inner
def merge(led: Any, tx: Any, h: int, at: int, entries: Any, first: int, last: int, out: np.ndarray) -> int:
    """The holder's legs from `at` on after the change, as (transaction, side), in order; returns their number."""
    row = led.holders[h]
    i, j, k = at, first, 0
    while i < row.n or j < last:
        if j < last and (i == row.n or not comes_before(led, tx, row.start + i, entries.tx[j])):
            if entries.add[j]:
                out[k].tail_tx = entries.tx[j]
                out[k].tail_side = entries.side[j]
                k += 1
            else:
                i += 1  # the leaving leg itself
            j += 1
        else:
            leg = led.legs[row.start + i]
            out[k].tail_tx = leg.tx
            out[k].tail_side = side_of(leg.tag)
            i += 1
            k += 1
    return k


@inner
def last_of(led: Any, start: int, end: int, measure: int) -> int:
    """Index of the last leg of a measure before index `end`, or NONE if none is held: near ones are walked to, far
    ones found by the running totals."""
    if end == 0:
        return NONE
    have = led.legs[start + end - 1].counts[measure]
    if have == led.legs[start - 1].counts[measure]:
        return NONE
    near = max(0, end - NEAR)
    for i in range(end - 1, near - 1, -1):
        if led.legs[start + i].tag & (1 << measure):
            return i
    lo, hi = 0, near
    while lo < hi:
        mid = (lo + hi) >> 1
        if led.legs[start + mid].counts[measure] < have:
            lo = mid + 1
        else:
            hi = mid
    return lo


@inner
def base_day(led: Any, base: int) -> int:
    """Local day of a holder's last dropped counted leg, or NEVER."""
    day = NEVER
    if base >= 0:
        for d in range(2):
            if led.base[base, d].known:
                day = max(day, led.base[base, d].day)
    return day


@inner
def distinct_parties(led: Any, h: int, i: int, lo: int, marks: np.ndarray, serial: int) -> int:
    """Distinct counterparties of the holder's counted legs in [lo, i]."""
    start = led.holders[h].start
    found = 0
    for k in range(lo, i + 1):
        leg = led.legs[start + k]
        if registers(leg.tag, leg.cp) and marks[leg.cp].stamp != serial:
            marks[leg.cp].stamp = serial
            found += 1
    return found


@inner
def segment_of(led: Any, party: Any, h: int, i: int, row_party: int, marks: np.ndarray, serial: np.ndarray) -> int:
    """Segment of the holder at leg i: the party table's, else person until more than 20 counterparties in 7 days."""
    if row_party >= 0 and party[row_party].segment != UNKNOWN:
        return int(party[row_party].segment)
    if led.holders[h].business_from != NONE:
        return BUSINESS
    if led.holders[h].pairs <= BUSINESS_PARTIES:
        return PERSON
    start = led.holders[h].start
    lo = first_on_day(led.legs, start, 0, i + 1, led.legs[start + i].day - 6)
    if i + 1 - lo <= BUSINESS_PARTIES:
        return PERSON
    serial[0] += 1
    return BUSINESS if distinct_parties(led, h, i, lo, marks, serial[0]) > BUSINESS_PARTIES else PERSON


@inner
def window_count(led: Any, start: int, lo: int, end: int, measure: int) -> int:
    """Legs of a measure at indices [lo, end)."""
    if end <= lo:
        return 0
    return int(led.legs[start + end - 1].counts[measure] - led.legs[start + lo - 1].counts[measure])


@inner
def window_sum(led: Any, start: int, lo: int, end: int, measure: int) -> int:
    """Minor units of a summed measure at indices [lo, end)."""
    if end <= lo:
        return 0
    return int(led.legs[start + end - 1].sums[measure] - led.legs[start + lo - 1].sums[measure])
