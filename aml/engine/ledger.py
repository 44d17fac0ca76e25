"""The one path by which legs enter and leave: rewind each touched holder to its earliest changed leg, run forward.

In-order input is the case of zero rewind. While running forward a leg gets its pair history, running totals,
features and the candidates of every rule; nothing here knows a rule, only filters (see `program`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import (
    BUSINESS,
    CASH_IN,
    CASH_OUT,
    CREDIT,
    DAY,
    DEBIT,
    HOUR,
    MEASURES,
    NEW_PAYEE,
    NEW_PAYER,
    NONE,
    PERSON,
    SUMS,
    T_CARD,
    T_CASH,
    T_COUNTED,
    T_DAYP,
    T_DEBIT,
    T_HOP,
    T_NEW,
    UNKNOWN,
    USED_FITS,
    USED_PAIRS,
    USED_SLOTS,
    VISIT,
    WAKE,
)
from aml.engine.tables import (
    before,
    bucket_of,
    find,
    find_or_add,
    first_after,
    first_on_day,
    fit_key,
    jit,
    pair_key,
    registers,
)

CREDIT_SIDE = 0
DEBIT_SIDE = 1
VISIT_SIDE = 2
FREE_LISTS = 8  # meter[FREE_LISTS + class] = head of the free blocks of that class
BUSINESS_PARTIES = 20
NEVER_SEEN = 24.0 * 30.0


@jit
def capacity_class(need: int) -> int:
    """Smallest class of the ladder 4, 6, 9, 14, … (half again as large each) that holds `need` legs."""
    cap = 4
    k = 0
    while cap < need:
        cap = cap + (cap + 1) // 2
        k += 1
    return k


@jit
def class_capacity(k: int) -> int:
    """Legs that a block of class k holds."""
    cap = 4
    for _ in range(k):
        cap = cap + (cap + 1) // 2
    return cap


@jit
def position(led: Any, tx: Any, h: int, x: int) -> int:
    """Index at which transaction x stands, or would stand, among the holder's legs."""
    row = led.holders[h]
    start, n = row.start, row.n
    if n == 0 or before(tx, led.legs[start + n - 1].tx, x):
        return n
    lo, hi = 0, n
    while lo < hi:
        mid = (lo + hi) >> 1
        if before(tx, led.legs[start + mid].tx, x):
            lo = mid + 1
        else:
            hi = mid
    return lo


@jit
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
    k = first - 1
    while k >= 0 and led.legs[start + k].day == tx[x].day:
        if ((tag | led.legs[start + k].tag) & T_DAYP) != 0:
            at = min(at, k)
        k -= 1
    return at


@jit
def plan(led: Any, tx: Any, touched: np.ndarray, offsets: np.ndarray, e_tx: np.ndarray, e_side: np.ndarray,
         e_add: np.ndarray, rewind: np.ndarray, grown: np.ndarray) -> tuple[int, int]:
    """Where each touched holder is rewound to, what it will need; returns (legs to run, slots to reserve).

    Entries of holder touched[i] are e_*[offsets[i]:offsets[i+1]], in order. `rewind` holds a lower bound on entry
    (a large number where none) and the index on return.
    """
    legs_run = 0
    slots = 0
    for i in range(touched.size):
        h = touched[i]
        n = led.holders[h].n
        at = min(rewind[i], n)
        change = 0
        for j in range(offsets[i], offsets[i + 1]):
            p = position(led, tx, h, e_tx[j]) if j == offsets[i] else n
            if p < at or j == offsets[i]:
                at = min(at, p)
            if at > 0:
                at = min(at, rewind_from(led, tx, h, e_tx[j], e_side[j], at))
            change += 1 if e_add[j] else -1
        rewind[i] = at
        grown[i] = n + change
        legs_run += n + change - at
        if n + change >= led.holders[h].cap:
            slots += class_capacity(capacity_class(n + change + 1))
    return legs_run, slots


