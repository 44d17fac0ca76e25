"""Layering paths by dynamic programming: the trails that end in a payment follow from those of the credits it fits.

A trail is replaced, never merged into: when what a payment's trails depend on changes, they are computed anew and,
if they differ, the beneficiary's later payments that fit are computed again, until nothing changes. Work goes in the
order of the transactions, so each payment is computed once per batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DEBIT, MAX_HOPS, NONE, PERSON, T_DEBIT, T_HOP, T_NEW
from aml.engine.ledger import window_sum
from aml.engine.tables import before, first_after, inner

MOST_FITTING = 64  # fitting credits read per payment, the latest
MOST_PAYERS = 8  # direct payers handed on per payment, the latest


@inner
def better(a: Any, b: Any, tx: Any) -> bool:
    """Whether trail a is kept before trail b: more hops, more first payments, larger start, later first hop."""
    if a.n != b.n:
        return bool(a.n > b.n)
    na, nb = bits(a.new), bits(b.new)
    if na != nb:
        return na > nb
    sa, sb = tx[a.tx[0]].debit_value, tx[b.tx[0]].debit_value
    if sa != sb:
        return bool(sa > sb)
    for k in range(a.n):
        if a.tx[k] != b.tx[k]:
            return before(tx, b.tx[k], a.tx[k])
    return False


@inner
def bits(word: int) -> int:
    """Number of set bits."""
    n = 0
    while word:
        n += word & 1
        word >>= 1
    return n


@inner
def fitting_credits(led: Any, h: int, i: int, heads: np.ndarray, known: bool, limit: int, out: np.ndarray) -> int:
    """Indices, latest first, of hop credits of the last 96 h that the payment at index i may send on (÷ 0.8 … 1.25).

    `heads` are the bucket heads as they stood at the payment; where they are not known, the legs are read backwards.
    """
    row = led.holders[h]
    start = row.start
    leg = led.legs[start + i]
    since = leg.t - limit
    n = 0
    if known:
        a, b, c = heads[0], heads[1], heads[2]
        while n < MOST_FITTING:
            o = max(a, max(b, c))
            k = o - row.dropped
            if o == NONE or k < 0 or led.legs[start + k].t < since:
                break
            credit = led.legs[start + k]
            if o == a:
                a = credit.prev_fit
            elif o == b:
                b = credit.prev_fit
            else:
                c = credit.prev_fit
            if may_send_on(leg.amount, credit.amount):
                out[n] = k
                n += 1
        return n
    k = i - 1
    while k >= 0 and n < MOST_FITTING and led.legs[start + k].t >= since:
        credit = led.legs[start + k]
        if (credit.tag & T_HOP) != 0 and (credit.tag & T_DEBIT) == 0 and may_send_on(leg.amount, credit.amount):
            out[n] = k
            n += 1
        k -= 1
    return n


@inner
def may_send_on(amount: int, credit: int) -> bool:
    """Whether amount ÷ credit lies in 0.8 … 1.25, the widest ratio that any rule over paths asks for."""
    return amount * 5 >= credit * 4 and amount * 4 <= credit * 5


@inner
def first_hop(trail: Any, tx: Any, x: int) -> None:
    """The trail of one hop."""
    trail.n = 1
    trail.tx[0] = x
    trail.in_share[0] = 0.0
    trail.out_share[0] = 0.0
    trail.new = (tx[x].behind >> 6) & 1
    trail.person = 1 if tx[x].debit_segment == PERSON else 0
    trail.known = tx[x].debit_known


@inner
def copy_trail(a: Any, b: Any) -> None:
    """Make trail a equal to trail b."""
    a.n, a.new, a.person, a.known = b.n, b.new, b.person, b.known
    for k in range(MAX_HOPS):
        a.tx[k] = b.tx[k]
        a.in_share[k] = b.in_share[k]
        a.out_share[k] = b.out_share[k]


@inner
def extend(trail: Any, x: int, fresh: int, person: int, in_share: float, out_share: float) -> None:
    """Add hop x to the trail."""
    k = trail.n
    trail.tx[k] = x
    trail.in_share[k] = in_share
    trail.out_share[k] = out_share
    trail.new |= fresh << k
    trail.person |= person << k
    trail.n = k + 1


@inner
def visits(trail: Any, tx: Any, holder: int) -> int:
    """Place of the holder among the trail's originators, or NONE."""
    for k in range(trail.n):
        if tx[trail.tx[k]].debit_holder == holder:
            return k
    return NONE


