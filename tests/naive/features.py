"""The eighteen facts of a leg that the models read, one obvious expression each."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

from tests.naive.book import DAY, HOUR, Book, Leg
from tests.naive.path import Trail

NAMES = (
    "ln_amount", "z_own", "over_max", "over_flow", "pair_new", "pair_rarity", "new_1d", "new_4d", "new_share_4d",
    "ln_hours_since", "balance", "through", "burst_count", "burst_sum", "reverse_seen", "fits", "depth", "similar",
)
STEP = 65536
RECENT = 8


def leg_features(book: Book, kept: dict[int, list[Trail]]) -> list[tuple[Leg, dict[str, float]]]:
    """Features of every leg (no visits) in order; `kept` are the kept trails by id() of the last transaction."""
    return [(leg, features_of(book, kept, leg)) for leg in book.all_legs() if not leg.visit]


def steps(leg: Leg, unit: int) -> int:
    """ln of the amount in major units, in whole 65536ths."""
    return round(log(leg.amount / unit) * STEP)


def features_of(book: Book, kept: dict[int, list[Trail]], leg: Leg) -> dict[str, float]:
    """The features of one leg."""
    unit = book.settings.minor_units
    earlier = [o for o in book.of(leg.holder) if o.order < leg.order]
    same = [o for o in earlier if o.credit == leg.credit]
    other = [o for o in earlier if o.credit != leg.credit]
    day1 = [o for o in same if o.t > leg.t - 24 * HOUR]
    day4 = [o for o in same if o.t > leg.t - 96 * HOUR]
    flow = [o for o in other if o.t > leg.t - 96 * HOUR]
    amount = leg.amount / unit

    def major(legs: Sequence[Leg]) -> float:
        return sum(o.amount for o in legs) / unit

    def firsts(legs: Sequence[Leg]) -> int:
        payees = [o for o in legs if o.counterparty is not None and (o.credit or not o.card)]
        return sum(not pair(earlier, o, before=o) for o in payees)

    def pair(legs: Sequence[Leg], of: Leg, before: Leg | None = None, direction: bool | None = None) -> list[Leg]:
        way = of.credit if direction is None else direction
        return [
            o for o in legs
            if o.counterparty is not None and o.counterparty == of.counterparty and o.credit == way
            and (before is None or o.order < before.order)
        ]

    q = steps(leg, unit)
    qs = [steps(o, unit) for o in same]
    n = len(qs)
    z = 0.0
    if n:
        mean = sum(qs) / n
        variance = (sum(x * x for x in qs) - n * mean * mean + 3 * (1.2 * STEP) ** 2) / (n + 3)
        z = (q - mean) / sqrt(variance)
    if same:
        since = max(1 / 60, (leg.t - same[-1].t) / HOUR)
    elif earlier:
        since = max(1 / 60, (leg.t - earlier[0].t) / HOUR)
    else:
        since = 24.0 * 30
    here, there = major(day4) + amount, major(flow)
    out4, in4 = (there, here) if leg.credit else (here, there)
    known_days = max(1.0, (leg.t - earlier[0].t) / DAY) if earlier else 1.0
    mine = pair(same, leg)
    debit = book.sides[id(leg.tx)][0]
    new_4d = firsts(day4)
    return {
        "ln_amount": q / STEP,
        "z_own": z,
        "over_max": (q - max(qs)) / STEP if n else 0.0,
        "over_flow": log(amount / (there + 100)),
        "pair_new": float(leg.counterparty is not None and not mine),
        "pair_rarity": -log(1 + len(mine)),
        "new_1d": float(firsts(day1)),
        "new_4d": float(new_4d),
        "new_share_4d": new_4d / max(1, len(day4)),
        "ln_hours_since": log(since),
        "balance": max(-6.0, -abs(log(out4 / in4))) if out4 > 0 and in4 > 0 else -6.0,
        "through": log(1 + min(out4, in4)),
        "burst_count": log((len(day1) + 1) / (n / known_days + 0.5)),
        "burst_sum": log(1 + major(day1) + amount) - log(major(same) / known_days + 300),
        "reverse_seen": float(bool(pair(other, leg, direction=not leg.credit))),
        "fits": float(debit is not None and fits(book, debit)),
        "depth": float(depth(book, kept, debit)) if debit is not None else 0.0,
        "similar": float(sum(abs(steps(o, unit) - q) <= 0.35 * STEP for o in same[-RECENT:] if o.t > leg.t - 7 * DAY)),
    }


def fits(book: Book, debit: Leg) -> bool:
    """Whether one of the sender's last eight credits of 96 h may be the money sent on."""
    credits = [o for o in book.of(debit.holder) if o.credit and o.order < debit.order][-RECENT:]
    return any(0.85 <= debit.amount / c.amount <= 1.05 for c in credits if c.t > debit.t - 96 * HOUR)


def depth(book: Book, kept: dict[int, list[Trail]], debit: Leg) -> int:
    """Length of the longest kept trail of two hops and more; one if the payment only fits a credit; else none."""
    longest = max((len(trail) for trail in kept.get(id(debit.tx), [])), default=0)
    return longest if longest >= 2 else int(fits(book, debit))


