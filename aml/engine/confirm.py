"""Confirming candidates: the kernel of the rule's kind walks the window, then the rule's own condition decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine import aggregate, fans, flow
from aml.engine.condition import holds, steps_of
from aml.engine.layout import CREDIT, DAY, NONE, PERSON
from aml.engine.tables import jit
from aml.engine.trails import bits
from aml.engine.walk import segment_at

# kinds of detector, as kernels know them
UNITS, UNIT, LEGS, CONDUCTED, SEQUENCE, FAN_IN, FAN_OUT, IN_OUT, SCATTER, CHAIN, CYCLE, BACK, WOKEN, MATCH = range(14)
M5, MARKERS = 12, 15
HITS, EVIDENCE, NEXT, SERIAL, TRIED = 0, 1, 2, 3, 8  # counters; from TRIED on: candidates per detector


@jit
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
        return flow.pass_through(led, party, knobs, det, h, i, f, work)
    if kind == FAN_IN:
        return fans.fan_in(led, party, knobs, det, h, i, f, work)
    if kind == FAN_OUT:
        return fans.fan_out(led, tx, party, knobs, det, h, i, f, work)
    if kind == IN_OUT:
        return fans.gather_scatter(led, tx, party, knobs, det, h, i, f, work)
    if kind == BACK:
        return fans.there_and_back(led, tx, party, det, h, i, f, work)
    if kind == WOKEN:
        return flow.woken(led, knobs, det, h, i, f, work)
    return match(led, h, i, f, work)


@jit
def match(led: Any, h: int, i: int, f: np.ndarray, work: Any) -> int:
    """A single leg."""
    leg = led.legs[led.holders[h].start + i]
    f[0] = leg.amount
    f[1] = 1.0 if leg.tag & (1 << 20) else 0.0
    f[2] = 1.0 if leg.tag & (1 << 21) else 0.0
    f[3] = 1.0 if leg.tag & (1 << 18) else 0.0
    work.ev[0] = leg.tx
    return 1


@jit
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


@jit
def record(det: Any, k: int, subject: int, owner: int, x: int, f: np.ndarray, segment: int, opens: bool, ev: int, fresh: int,
           hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Write a hit; of its evidence only what this run has not yet written for the same finding. False: no room left."""
    n = meters[HITS]
    at = meters[EVIDENCE]
    if n >= hits.detector.size or at + ev > hits.evidence.size:
        return False
    hits.detector[n], hits.subject[n], hits.owner[n], hits.tx[n] = k, subject, owner, x
    hits.segment[n], hits.opens[n], hits.steps[n] = segment, opens, steps_of(det, f)
    hits.facts[n] = f
    hits.first[n] = at
    for e in range(ev):
        y = work.ev[e]
        if tx[y].seen != fresh:
            tx[y].seen = fresh
            hits.evidence[at] = y
            at += 1
    hits.number[n] = at - meters[EVIDENCE]
    meters[EVIDENCE] = at
    meters[HITS] = n + 1
    return True