@inner
def shares(led: Any, h: int, i: int, c: int, window: int) -> tuple[float, float]:
    """How far the hop dominates its holder: credit c of all credits of the window before payment i; payment i of all
    payments since c."""
    start = led.holders[h].start
    t = led.legs[start + i].t
    lo = first_after(led.legs, start, 0, i, t - window)
    credits = window_sum(led, start, lo, i + 1, CREDIT)
    debits = window_sum(led, start, c + 1, i + 1, DEBIT)
    return led.legs[start + c].amount / max(1, credits), led.legs[start + i].amount / max(1, debits)


@inner
def insert(best: np.ndarray, n: int, most: int, trail: Any, tx: Any) -> int:
    """Keep the trail among the `most` best, best first; returns their number."""
    k = n
    while k > 0 and better(trail, best[k - 1], tx):
        k -= 1
    if k >= most:
        return n
    last = min(n, most - 1)
    for j in range(last, k, -1):
        copy_trail(best[j], best[j - 1])
    copy_trail(best[k], trail)
    return min(n + 1, most)


@inner
def trails_of(led: Any, tx: Any, book: Any, knobs: Any, x: int, heads: np.ndarray, known: bool,
              work: Any) -> tuple[int, int, int]:
    """Trails of two hops and more that end in payment x, the cycles it closes, and its direct payers.

    Filled: work.best[0:n], work.cycles[0:c], work.payer[0:p]; returns (n, c, p).
    """
    h = tx[x].debit_holder
    row = led.holders[h]
    i = tx[x].debit_at - row.dropped
    leg = led.legs[row.start + i]
    end = tx[x].credit_holder
    found = fitting_credits(led, h, i, heads, known, max(knobs.payer_window, knobs.hop_window), work.fitting)
    fresh = 1 if leg.tag & T_NEW else 0
    person = 1 if tx[x].debit_segment == PERSON else 0
    n, cycles, payers = 0, 0, 0
    for f in range(found):
        c = work.fitting[f]
        credit = led.legs[row.start + c]
        y = credit.tx
        origin = tx[y].debit_holder
        near = credit.t < leg.t and leg.t - credit.t <= knobs.payer_window
        if payers < MOST_PAYERS and leg.amount >= knobs.payer_floor and near and origin != end:
            work.payer[payers] = y
            payers += 1
        if leg.t - credit.t >= knobs.hop_window or leg.amount < knobs.hop_floor or credit.amount < knobs.hop_floor:
            continue
        kept = leg.amount / credit.amount
        if kept < knobs.kept_least or kept > knobs.kept_most:
            continue
        in_share, out_share = shares(led, h, i, c, knobs.hop_window)
        for b in range(tx[y].n_trails + 1):
            trail = work.trail[0]
            if b == 0:
                first_hop(trail, tx, y)
            else:
                copy_trail(trail, book[tx[y].trails + b - 1])
            if trail.n >= MAX_HOPS or leg.t - tx[trail.tx[0]].t > knobs.longest:
                continue
            at = visits(trail, tx, end)
            if at == NONE and visits(trail, tx, h) == NONE:
                extend(trail, x, fresh, person, in_share, out_share)
                n = insert(work.best, n, knobs.most_trails, trail, tx)
            elif at == 0 and visits(trail, tx, h) == NONE:
                extend(trail, x, fresh, person, in_share, out_share)
                cycles = insert(work.cycles, cycles, knobs.most_trails, trail, tx)
    return n, cycles, payers


@inner
def same_trails(book: np.ndarray, at: int, held: int, best: np.ndarray, n: int) -> bool:
    """Whether the stored trails equal the computed ones."""
    if held != n:
        return False
    for k in range(n):
        a, b = book[at + k], best[k]
        if a.n != b.n or a.new != b.new or a.person != b.person or a.known != b.known:
            return False
        for j in range(a.n):
            if a.tx[j] != b.tx[j] or a.in_share[j] != b.in_share[j] or a.out_share[j] != b.out_share[j]:
                return False
    return True


@inner
def same_payers(book: np.ndarray, at: int, held: int, payer: np.ndarray, n: int) -> bool:
    """Whether the stored direct payers equal the computed ones."""
    if held != n:
        return False
    same = True
    for k in range(n):
        same = same and book[at + k] == payer[k]
    return same
