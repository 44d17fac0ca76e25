"""The eighteen facts of a leg that the anomaly models read, each exact and known at the leg's own moment.

The list and the directions (up is suspicious) follow the measurement that found them; `tests/naive` has the slow twin.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aml.engine.layout import CREDIT, DAY, DEBIT, HOUR, NEW_PAYEE, NEW_PAYER, NONE, T_DEBIT
from aml.engine.ledger import last_of, window_count, window_sum
from aml.engine.tables import inner

FEATURES = 18
FITS = 15  # the two columns that come from the sender's side
DEPTH = 16
Q = 65536.0  # steps of ln(amount) to one unit
RECENT = 8
SIMILAR = int(0.35 * 65536)
NEVER_SEEN = 24.0 * 30.0  # hours since the last leg of a holder never seen before
LEAST_HOURS = 1.0 / 60.0
PRIOR = 3.0 * (1.2 * Q) ** 2  # three pseudo-observations with a deviation of 1.2


@inner
def fits(amount: int, credit: int) -> bool:
    """Whether a payment of `amount` may be the credit sent on: 85 to 105 % of it."""
    return amount * 100 >= credit * 85 and amount * 100 <= credit * 105


@inner
def refill(led: Any, h: int, at: int, ring: np.ndarray, pushed: np.ndarray) -> None:
    """Set the rings of the last eight counted legs per direction (rows CREDIT, DEBIT) as of index `at`; older than
    seven days need not be there."""
    pushed[:] = 0
    start = led.holders[h].start
    for d in (CREDIT, DEBIT):
        n = 0
        i = last_of(led, start, at, d)
        while i != NONE and n < RECENT and led.legs[start + i].t >= led.legs[start + at - 1].t - 7 * DAY:
            ring[d, RECENT - 1 - n] = i
            n += 1
            i = last_of(led, start, i, d)
        for k in range(n):
            ring[d, k] = ring[d, RECENT - n + k]
        pushed[d] = n


@inner
def leg_features(led: Any, h: int, i: int, last_same: int, returned: bool, lo_day: int, lo_four: int, scale: float,
                 x: np.ndarray, ring: np.ndarray, pushed: np.ndarray) -> bool:
    """Fill x[0:18] for the holder's leg at index i; returns whether a debit fits one of the last eight credits.

    last_same: index of the last counted leg of the same direction, or NONE; returned: the pair has a counted leg in the
    other direction; lo_day, lo_four: first index inside 24 h and 96 h; scale: minor units to a major one.
    """
    row = led.holders[h]
    start = row.start
    leg = led.legs[start + i]
    debit = 1 if leg.tag & T_DEBIT else 0
    same, other = (DEBIT, CREDIT) if debit else (CREDIT, DEBIT)
    fresh = NEW_PAYEE if debit else NEW_PAYER
    la = leg.q / Q
    amount = leg.amount / scale
    n = led.legs[start + i - 1].counts[same]
    seen = n + led.legs[start + i - 1].counts[other] > 0
    days = max(1.0, (leg.t - row.first_t) / DAY) if seen else 1.0
    x[0] = la
    x[1] = 0.0
    x[2] = 0.0
    if n > 0:
        sq, sq2, qmax = past_amounts(led, start, row.base, last_same, debit)
        mean = sq / n
        variance = (sq2 - n * mean * mean + PRIOR) / (n + 3.0)
        x[1] = (leg.q - mean) / math.sqrt(variance)
        x[2] = (leg.q - qmax) / Q
    flow = window_sum(led, start, lo_four, i, other) / scale
    x[3] = math.log(amount / (flow + 100.0))
    paired = leg.cp >= 0
    x[4] = 1.0 if paired and leg.pair_n == 0 else 0.0
    x[5] = -math.log(1.0 + leg.pair_n) if paired else 0.0
    x[6] = window_count(led, start, lo_day, i, fresh)
    x[7] = window_count(led, start, lo_four, i, fresh)
    x[8] = x[7] / max(1, window_count(led, start, lo_four, i, same))
    x[9] = math.log(hours_since(led, h, i, n, seen, last_same, debit))
    mine = (window_sum(led, start, lo_four, i, same) + leg.amount) / scale
    out4, in4 = (mine, flow) if debit else (flow, mine)
    x[10] = -6.0
    if out4 > 0.0 and in4 > 0.0:
        x[10] = max(-6.0, -abs(math.log(out4 / in4)))
    x[11] = math.log(1.0 + min(out4, in4))
    in_day = window_count(led, start, lo_day, i, same) + 1
    x[12] = math.log(in_day / (n / days + 0.5))
    day_sum = (window_sum(led, start, lo_day, i, same) + leg.amount) / scale
    own_daily = led.legs[start + i - 1].sums[same] / scale / days
    x[13] = math.log(1.0 + day_sum) - math.log(own_daily + 300.0)
    x[14] = 1.0 if returned else 0.0
    x[FITS] = 0.0
    x[DEPTH] = 0.0
    x[17] = similar(led, start, leg.q, leg.t - 7 * DAY, ring[debit], pushed[debit])
    return debit == 1 and fits_recent(led, start, leg.amount, leg.t - 4 * DAY, ring[0], pushed[0])


@inner
def past_amounts(led: Any, start: int, base: int, last_same: int, debit: int) -> tuple[int, int, int]:
    """Sum, square sum and maximum of ln(amount) over the counted legs in this direction so far, at least one."""
    if last_same >= 0:
        leg = led.legs[start + last_same]
        return leg.sq, leg.sq2, leg.qmax
    row = led.base[base, debit]
    return row.sq, row.sq2, row.qmax


@inner
def hours_since(led: Any, h: int, i: int, n: int, seen: bool, last_same: int, debit: int) -> float:
    """Hours since the holder's last leg in this direction; none: since it was first seen; never seen: a month."""
    row = led.holders[h]
    t = led.legs[row.start + i].t
    if n > 0:
        since = led.legs[row.start + last_same].t if last_same >= 0 else led.base[row.base, debit].t
    elif seen:
        since = row.first_t
    else:
        return NEVER_SEEN
    return max(LEAST_HOURS, float(t - since) / HOUR)


@inner
def similar(led: Any, start: int, q: int, since: int, ring: np.ndarray, pushed: int) -> int:
    """How many of the last eight legs in this direction, later than `since`, lie within ±0.35 in ln(amount)."""
    close = 0
    for k in range(min(pushed, RECENT)):
        past = led.legs[start + ring[k]]
        if past.t > since and abs(past.q - q) <= SIMILAR:
            close += 1
    return close


@inner
def fits_recent(led: Any, start: int, amount: int, since: int, ring: np.ndarray, pushed: int) -> bool:
    """Whether the debit fits one of the holder's last eight credits later than `since`."""
    for k in range(min(pushed, RECENT)):
        past = led.legs[start + ring[k]]
        if past.t > since and fits(amount, past.amount):
            return True
    return False
