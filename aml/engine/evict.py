"""Dropping what nothing can read any more: legs, transactions, trails, hits of settled weeks.

A leg outlives every window that can still be read; what must outlive the leg is kept: the running totals before the
first leg held, the last dropped leg of each direction, first days, the counts of pairs.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from aml.engine.aggregate import BOOKED_AFTER, BOOKED_BEFORE, LOOKED_BACK
from aml.engine.arrays import blocks_in_order, grown, look_up
from aml.engine.confirm import (
    BACK,
    CHAIN,
    CONDUCTED,
    CYCLE,
    FAN_IN,
    FAN_OUT,
    IN_OUT,
    LEGS,
    SCATTER,
    SEQUENCE,
    UNIT,
    UNITS,
    WOKEN,
    week_of,
)
from aml.engine.hits import Book
from aml.engine.layout import (
    CASH_IN,
    CASH_OUT,
    DAY,
    EMPTY_KEY,
    I32,
    I64,
    MEASURES,
    NONE,
    SUMS,
    USED_BASE,
    USED_FITS,
    Ledger,
)
from aml.engine.ledger import last_of, squeeze
from aml.engine.program import Program
from aml.engine.tables import kernel, slot_of

CASH: Final = (1 << CASH_IN) | (1 << CASH_OUT)
MONTH: Final = 30
UNIT_DAYS: Final = BOOKED_BEFORE + BOOKED_AFTER + 2  # a changed leg of a unit runs its holder from the unit's first
FEATURE_DAYS: Final = 8


class Reach(NamedTuple):
    """How far back from a leg rules and features read, in µs: the holder's cash legs, its other legs, trails."""

    cash: int
    legs: int
    trails: int


def reach(program: Program) -> Reach:
    """How far back the program reads."""
    knobs = program.knobs
    days = [(FEATURE_DAYS, FEATURE_DAYS), *(_days(detector) for detector in program.detectors)]
    hops = max(knobs.hop_window, knobs.payer_window)
    legs = max(max(legs for _, legs in days) * DAY, int(knobs.spans.max()) + DAY, 2 * hops)
    trails = max([hops, *program.detectors["window"][program.detectors["kind"] == SCATTER].tolist()]) + DAY
    return Reach(max(legs, max(cash for cash, _ in days) * DAY), legs, trails)


