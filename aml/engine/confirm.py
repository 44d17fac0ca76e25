"""Confirming candidates: the kernel of the rule's kind walks the window, then the rule's own condition decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine import aggregate, fans, flow, scatter, sweep
from aml.engine.condition import EQ, holds, steps_of
from aml.engine.facts import FACTS, WIDTH
from aml.engine.layout import DAY, T_CASH, T_EXIT, T_NEW
from aml.engine.tables import inner, kernel
from aml.engine.trails import bits
from aml.engine.walk import segment_at

# kinds of detector, as kernels know them
UNITS, UNIT, LEGS, CONDUCTED, SEQUENCE, FAN_IN, FAN_OUT, IN_OUT, SCATTER, CHAIN, CYCLE, BACK, WOKEN, MATCH = range(14)
M5, MARKERS, BATCH_SHARE = 12, 15, 3
FACT_COUNTS = tuple(len(FACTS[name]) for name in (
    "aggregate.units", "aggregate.unit", "aggregate.legs", "aggregate.conducted", "sequence", "fan.in", "fan.out",
    "fan.in_out", "fan.scatter_gather", "path.chain", "path.round_trip", "path.there_and_back", "baseline", "match",
))  # fmt: skip
HITS, EVIDENCE, NEXT, SERIAL, TRIED = 0, 1, 2, 3, 8  # counters; from TRIED on: candidates per detector


@inner
def measure(led: Any, tx: Any, party: Any, knobs: Any, det: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """Facts of one detector at the holder's leg at index i; returns the number of evidence transactions, or -1."""
    kind = det.kind
    if kind == UNITS:
        return aggregate.units(led, tx, party, knobs, det, h, i, det.bit, f, work)
    if kind == UNIT:
        return aggregate.one_unit(led, tx, knobs, h, i, det.bit, f, work)
    if kind == LEGS:
        return aggregate.legs(led, tx, knobs, det, h, i, det.bit, f, work)
    if kind == CONDUCTED:
        return aggregate.conducted(led, tx, knobs, det, h, i, f, work)
    if kind == SEQUENCE:
        return flow.pass_through(led, tx, party, knobs, det, h, i, f, work)
    if kind == FAN_IN:
        return fans.fan_in(led, tx, party, knobs, det, h, i, f, work)
    if kind == FAN_OUT:
        return fans.fan_out(led, tx, party, knobs, det, h, i, f, work)
    if kind == IN_OUT:
        return fans.gather_scatter(led, tx, party, knobs, det, h, i, f, work)
    if kind == BACK:
        return fans.there_and_back(led, tx, det, h, i, f, work)
    if kind == WOKEN:
        return flow.woken(led, knobs, det, h, i, f, work)
    return match(led, h, i, f, work)


