"""Kind fan: many in, many out, many through one, one to one through many."""

from __future__ import annotations

from typing import Any

from tests.naive.book import DAY, HOUR, NAN, Book, Holder, Leg
from tests.naive.shapes import Candidate, Facts, Holds, hour_window
from tests.naive.windows import (
    age,
    days_of,
    first_of_pair,
    hours_of,
    in_days,
    new_among,
    own_month_days,
    segment,
    share,
    total,
)

FORWARD_WITHIN = 96 * HOUR
MOST_BEHIND = 8
MOST_MIDDLES = 20
MOST_CARRYING = 256


def candidates(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """Candidates of a fan alternative at one leg."""
    if not hit.counted:
        return []
    shapes = {"in": fan_in, "out": fan_out, "in_out": in_out, "scatter_gather": scatter_gather}
    return shapes[cfg["shape"]](book, hit, cfg)


def window_days(cfg: dict[str, Any]) -> int:
    """The window's number of local days."""
    return int(cfg["window"][:-1])


def fan_in(book: Book, hit: Leg, cfg: dict[str, Any]) -> list[Candidate]:
    """New payers of the window; at a debit, what of theirs went on to others."""
    if hit.credit and hit.cash:
        return []
    days = window_days(cfg)
    legs = book.of(hit.holder)
    window = days_of(legs, hit, days)
    new = new_among(book, window, True)
    theirs = [leg for leg in window if leg.credit and leg.counterparty in new]
    new_in = total(theirs)
    went = [
        leg for leg in hours_of(legs, hit, hour_window(cfg.get("out_within", "72h")))
        if not leg.credit and leg.counterparty not in new
    ]
    in_sum = total(leg for leg in window if leg.credit)
    at_debit = hit in went
    at_new = hit.credit and hit.counterparty in new
    facts: Facts = {
        "new_payers": len(new), "new_in_sum": new_in, "in_sum": in_sum,
        "out_share": share(total(went), new_in) if at_debit else NAN,
        "age": age(book, hit) if at_new else NAN,
        "own_month_ratio": in_sum / own_month_days(book, hit, hit.day - days + 1, True) if at_new else NAN,
        "segment": segment(book, hit),
    }
    return [Candidate(facts, in_order(theirs + (went if at_debit else [])))]


def payroll_established(book: Book, hit: Leg, window_start: int) -> bool:
    """Debits with a batch id in each of the two 30-day spans before the window."""
    batches = [leg for leg in book.of(hit.holder) if not leg.credit and leg.batch is not None]
    return all(
        any(in_days(leg, hit, window_start - 30 * (k + 1), window_start - 30 * k - 1) for leg in batches)
        for k in (0, 1)
    )


def new_payee_legs(book: Book, hit: Leg, window: list[Leg], window_start: int) -> list[Leg]:
    """Non-card debits of the window to payees whose first was one of them, without an established payroll."""
    payroll = payroll_established(book, hit, window_start)
    eligible = [
        leg
        for leg in window
        if not leg.credit and not leg.cash and not leg.card and not (payroll and leg.batch is not None)
    ]
    return [leg for leg in eligible if first_of_pair(book, leg) in eligible]


def fan_out(book: Book, hit: Leg, cfg: dict[str, Any]) -> list[Candidate]:
    """New payees of the window, and who funded them."""
    if hit.credit or hit.cash or hit.card:
        return []
    days = window_days(cfg)
    start = hit.day - days + 1
    legs = book.of(hit.holder)
    window = days_of(legs, hit, days)
    if hit.batch is not None and payroll_established(book, hit, start):
        return []
    theirs = new_payee_legs(book, hit, window, start)
    if hit not in theirs:
        return []
    new = {leg.counterparty for leg in theirs}
    funds = [
        leg for leg in hours_of(legs, hit, hour_window(cfg.get("funded_within", "72h")))
        if leg.credit and leg.counterparty not in new
    ]
    out_sum = total(leg for leg in window if not leg.credit)
    facts: Facts = {
        "new_payees": len(new), "new_out_sum": total(theirs), "funded_share": share(total(funds), total(theirs)),
        "batch_share": batch_share(book, theirs), "out_sum": out_sum,
        "own_month_ratio": out_sum / own_month_days(book, hit, start, False), "age": age(book, hit),
        "segment": segment(book, hit),
    }
    return [Candidate(facts, in_order(theirs + funds))]


def batch_share(book: Book, theirs: list[Leg]) -> float:
    """Largest share of the new payees first paid in one batch, or within one hour."""
    firsts = {leg.counterparty: first_of_pair(book, leg) for leg in theirs}
    legs = [leg for leg in firsts.values() if leg is not None]
    most = 0
    for leg in legs:
        together = [o for o in legs if leg.batch is not None and o.batch == leg.batch]
        hour = [o for o in legs if leg.t <= o.t <= leg.t + HOUR]
        most = max(most, len(together), len(hour))
    return share(most, len(legs))


def in_out(book: Book, hit: Leg, cfg: dict[str, Any]) -> list[Candidate]:
    """New payers and new payees in one window, in any order."""
    days = window_days(cfg)
    start = hit.day - days + 1
    window = days_of(book.of(hit.holder), hit, days)
    payers = new_among(book, window, True)
    came = [leg for leg in window if leg.credit and leg.counterparty in payers]
    went = [leg for leg in window if not leg.credit and leg.counterparty not in payers]
    if hit not in came and hit not in went:
        return []
    payees = {leg.counterparty for leg in new_payee_legs(book, hit, window, start)}
    in_sum = total(leg for leg in window if leg.credit)
    facts: Facts = {
        "new_payers": len(payers), "new_in_sum": total(came), "in_sum": in_sum, "new_payees": len(payees),
        "out_sum_others": total(went), "out_share": share(total(went), total(came)),
        "own_month_ratio": in_sum / own_month_days(book, hit, start, True), "age": age(book, hit),
        "segment": segment(book, hit),
    }
    return [Candidate(facts, in_order(came + went))]


def plain(leg: Leg) -> bool:
    """A counted payment between two holders, neither cash nor card."""
    return leg.counted and not leg.cash and not leg.card and leg.counterparty is not None


def behind(book: Book, debit: Leg, end: Holder, cfg: dict[str, Any]) -> list[Leg]:
    """Of the latest credits that a middle's payment to the end may be sending on, those that fit.

    All are at least the end's least sum ÷ the most middles.
    """
    low, high = cfg.get("forward", 0.80), cfg.get("forward_most", 1.25)
    within = hour_window(cfg.get("forward_within", "96h"))
    floor = cfg["end_floor"] // MOST_MIDDLES
    read = [
        c for c in book.of(debit.holder)
        if c.credit and plain(c) and c.tx["entry_side"] == "both" and c.counterparty not in (end, debit.holder)
        and 0 < debit.t - c.t <= FORWARD_WITHIN and 4 * c.amount <= 5 * debit.amount <= 6.25 * c.amount
        and min(c.amount, debit.amount) >= floor
    ]
    return [c for c in read[-MOST_BEHIND:] if debit.t - c.t <= within and low <= debit.amount / c.amount <= high]


def scatter_gather(book: Book, hit: Leg, cfg: dict[str, Any]) -> list[Candidate]:
    """At a credit of the end: the origin whose money came through most middles."""
    if not hit.credit or not plain(hit):
        return []
    width = window_days(cfg) * DAY
    mine = hours_of(book.of(hit.holder), hit, width)
    carries: list[tuple[Leg, list[Leg]]] = []
    for e in mine:
        debit = book.sides[id(e.tx)][0]
        if e.credit and plain(e) and debit is not None and debit.counted:
            carries.append((e, [c for c in behind(book, debit, hit.holder, cfg) if c.t > hit.t - width]))
    carries = [(e, cs) for e, cs in carries if cs][-MOST_CARRYING:]
    ours = {c.counterparty for e, cs in carries if e is hit for c in cs}
    best: tuple[Any, ...] | None = None
    for origin in ours:
        ends = [e for e, cs in carries if any(c.counterparty == origin for c in cs)]
        starts = unique([c for _, cs in carries for c in cs if c.counterparty == origin])
        middles = len({e.counterparty for e in ends})
        first = min(c.order for c in starts)
        rank = (-middles, -total(ends), first)
        if best is None or rank < best[0]:
            best = (rank, origin, ends, starts)
    if best is None:
        return []
    _, origin, ends, starts = best
    facts: Facts = {
        "middles": len({e.counterparty for e in ends}), "end_sum": total(ends), "origin_sum": total(starts),
        "end_credits": sum(leg.credit for leg in mine),
        "end_card": any(leg.card for leg in mine if leg.credit), "segment": segment(book, hit),
    }
    evidence = in_order(starts + ends)
    return [Candidate(facts, evidence, who, starts[0].tx) for who in (origin, hit.holder)]


def unique(legs: list[Leg]) -> list[Leg]:
    """Each leg once, in order."""
    return in_order(list({id(leg): leg for leg in legs}.values()))


def in_order(legs: list[Leg]) -> list[Leg]:
    """Sorted by the one order."""
    return sorted(legs, key=lambda leg: leg.order)
