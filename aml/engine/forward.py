"""Running a batch forward: legs are written, facts computed, filters asked; the hot loop of the whole product."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.ahead import AHEAD, read_ahead
from aml.engine.features import leg_features, refill
from aml.engine.layout import (
    BUSINESS,
    CREDIT,
    DEBIT,
    MEASURES,
    NEW_PAYEE,
    NEW_PAYER,
    NONE,
    PERSON,
    SUMS,
    T_BATCH,
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
    NEVER,
    VISIT_SIDE,
    base_day,
    last_of,
    make_room,
    merge,
    segment_of,
    undo,
    window_count,
    window_sum,
)
from aml.engine.tables import (
    bucket_of,
    find,
    find_or_add,
    first_after,
    first_on_day,
    fit_key,
    inner,
    kernel,
    pair_key,
    registers,
    slot_of,
)
from aml.engine.walk import day_ratio

DAY_SPAN = 0
FOUR_DAY_SPAN = 1
FITTING = 3  # amount buckets that a fitting credit can lie in


@inner
def write_leg(led: Any, tx: Any, h: int, i: int, x: int, side: int) -> None:
    """Write what the transaction alone decides of the holder's leg at index i."""
    leg = led.legs[led.holders[h].start + i]
    leg.t = tx[x].t
    leg.tx = x
    leg.day = tx[x].day
    leg.pair_n = 0
    leg.prev_fit = NONE
    at = i + led.holders[h].dropped
    if side == DEBIT_SIDE:
        leg.amount, leg.tag, leg.cp, leg.q = tx[x].debit_value, tx[x].debit_tag, tx[x].credit_holder, tx[x].debit_q
        tx[x].debit_at = at
    elif side == CREDIT_SIDE:
        leg.amount, leg.tag, leg.cp, leg.q = tx[x].credit_value, tx[x].credit_tag, tx[x].debit_holder, tx[x].credit_q
        tx[x].credit_at = at
    else:
        leg.amount, leg.cp, leg.q = tx[x].credit_value, tx[x].credit_holder, tx[x].credit_q
        leg.tag = np.uint32(1 << VISIT) | (tx[x].credit_tag & np.uint32(T_DAYP))
    if leg.tag & T_DAYP:
        led.holders[h].whole_days = True
    if side == DEBIT_SIDE and leg.tag & T_BATCH:
        led.holders[h].batches = True


@inner
def join_pair(led: Any, h: int, i: int) -> bool:
    """Enter a counted leg into its pair's history and mark it if it is the pair's first; returns whether the other
    direction has been seen."""
    leg = led.legs[led.holders[h].start + i]
    if leg.cp < 0 or (leg.tag & (1 << VISIT)) != 0:
        return False
    debit = 1 if leg.tag & T_DEBIT else 0
    key = pair_key(h, leg.cp)
    pair = led.pairs[slot_of(led.pairs, key)]
    met = pair.key == key
    if not registers(leg.tag, leg.cp):
        leg.pair_n = pair.n[debit] if met else 0
        return met and pair.n[1 - debit] > 0
    if not met:
        pair.key = key
        pair.n[0] = 0
        pair.n[1] = 0
        led.meter[USED_PAIRS] += 1
    if pair.n[0] + pair.n[1] == 0:
        led.holders[h].pairs += 1
    leg.pair_n = pair.n[debit]
    if leg.pair_n == 0:
        leg.tag |= np.uint32(T_NEW)
        if debit == 0:
            leg.tag |= np.uint32(1 << NEW_PAYER)
        elif (leg.tag & T_CARD) == 0:
            leg.tag |= np.uint32(1 << NEW_PAYEE)
    pair.n[debit] += 1
    return pair.n[1 - debit] > 0


@inner
def join_fit(led: Any, h: int, i: int) -> None:
    """Enter a hop credit into its amount bucket, so that a later payment finds what it may be sending on."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    slot = find_or_add(led.fits, fit_key(h, bucket_of(leg.amount)), led.meter, USED_FITS)
    leg.prev_fit = led.fits[slot].last
    led.fits[slot].last = i + row.dropped


@inner
def add_totals(led: Any, s: int) -> None:
    """Running totals of slot s = those of the slot before it, plus the leg."""
    tag = led.legs[s].tag
    for m in range(MEASURES):
        led.legs[s].counts[m] = led.legs[s - 1].counts[m] + ((tag >> m) & 1)
    for m in range(SUMS):
        led.legs[s].sums[m] = led.legs[s - 1].sums[m] + (led.legs[s].amount if (tag >> m) & 1 else 0)


@inner
def lifetime(led: Any, h: int, i: int, last_same: int, debit: int) -> None:
    """Sum, square sum and maximum of ln(amount) over the holder's counted legs in this direction, this one included."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    q = np.int64(leg.q)
    leg.sq, leg.sq2, leg.qmax = q, q * q, leg.q
    if last_same >= 0:
        past = led.legs[row.start + last_same]
        leg.sq += past.sq
        leg.sq2 += past.sq2
        leg.qmax = max(leg.qmax, past.qmax)
    elif row.base >= 0 and led.base[row.base, debit].known:
        base = led.base[row.base, debit]
        leg.sq += base.sq
        leg.sq2 += base.sq2
        leg.qmax = max(leg.qmax, base.qmax)