@inner
def match(led: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """A single leg."""
    leg = led.legs[led.holders[h].start + i]
    f[0] = leg.amount
    f[1] = 1.0 if leg.tag & T_CASH else 0.0
    f[2] = 1.0 if leg.tag & T_EXIT else 0.0
    f[3] = 1.0 if leg.tag & T_NEW else 0.0
    work.ev[0] = leg.tx
    return 1


@inner
def week_of(t: int) -> int:
    """Number of the ISO week in UTC (0 = the week of 29 December 1969)."""
    return (t // DAY + 3) // 7


@inner
def decide(det: Any, steps: np.ndarray, f: np.ndarray, segment: int, at_debit: bool, stack: np.ndarray) -> bool:
    """Whether the detector's `when` holds; at a debit only if marker m5 makes it hold."""
    first, n = det.when[segment, 0], det.when[segment, 1]
    if not holds(steps, first, n, f, segment, stack):
        return False
    if det.kind == UNITS and at_debit:
        if f[M5] == 0.0:
            return False
        f[M5] = 0.0
        f[MARKERS] -= 1.0
        without = holds(steps, first, n, f, segment, stack)
        f[M5] = 1.0
        f[MARKERS] += 1.0
        return not without
    return True


@inner
def holds_for(det: Any, steps: np.ndarray, segment: int, work: Any) -> bool:
    """Whether the detector takes the segment and its `when` holds of the facts."""
    if (det.segments >> segment) & 1 == 0:
        return False
    return holds(steps, det.when[segment, 0], det.when[segment, 1], work.f, segment, work.stack)


@inner
def opens_for(det: Any, steps: np.ndarray, segment: int, work: Any) -> bool:
    """Whether a hit with these facts opens."""
    return holds(steps, det.opens[segment, 0], det.opens[segment, 1], work.f, segment, work.stack)


@inner
def record(tx: Any, det: Any, k: int, subject: int, owner: int, x: int, at: int, segment: int, opens: bool, ev: int,
           hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Write a hit; of its evidence only what is not yet marked with the serial now. False: no room left."""
    n = meters[HITS]
    end = meters[EVIDENCE]
    fresh = meters[SERIAL]
    if n >= hits.detector.size or end + ev > hits.evidence.size:
        return False
    hits.detector[n], hits.subject[n], hits.owner[n], hits.tx[n], hits.at[n] = k, subject, owner, x, at
    hits.segment[n], hits.opens[n], hits.steps[n] = segment, opens, steps_of(det, work.f)
    for e in range(WIDTH):
        hits.facts[n, e] = work.f[e] if e < FACT_COUNTS[det.kind] else 0.0
    hits.first[n] = end
    for e in range(ev):
        y = work.ev[e]
        if tx[y].seen != fresh:
            tx[y].seen = fresh
            hits.evidence[end] = y
            end += 1
    hits.number[n] = end - meters[EVIDENCE]
    meters[EVIDENCE] = end
    meters[HITS] = n + 1
    return True


@kernel
def confirm(led: Any, tx: Any, party: Any, knobs: Any, dets: np.ndarray, steps: np.ndarray, cands: Any, hits: Any,
            meters: np.ndarray, work: Any) -> bool:
    """Try the candidates (grouped by holder, in order); False when `hits` must grow before it is called again."""
    while meters[NEXT] < cands.holder.size:
        a = meters[NEXT]
        b = a + 1
        every = cands.mask[a]
        while b < cands.holder.size and cands.holder[b] == cands.holder[a]:
            every |= cands.mask[b]
            b += 1
        n_hits, n_evidence = meters[HITS], meters[EVIDENCE]
        for k in range(dets.size):
            if (every >> np.uint64(k)) & np.uint64(1) == 0:
                continue
            if not confirm_detector(led, tx, party, knobs, dets[k], k, steps, cands, a, b, hits, meters, work):
                meters[HITS], meters[EVIDENCE] = n_hits, n_evidence
                return False
        for k in range(dets.size):
            for c in range(a, b):
                meters[TRIED + k] += np.int64((cands.mask[c] >> np.uint64(k)) & np.uint64(1))
        meters[NEXT] = b
    return True


@inner
def confirm_detector(led: Any, tx: Any, party: Any, knobs: Any, det: Any, k: int, steps: np.ndarray, cands: Any,
                     a: int, b: int, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try one detector on the candidates [a, b) of one holder; False: no room left.

    The evidence of a hit leaves out what an earlier one of the same week has, which stands as long as the later one.
    """
    h = cands.holder[a]
    row = led.holders[h]
    if (det.kind == FAN_OUT or det.kind == IN_OUT) and not row.whole_days and not asks(det, steps, BATCH_SHARE):
        return confirm_swept(led, tx, party, knobs, det, k, steps, cands, a, b, hits, meters, work)
    week = -1
    for c in range(a, b):
        if (cands.mask[c] >> np.uint64(k)) & np.uint64(1) == 0:
            continue
        i = cands.at[c] - row.dropped
        segment = segment_at(led, tx, h, i)
        if (det.segments >> segment) & 1 == 0:
            continue
        ev = measure(led, tx, party, knobs, det, h, i, work.f, work)
        leg = led.legs[row.start + i]
        if ev < 0 or not decide(det, steps, work.f, segment, (leg.tag & det.bit) == 0, work.stack):
            continue
        opens = opens_for(det, steps, segment, work)
        hit_week = week_of(leg.t)
        if hit_week != week:
            week = hit_week
            meters[SERIAL] += 1
        if not record(tx, det, k, h, h, leg.tx, cands.at[c], segment, opens, ev, hits, meters, work):
            return False
    return True


@inner
def asks(det: Any, steps: np.ndarray, fact: int) -> bool:
    """Whether the detector's `when` compares a fact, for any segment."""
    for segment in range(det.when.shape[0]):
        for s in range(det.when[segment, 0], det.when[segment, 0] + det.when[segment, 1]):
            if steps[s].op <= EQ and steps[s].fact == fact:
                return True
    return False


@inner
def confirm_swept(led: Any, tx: Any, party: Any, knobs: Any, det: Any, k: int, steps: np.ndarray, cands: Any, a: int,
                  b: int, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """As `confirm_detector`, by one pass over the holder's legs; the window is walked only where the rule holds."""
    h = cands.holder[a]
    dropped = led.holders[h].dropped
    outward = det.kind == FAN_OUT
    mask, stamp, week = -1, 0, -1
    for c in range(a, b):
        if (cands.mask[c] >> np.uint64(k)) & np.uint64(1) == 0:
            continue
        i = cands.at[c] - dropped
        if mask < 0:
            mask = sweep.begin(led, det, h, i, cands.at[b - 1] - dropped, work.span, work)
            work.serial[0] += 1
            stamp = work.serial[0]
        sweep.slide(led, det, h, i, work.span, mask, stamp, work)
        leg = led.legs[led.holders[h].start + i]
        payroll = sweep.is_payroll(led, h, leg.day - det.window_days + 1, work.rolls)
        if not sweep.measured(led, tx, party, knobs, det, h, i, outward, payroll, mask, stamp, work.f, work):
            continue
        segment = segment_at(led, tx, h, i)
        if not holds_for(det, steps, segment, work):
            continue
        ev = measure(led, tx, party, knobs, det, h, i, work.f, work)
        opens = opens_for(det, steps, segment, work)
        if week_of(leg.t) != week:
            week = week_of(leg.t)
            meters[SERIAL] += 1
        if not record(tx, det, k, h, h, leg.tx, cands.at[c], segment, opens, ev, hits, meters, work):
            return False
    return True


@kernel
def confirm_scatter(led: Any, tx: Any, books: Any, dets: np.ndarray, k: int, steps: np.ndarray, ends: np.ndarray,
                    hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try scatter-gather at the carrying credits of each end from where its legs changed on; hits on the end and the
    origin."""
    while meters[NEXT] < ends.size:
        h = ends[meters[NEXT]]
        row = led.holders[h]
        n_hits, n_evidence, tried = meters[HITS], meters[EVIDENCE], meters[TRIED + k]
        for i in range(max(0, row.ends_since - row.dropped), row.n):
            if scatter.carries(tx, led.legs[row.start + i]):
                meters[TRIED + k] += 1
                if not scatter_at(led, tx, books, dets[k], k, steps, h, i, hits, meters, work):
                    meters[HITS], meters[EVIDENCE], meters[TRIED + k] = n_hits, n_evidence, tried
                    return False
        meters[NEXT] += 1
    return True


@inner
def scatter_at(led: Any, tx: Any, books: Any, det: Any, k: int, steps: np.ndarray, h: int, i: int, hits: Any,
               meters: np.ndarray, work: Any) -> bool:
    """Try scatter-gather at one credit; False: no room left."""
    segment = segment_at(led, tx, h, i)
    ev, origin = scatter.scatter_gather(led, tx, books, det, h, i, work.f, work)
    if ev < 0 or not holds_for(det, steps, segment, work):
        return True
    opens = opens_for(det, steps, segment, work)
    x = led.legs[led.holders[h].start + i].tx
    for who in range(2):
        subject = h if who == 0 else origin
        meters[SERIAL] += 1
        at = i + led.holders[h].dropped
        if not record(tx, det, k, subject, h, x, at, segment, opens, ev, hits, meters, work):
            return False
    return True


@inner
def least_kept(trail: Any, tx: Any) -> tuple[float, float, int]:
    """Smallest and largest share kept from hop to hop, and the longest wait between hops (µs)."""
    low, high, gap = 9.0, 0.0, 0
    for k in range(1, trail.n):
        share = tx[trail.tx[k]].debit_value / tx[trail.tx[k - 1]].credit_value
        low, high = min(low, share), max(high, share)
        gap = max(gap, tx[trail.tx[k]].t - tx[trail.tx[k - 1]].t)
    return low, high, gap


@inner
def path_facts(det: Any, trail: Any, tx: Any, f: np.ndarray, work: Any) -> bool:
    """Facts that all subjects of a trail share; False if it breaks the detector's own limits for a hop."""
    low, high, gap = least_kept(trail, tx)
    if low < det.kept_least or high > det.kept_most or gap >= det.hop_window:
        return False
    first, last = trail.tx[0], trail.tx[trail.n - 1]
    days = (tx[last].t - tx[first].t) / DAY
    for k in range(trail.n):
        work.ev[k] = trail.tx[k]
    if det.kind == CHAIN:
        f[0], f[1], f[2], f[3] = trail.n, trail.n + 1, tx[first].debit_value, tx[last].debit_value
        f[4] = f[3] / f[2]
        f[5], f[6] = days, bits(trail.new)
        f[9], f[10] = bits(trail.person), trail.known
    else:
        f[0], f[1], f[2] = trail.n, tx[first].debit_value, tx[last].credit_value
        f[3] = f[2] / f[1]
        f[4], f[5], f[6], f[7] = days, bits(trail.new), bits(trail.person), trail.known
    return True


@kernel
def confirm_paths(tx: Any, dets: np.ndarray, k: int, steps: np.ndarray, found: Any, paths: int, hits: Any,
                  meters: np.ndarray, work: Any) -> bool:
    """Try a path detector on the trails found, grouped by payment, best first: for each subject the first trail that
    opens, else the first that holds. False: no room left."""
    while meters[NEXT] < paths:
        a = meters[NEXT]
        b = a + 1
        while b < paths and found.path_tx[b] == found.path_tx[a]:
            b += 1
        n_hits, n_evidence, tried = meters[HITS], meters[EVIDENCE], meters[TRIED + k]
        meters[SERIAL] += 1
        done = meters[SERIAL]
        for opening in (True, False):
            for c in range(a, b):
                if found.path_cycle[c] != (dets[k].kind == CYCLE):
                    continue
                meters[TRIED + k] += 1 if opening else 0
                if not path_at(tx, dets[k], k, steps, found.path[c], opening, done, hits, meters, work):
                    meters[HITS], meters[EVIDENCE], meters[TRIED + k] = n_hits, n_evidence, tried
                    return False
        meters[NEXT] = b
    return True


@inner
def path_at(tx: Any, det: Any, k: int, steps: np.ndarray, trail: Any, opening: bool, done: int, hits: Any,
            meters: np.ndarray, work: Any) -> bool:
    """Try one trail for each of its subjects that has no hit yet; False: no room left."""
    if not path_facts(det, trail, tx, work.f, work):
        return True
    last = trail.tx[trail.n - 1]
    cycle = det.kind == CYCLE
    for p in range(0 if cycle else 1, 1 if cycle else trail.n):
        subject = tx[trail.tx[p]].debit_holder
        if work.marks[subject].done == done:
            continue
        if not cycle:
            work.f[7], work.f[8] = trail.in_share[p], trail.out_share[p]
        segment = tx[trail.tx[p]].debit_segment
        if not holds_for(det, steps, segment, work):
            continue
        opens = opens_for(det, steps, segment, work)
        if opening and not opens:
            continue
        work.marks[subject].done = done
        meters[SERIAL] += 1
        if not record(tx, det, k, subject, tx[last].debit_holder, last, 0, segment, opens, trail.n, hits, meters, work):
            return False
    return True
