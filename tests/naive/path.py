"""Kind path: trails by exhaustive search, trails as kept K by K, chains, round trips, there and back."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.naive.book import DAY, HOUR, Book, Holder, Leg
from tests.naive.shapes import Candidate, Facts
from tests.naive.windows import days_of, first_day, first_of_pair, segment, share, total

MOST_HOPS = 6
REFUNDS = ("refund", "return", "chargeback", "recall")
READ_WITHIN = 96 * HOUR  # the engine reads the latest credits of these hours, 80 to 125 %, for all rules over paths


@dataclass(frozen=True, slots=True)
class Limits:
    """What makes two hops one trail, and which trails are kept."""

    leg_floor: float = 0
    gap: int = 72 * HOUR
    low: float = 0.85
    high: float = 1.05
    most_hops: int = MOST_HOPS
    most_trails: int = 8
    most_fitting: int = 64


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """A payment that may be part of a trail."""

    debit: Leg
    credit: Leg
    new: bool

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place in the one order."""
        return self.debit.order


Trail = tuple[Hop, ...]


def hops_of(book: Book, leg_floor: float) -> list[Hop]:
    """All hops in order: counted, two-sided, neither cash nor card, at least the leg floor."""
    hops = []
    for debit, credit in book.sides.values():
        if debit is None or credit is None or not debit.counted or debit.card:
            continue
        if debit.amount >= leg_floor:
            hops.append(Hop(debit, credit, first_of_pair(book, debit) is debit))
    return sorted(hops, key=lambda hop: hop.order)


def follows(last: Hop, hop: Hop, limits: Limits) -> bool:
    """Whether the payment may be the last one's money sent on."""
    return (
        hop.debit.holder == last.credit.holder and hop.order > last.order
        and 0 <= hop.debit.t - last.debit.t < limits.gap
        and limits.low <= hop.debit.amount / last.credit.amount <= limits.high
    )


def holders_of(trail: Trail) -> list[Holder]:
    """Originator, then each beneficiary."""
    return [trail[0].debit.holder, *(hop.credit.holder for hop in trail)]


def extends(trail: Trail, hop: Hop, limits: Limits) -> bool:
    """Whether trail + hop is a trail: short enough, fitting, on to a new holder or home to the origin."""
    names = holders_of(trail)
    return (
        len(trail) < limits.most_hops and names[0] != names[-1] and follows(trail[-1], hop, limits)
        and (hop.credit.holder == names[0] or hop.credit.holder not in names)
    )


def is_cycle(trail: Trail) -> bool:
    """Whether the money came home."""
    return trail[0].debit.holder == trail[-1].credit.holder


def rank(trail: Trail) -> tuple[Any, ...]:
    """Best is largest: more hops, more first-met pairs, larger start, latest first hop (then latest next hop …)."""
    return (len(trail), sum(hop.new for hop in trail), trail[0].debit.amount, [hop.order for hop in trail])


def all_trails(hops: Iterable[Hop], limits: Limits) -> dict[int, list[Trail]]:
    """Every trail, by id of its last transaction, without any cap. Exponential: for small streams."""
    ordered = list(hops)
    trails: dict[int, list[Trail]] = {}
    paid_by: dict[Holder, list[Hop]] = {}
    for hop in ordered:
        paid_by.setdefault(hop.debit.holder, []).append(hop)

    def grow(trail: Trail) -> None:
        trails.setdefault(id(trail[-1].debit.tx), []).append(trail)
        for hop in paid_by.get(trail[-1].credit.holder, ()):
            if extends(trail, hop, limits):
                grow((*trail, hop))

    for hop in ordered:
        grow((hop,))
    return trails


def fitting(hops: Iterable[Hop], hop: Hop, limits: Limits) -> list[Hop]:
    """Of the hops to its payer the latest read for a payment, those that fit; the cap counts all within 96 h and 80 to
    125 %."""
    read = [
        c for c in hops
        if c.order < hop.order and hop.debit.t - c.debit.t <= READ_WITHIN
        and c.credit.amount * 4 <= hop.debit.amount * 5 and hop.debit.amount * 4 <= c.credit.amount * 5
    ]
    return [c for c in read[-limits.most_fitting:] if follows(c, hop, limits)]


def kept_trails(hops: Iterable[Hop], limits: Limits) -> tuple[dict[int, list[Trail]], dict[int, list[Trail]]]:
    """The hop alone and the K best longer open trails, and the K best cycles, per debit's transaction id().

    Each is made from the kept open trails of the payment's fitting credits and from nothing else.
    """
    ordered = list(hops)
    kept: dict[int, list[Trail]] = {}
    cycles: dict[int, list[Trail]] = {}
    paid_to: dict[Holder, list[Hop]] = {}
    for hop in ordered:
        paid_to.setdefault(hop.credit.holder, []).append(hop)
    for hop in ordered:
        found: list[Trail] = []
        for credit in fitting(paid_to.get(hop.debit.holder, ()), hop, limits):
            found += [(*trail, hop) for trail in kept[id(credit.debit.tx)] if extends(trail, hop, limits)]
        best = sorted(found, key=rank, reverse=True)
        me = id(hop.debit.tx)
        kept[me] = [(hop,), *[trail for trail in best if not is_cycle(trail)][: limits.most_trails]]
        cycles[me] = [trail for trail in best if is_cycle(trail)][: limits.most_trails]
    return kept, cycles


