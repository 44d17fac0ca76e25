"""Kernel of the fan between one origin and one end: several middles send on what they got."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, NONE, T_CARD
from aml.engine.tables import before, inner
from aml.engine.walk import counted_credit

NOT_HERE = -1
MOST_CARRYING = 256


@inner
def carries(tx: Any, leg: Any) -> bool:
    """Whether the leg is a credit, not by card, behind which direct payers stand."""
    return (leg.tag & (1 << CREDIT)) != 0 and (leg.tag & T_CARD) == 0 and leg.cp >= 0 and tx[leg.tx].n_payers > 0


@inner
def carrying(led: Any, tx: Any, h: int, i: int, window: int, work: Any) -> int:
    """Indices, latest first, of the holder's credits of the window up to i that carry direct payers (work.order)."""
    start = led.holders[h].start
    since = led.legs[start + i].t - window
    n = 0
    k = i
    while k >= 0 and n < MOST_CARRYING and led.legs[start + k].t > since:
        leg = led.legs[start + k]
        if carries(tx, leg):
            work.slots[n].order = k
            n += 1
        k -= 1
    return n


@inner
def scatter_gather(led: Any, tx: Any, books: Any, det: Any, h: int, i: int, f: np.ndarray,
                   work: Any) -> tuple[int, int]:
    """The origin that reaches this end through most middles in the window; returns (evidence, origin's holder).

    Evidence: the payments to the middles and what they sent on. The leg at i must carry the origin itself.
    """
    start = led.holders[h].start
    hit = led.legs[start + i]
    n = carrying(led, tx, h, i, det.window, work)
    best, best_in, best_first, origin = 0, 0, NONE, NONE
    for p in range(tx[hit.tx].n_payers):
        y = books.payers[tx[hit.tx].payers + p]
        o = tx[y].debit_holder
        if tx[y].t <= hit.t - det.window or o == origin or not forwards(tx, det, hit.tx, y):
            continue
        middles, in_sum, _, first, _ = reach(led, tx, books, det, h, o, hit.t, n, work, False)
        more = middles > best or (middles == best and in_sum > best_in)
        if more or (middles == best and in_sum == best_in and middles > 0 and before(tx, first, best_first)):
            best, best_in, best_first, origin = middles, in_sum, first, o
    if best < det.least:
        return NOT_HERE, NONE
    middles, in_sum, out_sum, _, ev = reach(led, tx, books, det, h, origin, hit.t, n, work, True)
    credits, card = 0, 0
    k = i
    while k >= 0 and led.legs[start + k].t > hit.t - det.window:
        tag = led.legs[start + k].tag
        if counted_credit(tag):
            credits += 1
            card |= 1 if tag & T_CARD else 0
        k -= 1
    f[0], f[1], f[2], f[3], f[4] = middles, in_sum, out_sum, credits, card
    return ev, origin


@inner
def reach(led: Any, tx: Any, books: Any, det: Any, h: int, origin: int, t: int, n: int, work: Any,
          keep: bool) -> tuple[int, int, int, int, int]:
    """Middles, sum to the end, sum from the origin, its first payment and the evidence of one origin over n
    credits."""
    start = led.holders[h].start
    work.serial[0] += 1
    mark = work.serial[0]
    middles, in_sum, out_sum, ev = 0, 0, 0, 0
    first = NONE
    for a in range(n - 1, -1, -1):
        leg = led.legs[start + work.slots[a].order]
        x = leg.tx
        sends_on = False
        for p in range(tx[x].n_payers - 1, -1, -1):
            y = books.payers[tx[x].payers + p]
            if tx[y].debit_holder != origin or tx[y].t <= t - det.window or not forwards(tx, det, x, y):
                continue
            sends_on = True
            if first == NONE or before(tx, y, first):
                first = y
            if not held(work.ev2, ev, y):
                work.ev2[ev] = y
                ev += 1
                out_sum += tx[y].credit_value
        if sends_on:
            in_sum += leg.amount
            if work.marks[leg.cp].stamp != mark:
                work.marks[leg.cp].stamp = mark
                middles += 1
            if keep:
                work.ev2[ev] = x
                ev += 1
    if keep:
        for k in range(ev):
            work.ev[k] = work.ev2[k]
    return middles, in_sum, out_sum, first, ev


@inner
def held(seen: np.ndarray, n: int, x: int) -> bool:
    """Whether x is among the n seen."""
    found = False
    for k in range(n):
        found = found or seen[k] == x
    return found


@inner
def forwards(tx: Any, det: Any, x: int, y: int) -> bool:
    """Whether payment x may send on credit y: within the hours and the share of it."""
    share = tx[x].debit_value / tx[y].credit_value
    return tx[x].t - tx[y].t <= det.out_within and det.kept_least <= share <= det.kept_most