@inner
def passes(led: Any, f: Any, start: int, lo: int, end: int) -> bool:
    """Whether the legs of a span satisfy a filter's bounds."""
    for b in range(f.bounds):
        m = f.measure[b]
        have = window_sum(led, start, lo, end, m) if f.is_sum[b] else window_count(led, start, lo, end, m)
        if have < f.least[b]:
            return False
    if f.ratio > 0.0:
        return window_sum(led, start, lo, end, f.over) >= f.ratio * window_sum(led, start, lo, end, f.under)
    return True


@inner
def month_passes(led: Any, f: Any, h: int, i: int, segment: int) -> bool:
    """Whether the day window up to leg i is as large against the own month as the rule asks of this segment."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    if (leg.tag & f.month_at) == 0:
        return False
    w0 = leg.day - f.month_days + 1
    lo = first_on_day(led.legs, row.start, 0, i + 1, w0)
    total = window_sum(led, row.start, lo, i + 1, f.month_measure)
    return day_ratio(led, h, i, w0, total, f.month_measure, segment == PERSON) >= f.month_ratio[segment]


@inner
def candidates_at(led: Any, h: int, i: int, segment: int, los: np.ndarray, filters: np.ndarray) -> Any:
    """Rules (as bits) whose filter lets the leg at index i pass: necessary conditions only, O(1) each.

    Where only days are known of some leg, later legs of the day may count too: there every triggered rule passes.
    """
    start = led.holders[h].start
    tag = led.legs[start + i].tag
    whole_days = led.holders[h].whole_days
    found = np.uint64(0)
    for k in range(filters.size):
        f = filters[k]
        if (tag & f.trigger) == 0 or (f.segments >> segment) & 1 == 0:
            continue
        if whole_days or (passes(led, f, start, los[f.span], i + 1)
                          and (f.month_ratio[segment] == 0.0 or month_passes(led, f, h, i, segment))):
            found |= np.uint64(1) << np.uint64(k)
    return found


@inner
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


@inner
def expect_whole_days(led: Any, tx: Any, h: int, tail: np.ndarray, m: int) -> None:
    """Let filters know before the first of these legs that a later one of its day may count for it too."""
    for j in range(m):
        if (tx[tail[j].tail_tx].debit_tag | tx[tail[j].tail_tx].credit_tag) & T_DAYP:
            led.holders[h].whole_days = True


@inner
def run_holder(led: Any, tx: Any, party: Any, knobs: Any, filters: np.ndarray, h: int, at: int, m: int,
               tail: np.ndarray, out: Any, rows: np.ndarray, work: Any) -> None:
    """Write the holder's legs from index `at` on from tail[0:m] and compute all that follows from them.

    rows: [feature rows, candidates, hop debits, payments whose other side is now stale] written, moved on.
    """
    holders = led.holders
    holders[h].n = at + m
    start = holders[h].start
    dropped = holders[h].dropped
    last_credit = last_of(led, start, at, CREDIT)
    last_debit = last_of(led, start, at, DEBIT)
    seen = last_credit != NONE or last_debit != NONE or base_day(led, holders[h].base) != NEVER
    refill(led, h, at, work.ring, work.pushed)
    if knobs.day_precision:
        expect_whole_days(led, tx, h, tail, m)
    for j in range(m):
        i = at + j
        x, side = tail[j].tail_tx, tail[j].tail_side
        write_leg(led, tx, h, i, x, side)
        leg = led.legs[start + i]
        move_spans(led, start, i, j == 0, knobs.spans, work.los)
        debit = 1 if leg.tag & T_DEBIT else 0
        counted = (leg.tag & T_COUNTED) != 0
        if counted and not seen:
            holders[h].first_t = leg.t
            holders[h].first_day = leg.day
            seen = True
        if counted and slept(led, h, leg.day, last_credit, last_debit) >= knobs.gap_days:
            leg.tag |= np.uint32(1 << WAKE)
        returned = join_pair(led, h, i)
        last_same = last_debit if debit else last_credit
        lifetime(led, h, i, last_same, debit)
        add_totals(led, start + i)
        segment = PERSON
        if side != VISIT_SIDE:
            segment = judge_leg(led, tx, party, knobs, h, i, last_same, returned, out, rows, work)
        if counted:
            if debit:
                last_debit = i
            else:
                last_credit = i
            work.ring[debit, work.pushed[debit] % 8] = i
            work.pushed[debit] += 1
        if leg.tag & T_HOP:
            if debit:
                out.hop_tx[rows[2]] = x
                fitting_heads(led, h, leg.amount, out.hop_heads[rows[2]])
                rows[2] += 1
            else:
                join_fit(led, h, i)
        mask = candidates_at(led, h, i, segment, work.los, filters)
        if mask != 0:
            n = rows[1]
            out.cand_holder[n] = h
            out.cand_at[n] = i + dropped
            out.cand_mask[n] = mask
            rows[1] = n + 1


@inner
def move_spans(led: Any, start: int, i: int, first: bool, spans: np.ndarray, los: np.ndarray) -> None:
    """First index inside each span that ends with the leg at index i."""
    t = led.legs[start + i].t
    for k in range(spans.size):
        if k > 0 and spans[k] == spans[k - 1]:
            los[k] = los[k - 1]
            continue
        lo = first_after(led.legs, start, 0, i, t - spans[k]) if first else los[k]
        while led.legs[start + lo].t <= t - spans[k]:
            lo += 1
        los[k] = lo


@inner
def judge_leg(led: Any, tx: Any, party: Any, knobs: Any, h: int, i: int, last_same: int, returned: bool, out: Any,
              rows: np.ndarray, work: Any) -> int:
    """Features and segment of a leg, and whether its transaction's other side was told otherwise; returns the
    segment."""
    row = led.holders[h]
    leg = led.legs[row.start + i]
    x = leg.tx
    debit = (leg.tag & T_DEBIT) != 0
    n = rows[0]
    fits = leg_features(led, h, i, last_same, returned, work.los[DAY_SPAN], work.los[FOUR_DAY_SPAN], knobs.scale,
                        out.x[n], work.ring, work.pushed)
    out.row_tx[n] = x
    out.row_side[n] = DEBIT_SIDE if debit else CREDIT_SIDE
    rows[0] = n + 1
    mine = tx[x].debit_party if debit else tx[x].credit_party
    segment = segment_of(led, party, h, i, mine, work.marks, work.serial)
    known = mine >= 0 and party[mine].segment != UNKNOWN
    if segment == BUSINESS and not known and row.business_from == NONE:
        led.holders[h].business_from = i + row.dropped
    told = tx[x].debit_segment if debit else tx[x].credit_segment
    stale = told != NONE and told != segment
    if debit:
        behind = (128 if fits else 0) | (64 if leg.tag & T_NEW else 0) | (tx[x].behind & 15)
        stale = stale or (told != NONE and behind >> 7 != tx[x].behind >> 7)
        tx[x].debit_segment = segment
        tx[x].debit_known = leg.day - row.first_day
        tx[x].behind = behind
    else:
        tx[x].credit_segment = segment
    if stale:
        out.stale[rows[3]] = x
        rows[3] += 1
    return segment


@inner
def slept(led: Any, h: int, day: int, last_credit: int, last_debit: int) -> int:
    """Whole days since the holder's last counted leg; 0 if there was none."""
    row = led.holders[h]
    last = max(last_credit, last_debit)
    if last >= 0:
        return int(day - led.legs[row.start + last].day)
    since = base_day(led, row.base)
    return int(day - since) if since != NEVER else 0


@kernel
def run_batch(led: Any, tx: Any, party: Any, knobs: Any, filters: np.ndarray, entries: Any, rewind: np.ndarray,
              size: np.ndarray, out: Any, rows: np.ndarray, work: Any) -> None:
    """Rewind and run forward every touched holder (see `ledger.plan` for the arrays)."""
    for i in range(entries.touched.size):
        if i % AHEAD == 0:
            work.pushed[0] = read_ahead(led, tx, party, entries, i)
        h = entries.touched[i]
        at = rewind[i]
        undo(led, h, at)
        m = merge(led, tx, h, at, entries, entries.offsets[i], entries.offsets[i + 1], work.slots)
        make_room(led, h, size[i], at)
        led.holders[h].since = at + led.holders[h].dropped
        run_holder(led, tx, party, knobs, filters, h, at, m, work.slots, out, rows, work)