def hop_shares(book: Book, came: Hop, went: Hop, gap: int) -> tuple[float, float]:
    """Of the holder between two hops: the first's share of his credits, the second's of his debits."""
    legs = book.of(went.debit.holder)
    credits = [c for c in legs if c.credit and went.debit.t - gap < c.t <= went.debit.t and c.order <= went.order]
    debits = [d for d in legs if not d.credit and came.order < d.order <= went.order]
    return share(came.credit.amount, total(credits)), share(went.debit.amount, total(debits))


def days_between(trail: Trail) -> float:
    """Days from the first hop to the last."""
    return (trail[-1].debit.t - trail[0].debit.t) / DAY


def evidence_of(trail: Trail) -> list[Leg]:
    """The hops' debit legs, in order."""
    return [hop.debit for hop in trail]


def chain(book: Book, trails: list[Trail], limits: Limits) -> list[Candidate]:
    """Per open trail of three hops and more, a candidate for each of its middles."""
    found = []
    for trail in trails:
        if len(trail) < 3 or len(set(holders_of(trail))) < 4 or days_between(trail) > 14:
            continue
        for came, went in itertools.pairwise(trail):
            in_share, out_share = hop_shares(book, came, went, limits.gap)
            start, end = trail[0].debit.amount, trail[-1].debit.amount
            facts: Facts = {
                "hops": len(trail), "holders": len(trail) + 1, "start": start, "end": end, "kept": end / start,
                "days": days_between(trail), "new_pairs": sum(hop.new for hop in trail),
                "in_share": in_share, "out_share": out_share, "segment": segment(book, went.debit),
                **_who(book, trail),
            }
            found.append(Candidate(facts, evidence_of(trail), went.debit.holder, trail[0].debit.tx, rank(trail)))
    return found


def _who(book: Book, trail: Trail) -> Facts:
    """How many of those who pay are persons, and for how long the first is known."""
    origin = trail[0].debit
    first = first_day(book, origin.holder)
    return {
        "persons": sum(segment(book, hop.debit) == "person" for hop in trail),
        "origin_known_days": origin.day - first if first is not None else 0,
    }


def round_trip(book: Book, cycles: list[Trail]) -> list[Candidate]:
    """Per cycle, a candidate for its origin."""
    found = []
    for trail in cycles:
        if len(trail) < 3 or days_between(trail) > 30:
            continue
        origin = trail[0].debit
        start, back = origin.amount, trail[-1].credit.amount
        facts: Facts = {
            "hops": len(trail), "holders": len(trail), "start": start, "back": back, "back_share": back / start,
            "days": days_between(trail), "new_pairs": sum(hop.new for hop in trail),
            "segment": segment(book, origin), **_who(book, trail),
        }
        found.append(Candidate(facts, evidence_of(trail), origin.holder, origin.tx, rank(trail)))
    return found


def there_and_back(book: Book, hit: Leg, cfg: dict[str, Any]) -> list[Candidate]:
    """At a credit from B: payments to B and what came back, each return matched to the earliest open payment."""
    if not hit.credit or not hit.counted or hit.cash or hit.card or hit.counterparty is None:
        return []
    legs = [
        leg for leg in days_of(book.of(hit.holder), hit, int(cfg.get("window", "30d")[:-1]))
        if leg.counterparty == hit.counterparty and not leg.card and leg.order <= hit.order
        and leg.tx["relation"] not in REFUNDS and leg.tx["entry_side"] == "both"
    ]
    low, high = cfg.get("back", 0.8), cfg.get("back_most", 1.05)
    payments = [leg for leg in legs if not leg.credit]
    matched: list[tuple[Leg, Leg]] = []
    for back in (leg for leg in legs if leg.credit):
        for paid in payments:
            fits = paid.order < back.order and low <= back.amount / paid.amount <= high
            if fits and not any(paid is p for p, _ in matched):
                matched.append((paid, back))
                break
    if not any(back is hit for _, back in matched):
        return []
    start, back_sum = total(p for p, _ in matched), total(b for _, b in matched)
    facts: Facts = {
        "times": len(matched), "start": start, "back": back_sum, "back_share": back_sum / start,
        "segment": segment(book, hit),
    }
    evidence = sorted((leg for pair in matched for leg in pair), key=lambda leg: leg.order)
    return [Candidate(facts, evidence, hit.holder)]