@jit
def confirm(led: Any, tx: Any, party: Any, knobs: Any, dets: np.ndarray, steps: np.ndarray, cand_holder: np.ndarray,
            cand_at: np.ndarray, cand_mask: np.ndarray, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try the candidates (grouped by holder, in order); False when `hits` must grow before it is called again."""
    while meters[NEXT] < cand_holder.size:
        a = meters[NEXT]
        b = a + 1
        every = cand_mask[a]
        while b < cand_holder.size and cand_holder[b] == cand_holder[a]:
            every |= cand_mask[b]
            b += 1
        n_hits, n_evidence = meters[HITS], meters[EVIDENCE]
        for k in range(dets.size):
            if (every >> np.uint64(k)) & np.uint64(1) == 0:
                continue
            if not confirm_detector(led, tx, party, knobs, dets[k], k, steps, cand_holder[a], cand_at, cand_mask, a, b, hits, meters, work):
                meters[HITS], meters[EVIDENCE] = n_hits, n_evidence
                return False
        meters[NEXT] = b
    return True


@jit
def confirm_detector(led: Any, tx: Any, party: Any, knobs: Any, det: Any, k: int, steps: np.ndarray, h: int, cand_at: np.ndarray,
                     cand_mask: np.ndarray, a: int, b: int, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try one detector on the candidates [a, b) of one holder; False: no room left."""
    row = led.holders[h]
    week = -1
    for c in range(a, b):
        if (cand_mask[c] >> np.uint64(k)) & np.uint64(1) == 0:
            continue
        meters[TRIED + k] += 1
        i = cand_at[c] - row.dropped
        segment = segment_at(led, party, h, i)
        if (det.segments >> segment) & 1 == 0:
            continue
        ev = measure(led, tx, party, knobs, det, h, i, work.f, work)
        if ev < 0:
            continue
        leg = led.legs[row.start + i]
        if not decide(det, steps, work.f, segment, (leg.tag & det.bit) == 0, work.stack):
            continue
        opens = holds(steps, det.opens[segment, 0], det.opens[segment, 1], work.f, segment, work.stack)
        hit_week = (leg.t // DAY + 3) // 7
        if hit_week != week:
            week = hit_week
            meters[SERIAL] += 1
        if not record(det, k, h, h, leg.tx, work.f, segment, opens, ev, meters[SERIAL], hits, meters, work):
            return False
    return True


@jit
def confirm_scatter(led: Any, tx: Any, party: Any, books: Any, dets: np.ndarray, k: int, steps: np.ndarray, ends: np.ndarray,
                    since: np.ndarray, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try scatter-gather at the carrying credits of each end from index since[j] on; hits on the end and the origin."""
    det = dets[k]
    while meters[NEXT] < ends.size:
        h = ends[meters[NEXT]]
        row = led.holders[h]
        n_hits, n_evidence = meters[HITS], meters[EVIDENCE]
        for i in range(max(0, since[meters[NEXT]] - row.dropped), row.n):
            leg = led.legs[row.start + i]
            if (leg.tag & (1 << CREDIT)) == 0 or leg.cp < 0 or (leg.tag & (1 << 19)) != 0 or tx[leg.tx].n_payers == 0:
                continue
            segment = segment_at(led, party, h, i)
            if (det.segments >> segment) & 1 == 0:
                continue
            meters[TRIED + k] += 1
            ev, origin = fans.scatter_gather(led, tx, books, det, h, i, work.f, work)
            if ev < 0 or not holds(steps, det.when[segment, 0], det.when[segment, 1], work.f, segment, work.stack):
                continue
            opens = holds(steps, det.opens[segment, 0], det.opens[segment, 1], work.f, segment, work.stack)
            for who in range(2):
                subject = h if who == 0 else origin
                meters[SERIAL] += 1
                if not record(det, k, subject, h, leg.tx, work.f, segment, opens, ev, meters[SERIAL], hits, meters, work):
                    meters[HITS], meters[EVIDENCE] = n_hits, n_evidence
                    return False
        meters[NEXT] += 1
    return True


@jit
def least_kept(trail: Any, tx: Any) -> tuple[float, float, int]:
    """Smallest and largest share kept from hop to hop, and the longest wait between hops (µs)."""
    low, high, gap = 9.0, 0.0, 0
    for k in range(1, trail.n):
        share = tx[trail.tx[k]].debit_value / tx[trail.tx[k - 1]].credit_value
        low, high = min(low, share), max(high, share)
        gap = max(gap, tx[trail.tx[k]].t - tx[trail.tx[k - 1]].t)
    return low, high, gap


@jit
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
        f[9] = bits(trail.person)
    else:
        f[0], f[1], f[2] = trail.n, tx[first].debit_value, tx[last].credit_value
        f[3] = f[2] / f[1]
        f[4], f[5], f[6], f[7] = days, bits(trail.new), bits(trail.person), tx[first].debit_known
    return True


@jit
def confirm_paths(tx: Any, dets: np.ndarray, k: int, steps: np.ndarray, paths: np.ndarray, path_tx: np.ndarray,
                  path_cycle: np.ndarray, hits: Any, meters: np.ndarray, work: Any) -> bool:
    """Try a path detector on the trails found, grouped by payment, best first: for each subject the first trail that
    opens, else the first that holds."""
    det = dets[k]
    cycle = det.kind == CYCLE
    while meters[NEXT] < path_tx.size:
        a = meters[NEXT]
        b = a + 1
        while b < path_tx.size and path_tx[b] == path_tx[a]:
            b += 1
        n_hits, n_evidence = meters[HITS], meters[EVIDENCE]
        meters[SERIAL] += 1
        done = meters[SERIAL]
        for opening in (True, False):
            for c in range(a, b):
                if path_cycle[c] != cycle or not path_facts(det, paths[c], tx, work.f, work):
                    continue
                trail = paths[c]
                if opening:
                    meters[TRIED + k] += 1
                for p in range(0 if cycle else 1, 1 if cycle else trail.n):
                    subject = tx[trail.tx[p]].debit_holder
                    if work.marks[subject].done == done:
                        continue
                    if not cycle:
                        work.f[7], work.f[8] = trail.in_share[p], trail.out_share[p]
                    segment = tx[trail.tx[p]].debit_segment
                    if (det.segments >> segment) & 1 == 0 or not holds(steps, det.when[segment, 0], det.when[segment, 1], work.f, segment, work.stack):
                        continue
                    opens = holds(steps, det.opens[segment, 0], det.opens[segment, 1], work.f, segment, work.stack)
                    if opening and not opens:
                        continue
                    work.marks[subject].done = done
                    meters[SERIAL] += 1
                    if not record(det, k, subject, tx[path_tx[a]].debit_holder, path_tx[a], work.f, segment, opens, trail.n,
                                  meters[SERIAL], hits, meters, work):
                        meters[HITS], meters[EVIDENCE] = n_hits, n_evidence
                        return False
        meters[NEXT] = b
    return True