@jit
def make_room(led: Any, h: int, need: int, keep: int) -> None:
    """Give the holder a block for `need` legs, keeping its first `keep`; free blocks of the class are used first.

    The slot before the first leg holds the running totals of what was dropped (zero at first), so that every window
    is one difference.
    """
    row = led.holders[h]
    if need < row.cap:
        return
    k = capacity_class(need + 1)
    cap = class_capacity(k)
    head = led.meter[FREE_LISTS + k]
    if head != NONE:
        led.meter[FREE_LISTS + k] = led.legs[head].t
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
    else:
        led.legs[head].counts[:] = 0
        led.legs[head].sums[:] = 0
    led.holders[h].start = head + 1
    led.holders[h].cap = cap


@jit
def undo(led: Any, h: int, at: int) -> None:
    """Take the legs from index `at` on out of the pair and bucket histories, last first."""
    row = led.holders[h]
    for i in range(row.n - 1, at - 1, -1):
        leg = led.legs[row.start + i]
        if registers(leg.tag, leg.cp):
            slot = find(led.pairs, pair_key(h, leg.cp, 1 if leg.tag & T_DEBIT else 0))
            led.pairs[slot].last = leg.prev_pair
            led.pairs[slot].n = leg.pair_n
        if (leg.tag & T_HOP) != 0 and (leg.tag & T_DEBIT) == 0:
            slot = find(led.fits, fit_key(h, bucket_of(leg.amount)))
            led.fits[slot].last = leg.prev_fit
    if row.business_from != NONE and row.business_from >= row.dropped + at:
        led.holders[h].business_from = NONE


@jit
def merge(led: Any, tx: Any, h: int, at: int, e_tx: np.ndarray, e_side: np.ndarray, e_add: np.ndarray,
          first: int, last: int, out: np.ndarray) -> int:
    """The holder's legs from `at` on after the change, as (transaction, side), in order; returns their number."""
    row = led.holders[h]
    i, j, k = at, first, 0
    while i < row.n or j < last:
        if j < last and (i == row.n or not before(tx, led.legs[row.start + i].tx, e_tx[j])):
            if e_add[j]:
                out[k].tail_tx = e_tx[j]
                out[k].tail_side = e_side[j]
                k += 1
            else:
                i += 1  # the leaving leg itself
            j += 1
        else:
            leg = led.legs[row.start + i]
            out[k].tail_tx = leg.tx
            out[k].tail_side = VISIT_SIDE if leg.tag & (1 << VISIT) else (DEBIT_SIDE if leg.tag & T_DEBIT else CREDIT_SIDE)
            i += 1
            k += 1
    return k


@jit
def last_of(led: Any, h: int, at: int, measure: int) -> int:
    """Index of the last counted leg of a direction before index `at`, or NONE if none is held."""
    start = led.holders[h].start
    if at == 0 or led.legs[start + at - 1].counts[measure] == led.legs[start - 1].counts[measure]:
        return NONE
    for i in range(at - 1, -1, -1):
        if led.legs[start + i].tag & (1 << measure):
            return i
    return NONE


@jit
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


@jit
def segment_of(led: Any, party: Any, h: int, i: int, row_party: int, business: bool, marks: np.ndarray, serial: np.ndarray) -> int:
    """Segment of the holder at leg i: the party table's, else person until more than 20 counterparties in 7 days."""
    if row_party >= 0 and party[row_party].segment != UNKNOWN:
        return party[row_party].segment
    if business:
        return BUSINESS
    start = led.holders[h].start
    lo = first_on_day(led.legs, start, 0, i + 1, led.legs[start + i].day - 6)
    if i + 1 - lo <= BUSINESS_PARTIES:
        return PERSON
    serial[0] += 1
    return BUSINESS if distinct_parties(led, h, i, lo, marks, serial[0]) > BUSINESS_PARTIES else PERSON


@jit
def window_count(led: Any, start: int, lo: int, end: int, measure: int) -> int:
    """Legs of a measure at indices [lo, end)."""
    return led.legs[start + end - 1].counts[measure] - led.legs[start + lo - 1].counts[measure] if end > lo else 0


@jit
def window_sum(led: Any, start: int, lo: int, end: int, measure: int) -> int:
    """Minor units of a summed measure at indices [lo, end)."""
    return led.legs[start + end - 1].sums[measure] - led.legs[start + lo - 1].sums[measure] if end > lo else 0
