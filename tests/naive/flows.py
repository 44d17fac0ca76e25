"""Kinds sequence (pass-through) and baseline (dormant)."""

from __future__ import annotations

from typing import Any

from tests.naive.book import NAN, Book, Leg
from tests.naive.shapes import Candidate, Facts, Holds, hour_window
from tests.naive.windows import age, hours_of, new_among, not_after, own_month_hours, segment, share, total


def sequence(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """At a debit: what came in the hours before, and what of it went on to others."""
    if not hit.counted or hit.credit:
        return []
    width = hour_window(cfg["within"])
    window = hours_of(book.of(hit.holder), hit, width)
    came = [leg for leg in window if leg.credit]
    payers = {leg.counterparty for leg in came if leg.counterparty is not None}
    went = [leg for leg in window if not leg.credit and leg.counterparty not in payers]
    if hit not in went:
        return []
    new_payers, new_payees = new_among(book, window, True), new_among(book, window, False)
    in_sum, out_sum = total(came), total(went)
    facts: Facts = {
        "in_sum": in_sum, "in_count": len(came), "payers": len(payers), "out_sum": out_sum,
        "out_share": share(out_sum, in_sum),
        "new_payer_share": share(total(leg for leg in came if leg.counterparty in new_payers), in_sum),
        "new_payee_share": share(total(leg for leg in went if leg.counterparty in new_payees), out_sum),
        "exit_share": share(total(leg for leg in went if leg.exit), out_sum),
        "age": age(book, hit),
        "own_month_ratio": in_sum / own_month_hours(book, hit, hit.t - width, True),
        "segment": segment(book, hit),
    }
    return [Candidate(facts, [leg for leg in window if leg in came or leg in went])]


def baseline(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """At a debit within a week of waking: what came since, and what of it went on to others."""
    if not hit.counted or hit.credit:
        return []
    legs = [leg for leg in book.of(hit.holder) if not_after(leg, hit)]
    gaps = [
        (legs[k].day - legs[k - 1].day, k) for k in range(1, len(legs)) if hit.day - 6 <= legs[k].day <= hit.day
    ]
    if not gaps:
        return []
    gap, waking = max(gaps)
    before, since = legs[:waking], legs[waking:]
    came = [leg for leg in since if leg.credit]
    payers = {leg.counterparty for leg in came if leg.counterparty is not None}
    went = [leg for leg in since if not leg.credit and leg.counterparty not in payers]
    if hit not in went:
        return []
    earlier = total(leg for leg in before if leg.credit)
    old_mean = earlier * 30 / max(30, before[-1].day - before[0].day)
    in_sum = total(came)
    facts: Facts = {
        "gap_days": gap, "in_sum": in_sum, "old_mean": old_mean,
        "mean_ratio": in_sum / old_mean if old_mean else float("inf") if in_sum else NAN,
        "out_share": share(total(went), in_sum), "segment": segment(book, hit),
    }
    return [Candidate(facts, [leg for leg in since if leg in came or leg in went])]