def _days(det: np.void) -> tuple[int, int]:
    """Days that a detector reads back from a leg: of cash legs, of all legs."""
    kind = int(det["kind"])
    hours = -(-int(det["window"]) // DAY) + 1
    window = max(int(det["window_days"]), hours)
    other = -(-int(det["out_within"]) // DAY) + 1
    legs = {
        UNITS: window + UNIT_DAYS + 11, UNIT: UNIT_DAYS, LEGS: window, CONDUCTED: window, SEQUENCE: window + MONTH,
        FAN_IN: max(window + MONTH, other), FAN_OUT: max(window + 2 * MONTH, other), IN_OUT: window + 2 * MONTH,
        SCATTER: window + other, CHAIN: 0, CYCLE: 0, BACK: window, WOKEN: window,
    }.get(kind, 0) + 1  # fmt: skip
    return (window + UNIT_DAYS + LOOKED_BACK + 1 if kind == UNITS else legs), legs


@kernel
def legs_to_drop(led: Any, rerun: np.ndarray, legs: int, cash: int, drops: np.ndarray) -> int:
    """How many of each holder's first legs nothing can read: older than `legs` before `rerun`, up to the first cash
    leg not older than `cash`; returns their sum."""
    total = 0
    for h in range(drops.size):
        row = led.holders[h]
        k = 0
        while k < row.n and led.legs[row.start + k].t < rerun[h] - legs:
            leg = led.legs[row.start + k]
            if (leg.tag & CASH) != 0 and leg.t >= rerun[h] - cash:
                break
            k += 1
        drops[h] = k
        total += k
    return total


@kernel
def keep_base(led: Any, drops: np.ndarray) -> None:
    """Note what outlives the legs to be dropped; the base table has room."""
    for h in range(drops.size):
        k = drops[h]
        if k == 0:
            continue
        row = led.holders[h]
        if row.base == NONE:
            row.base = led.meter[USED_BASE]
            led.meter[USED_BASE] += 1
            led.base[row.base, 0].known = False
            led.base[row.base, 1].known = False
        for d in range(2):
            last = last_of(led, row.start, k, d)
            if last != NONE:
                leg = led.legs[row.start + last]
                base = led.base[row.base, d]
                base.t, base.day, base.sq, base.sq2, base.qmax = leg.t, leg.day, leg.sq, leg.sq2, leg.qmax
                base.known = True
        for m in range(MEASURES):
            led.base[row.base, 0].counts[m] = led.legs[row.start + k - 1].counts[m]
        for m in range(SUMS):
            led.base[row.base, 0].sums[m] = led.legs[row.start + k - 1].sums[m]


@kernel
def held_fits(led: Any, new: np.ndarray) -> int:
    """Move the amount buckets that still lead to legs held into an empty table; returns their number."""
    n = 0
    for i in range(led.fits.size):
        entry = led.fits[i]
        if entry.key != EMPTY_KEY and entry.last >= led.holders[np.int64(entry.key >> np.uint64(32))].dropped:
            new[slot_of(new, entry.key)] = entry
            n += 1
    return n


@kernel
def mark_held(led: Any, kept: np.ndarray) -> None:
    """Mark the transactions of legs held."""
    for h in range(led.holders.size):
        row = led.holders[h]
        for i in range(row.n):
            kept[led.legs[row.start + i].tx] = True


@kernel
def renumber(led: Any, moved: np.ndarray) -> None:
    """Give the legs their transactions' new rows."""
    for h in range(led.holders.size):
        row = led.holders[h]
        for i in range(row.n):
            led.legs[row.start + i].tx = moved[led.legs[row.start + i].tx]


@kernel
def mark_trails(tx: Any, trails: np.ndarray, payers: np.ndarray, kept: np.ndarray) -> tuple[int, int]:
    """Mark the transactions that trails and payers name; returns how many trails and payers there are."""
    n, m = 0, 0
    for x in range(kept.size):
        for k in range(tx[x].n_trails):
            trail = trails[tx[x].trails + k]
            for j in range(trail.n):
                kept[trail.tx[j]] = True
        for k in range(tx[x].n_payers):
            kept[payers[tx[x].payers + k]] = True
        n += tx[x].n_trails
        m += tx[x].n_payers
    return n, m


@kernel
def move_trails(tx: Any, old: Any, new: Any, moved: np.ndarray) -> None:
    """Copy trails and payers of the transactions held into new books, their transactions under their new rows."""
    n, m = 0, 0
    for x in range(tx.size):
        for k in range(tx[x].n_trails):
            new.trails[n + k] = old.trails[tx[x].trails + k]
            trail = new.trails[n + k]
            for j in range(trail.n):
                trail.tx[j] = moved[trail.tx[j]]
        for k in range(tx[x].n_payers):
            new.payers[m + k] = moved[old.payers[tx[x].payers + k]]
        if tx[x].n_trails > 0:
            tx[x].trails = n
            n += tx[x].n_trails
        if tx[x].n_payers > 0:
            tx[x].payers = m
            m += tx[x].n_payers


def older(tx: np.ndarray, rerun: I64, by: int) -> np.ndarray:
    """Transactions that lie more than `by` before what may be run again."""
    debit, credit = tx["debit_holder"], tx["credit_holder"]
    return np.asarray(tx["t"] < rerun[np.where(debit >= 0, debit, np.where(credit >= 0, credit, 0))] - by)


def drop_legs(led: Ledger, drops: I32) -> Ledger:
    """The ledger without each holder's first `drops` legs, dense; their transactions keep their rows."""
    fresh = int(np.count_nonzero((drops > 0) & (led.holders["base"][: drops.size] == NONE)))
    led = led._replace(base=grown(led.base, int(led.meter[USED_BASE]) + fresh))
    keep_base(led, drops)
    squeeze(led, blocks_in_order(led), drops)
    fits = look_up(led.fits.size)
    led.meter[USED_FITS] = held_fits(led, fits)
    return led._replace(fits=fits)


def settled_hits(hits: np.ndarray, places: I64, tx: np.ndarray, rerun: I64) -> np.ndarray:
    """Which hits are of weeks in which nothing can change any more."""
    t, since = tx["t"][hits["tx"][places]], rerun[hits["owner"][places]]
    return np.asarray(week_of.py_func(t) < week_of.py_func(since))


def evidence_of(book: Book, places: I64) -> I32:
    """Rows of the transactions that hits name."""
    hits = book.hits[places]
    number = hits["number"].astype(np.int64)
    into = np.repeat(hits["first"] - np.cumsum(number) + number, number) + np.arange(int(number.sum()))
    return np.concatenate([book.evidence[into], hits["tx"]])
