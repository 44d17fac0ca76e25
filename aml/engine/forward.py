"""Running a batch forward: legs are written, facts computed, filters asked; the hot loop of the whole product."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.features import leg_features, refill
from aml.engine.layout import (
    BUSINESS,
    CREDIT,
    DEBIT,
    MEASURES,
    NEW_PAYEE,
    NEW_PAYER,
    NONE,
    SUMS,
    T_CARD,
    T_COUNTED,
    T_DAYP,
    T_DEBIT,
    T_HOP,
    T_NEW,
    UNKNOWN,
    USED_FITS,
    USED_PAIRS,
    VISIT,
    WAKE,
)
from aml.engine.ledger import (
    CREDIT_SIDE,
    DEBIT_SIDE,
    VISIT_SIDE,
    last_of,
    make_room,
    merge,
    segment_of,
    undo,
    window_count,
    window_sum,
)
from aml.engine.tables import bucket_of, find, find_or_add, first_after, first_on_day, fit_key, jit, pair_key, registers

SPANS = 8
DAY_SPAN = 0
FOUR_DAY_SPAN = 1
FITTING = 3  # amount buckets that a fitting credit can lie in


@jit
def write_leg(led: Any, tx: Any, h: int, i: int, x: int, side: int) -> None:
    """Write what the transaction alone decides of the holder's leg at index i."""
    leg = led.legs[led.holders[h].start + i]
    leg.t = tx[x].t
    leg.tx = x
    leg.day = tx[x].day
    leg.prev_pair = NONE
    leg.pair_n = 0
    leg.prev_fit = NONE
    if side == DEBIT_SIDE:
        leg.amount, leg.tag, leg.cp, leg.party, leg.q = (
            tx[x].debit_value, tx[x].debit_tag, tx[x].credit_holder, tx[x].debit_party, tx[x].debit_q)
        tx[x].debit_at = i + led.holders[h].dropped
    elif side == CREDIT_SIDE:
        leg.amount, leg.tag, leg.cp, leg.party, leg.q = (
            tx[x].credit_value, tx[x].credit_tag, tx[x].debit_holder, tx[x].credit_party, tx[x].credit_q)
        tx[x].credit_at = i + led.holders[h].dropped
    else:
        leg.amount, leg.tag, leg.cp, leg.party, leg.q = (
            tx[x].credit_value, np.uint32((1 << VISIT) | (tx[x].credit_tag & np.uint32(T_DAYP))), tx[x].credit_holder, NONE, tx[x].credit_q)
        tx[x].visit_at = i + led.holders[h].dropped


@jit
def join_pair(led: Any, h: int, i: int) -> None:
    """Enter the leg into its pair's history and mark it if it is the pair's first."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    slot = find_or_add(led.pairs, pair_key(h, leg.cp, 1 if leg.tag & T_DEBIT else 0), led.meter, USED_PAIRS)
    leg.prev_pair = led.pairs[slot].last
    leg.pair_n = led.pairs[slot].n
    if leg.pair_n == 0:
        leg.tag |= np.uint32(T_NEW)
        if (leg.tag & T_DEBIT) == 0:
            leg.tag |= np.uint32(1 << NEW_PAYER)
        elif (leg.tag & T_CARD) == 0:
            leg.tag |= np.uint32(1 << NEW_PAYEE)
    led.pairs[slot].last = i + row.dropped
    led.pairs[slot].n += 1


@jit
def join_fit(led: Any, h: int, i: int) -> None:
    """Enter a hop credit into its amount bucket, so that a later payment finds what it may be sending on."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    slot = find_or_add(led.fits, fit_key(h, bucket_of(leg.amount)), led.meter, USED_FITS)
    leg.prev_fit = led.fits[slot].last
    led.fits[slot].last = i + row.dropped


@jit
def add_totals(led: Any, s: int) -> None:
    """Running totals of slot s = those of the slot before it, plus the leg."""
    tag = led.legs[s].tag
    for m in range(MEASURES):
        led.legs[s].counts[m] = led.legs[s - 1].counts[m] + ((tag >> m) & 1)
    for m in range(SUMS):
        led.legs[s].sums[m] = led.legs[s - 1].sums[m] + (led.legs[s].amount if (tag >> m) & 1 else 0)


@jit
def lifetime(led: Any, h: int, i: int, last_same: int, debit: int) -> None:
    """Sum, square sum and maximum of ln(amount) over the holder's counted legs in this direction, this one included."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    q = np.int64(leg.q)
    leg.sq, leg.sq2, leg.qmax = q, q * q, leg.q
    if last_same >= 0 or row.base >= 0:
        past = led.legs[row.start + last_same] if last_same >= 0 else led.base[row.base, debit]
        if last_same >= 0 or past.t > 0:
            leg.sq += past.sq
            leg.sq2 += past.sq2
            leg.qmax = max(leg.qmax, past.qmax)


@jit
def candidates_at(led: Any, start: int, i: int, tag: int, segment: int, los: np.ndarray, filters: np.ndarray, whole_day: bool) -> int:
    """Rules (as bits) whose filter lets the leg at index i pass: necessary conditions only, O(1) each."""
    found = np.uint64(0)
    for k in range(filters.size):
        f = filters[k]
        if (tag & f.trigger) == 0 or (f.segments >> segment) & 1 == 0:
            continue
        if whole_day:
            found |= np.uint64(1) << np.uint64(k)
            continue
        lo = los[f.span]
        passed = True
        for b in range(f.bounds):
            have = window_sum(led, start, lo, i + 1, f.measure[b]) if f.is_sum[b] else window_count(led, start, lo, i + 1, f.measure[b])
            if have < f.least[b]:
                passed = False
                break
        if passed and f.ratio > 0.0:
            passed = window_sum(led, start, lo, i + 1, f.over) >= f.ratio * window_sum(led, start, lo, i + 1, f.under)
        if passed:
            found |= np.uint64(1) << np.uint64(k)
    return found


@jit
def fitting_heads(led: Any, h: int, amount: int, out: np.ndarray) -> None:
    """Ordinals of the latest hop credits, now, in the buckets that amount ÷ 1.25 … amount ÷ 0.8 can fall in."""
    low = bucket_of(max(1, (amount * 4) // 5))
    high = bucket_of(amount + (amount + 3) // 4)
    for k in range(FITTING):
        out[k] = NONE
        if low + k <= high:
            slot = find(led.fits, fit_key(h, low + k))
            if slot != NONE:
                out[k] = led.fits[slot].last


@jit
def run_holder(led: Any, tx: Any, party: Any, knobs: Any, filters: np.ndarray, h: int, at: int, m: int,
               tail: np.ndarray, out: Any, rows: np.ndarray, work: Any) -> None:
    """Write the holder's legs from index `at` on from tail[0:m] and compute all that follows from them.

    rows: [feature rows, candidates, hop debits, payments whose other side is now stale] written, moved on.
    """
    holders = led.holders
    holders[h].n = at + m
    start = holders[h].start
    dropped = holders[h].dropped
    last_credit = last_of(led, h, at, CREDIT)
    last_debit = last_of(led, h, at, DEBIT)
    refill(led, h, at, work.ring, work.pushed)
    los = work.los
    for k in range(SPANS):
        los[k] = 0
    for j in range(m):
        i = at + j
        s = start + i
        x, side = tail[j].tail_tx, tail[j].tail_side
        write_leg(led, tx, h, i, x, side)
        leg = led.legs[s]
        t = leg.t
        if i == 0 and dropped == 0:
            holders[h].first_t = t
            holders[h].first_day = leg.day
        for k in range(SPANS):
            lo = first_after(led.legs, start, 0, i, t - knobs.spans[k]) if j == 0 else los[k]
            while led.legs[start + lo].t <= t - knobs.spans[k]:
                lo += 1
            los[k] = lo
        debit = 1 if leg.tag & T_DEBIT else 0
        counted = (leg.tag & T_COUNTED) != 0
        if counted:
            woke = slept(led, h, leg.day, last_credit, last_debit)
            if woke >= knobs.gap_days:
                leg.tag |= np.uint32(1 << WAKE)
        if registers(leg.tag, leg.cp):
            join_pair(led, h, i)
        last_same = last_debit if debit else last_credit
        lifetime(led, h, i, last_same, debit)
        if side == VISIT_SIDE:
            add_totals(led, s)
            segment = 0
        else:
            n = rows[0]
            fits = leg_features(led, h, i, last_same, los[DAY_SPAN], los[FOUR_DAY_SPAN], knobs.scale, out.x[n], work.ring, work.pushed)
            out.row_tx[n] = x
            out.row_side[n] = side
            rows[0] = n + 1
            add_totals(led, s)
            known = leg.party >= 0 and party[leg.party].segment != UNKNOWN
            business = holders[h].business_from != NONE
            segment = segment_of(led, party, h, i, leg.party, business, work.marks, work.serial)
            if not known and not business and segment == BUSINESS:
                holders[h].business_from = i + dropped
            told = tx[x].debit_segment if debit else tx[x].credit_segment
            if told != NONE and told != segment:
                out.stale[rows[3]] = x
                rows[3] += 1
            if debit:
                tx[x].debit_segment = segment
                tx[x].debit_known = leg.day - holders[h].first_day
                tx[x].behind = (128 if fits else 0) | (64 if leg.tag & T_NEW else 0) | (tx[x].behind & 15)
            else:
                tx[x].credit_segment = segment
        if counted:
            if debit:
                last_debit = i
            else:
                last_credit = i
            work.ring[debit, work.pushed[debit] % 8] = i
            work.pushed[debit] += 1
        if leg.tag & T_HOP:
            if debit:
                n = rows[2]
                out.hop_tx[n] = x
                fitting_heads(led, h, leg.amount, out.hop_heads[n])
                rows[2] = n + 1
            else:
                join_fit(led, h, i)
        whole_day = knobs.day_precision
        mask = candidates_at(led, start, i, leg.tag, segment, los, filters, whole_day)
        if mask != 0:
            n = rows[1]
            out.cand_holder[n] = h
            out.cand_at[n] = i + dropped
            out.cand_mask[n] = mask
            rows[1] = n + 1
    holders[h].last_credit = last_credit
    holders[h].last_debit = last_debit


@jit
def slept(led: Any, h: int, day: int, last_credit: int, last_debit: int) -> int:
    """Whole days since the holder's last counted leg; 0 if there was none."""
    row = led.holders[h]
    last = max(last_credit, last_debit)
    if last >= 0:
        return day - led.legs[row.start + last].day
    if row.base >= 0:
        return day - max(led.base[row.base, 0].day, led.base[row.base, 1].day)
    return 0


@jit
def run_batch(led: Any, tx: Any, party: Any, knobs: Any, filters: np.ndarray, touched: np.ndarray, offsets: np.ndarray,
              e_tx: np.ndarray, e_side: np.ndarray, e_add: np.ndarray, rewind: np.ndarray, grown: np.ndarray,
              out: Any, rows: np.ndarray, work: Any) -> None:
    """Rewind and run forward every touched holder (see `ledger.plan` for the arrays)."""
    for i in range(touched.size):
        h = touched[i]
        at = rewind[i]
        undo(led, h, at)
        m = merge(led, tx, h, at, e_tx, e_side, e_add, offsets[i], offsets[i + 1], work.slots)
        make_room(led, h, grown[i], at)
        run_holder(led, tx, party, knobs, filters, h, at, m, work.slots, out, rows, work)
