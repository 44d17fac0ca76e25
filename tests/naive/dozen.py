"""The first twelve rules as RULES.md words them, for a profile: the second reading of the rule files."""

from __future__ import annotations

from typing import Any

from tests.naive.book import Profile
from tests.naive.evaluate import Rule

PERSON = {"segment": {"in": ["person"]}}
COMPANY = {"segment": {"not_in": ["person"]}}
YOUNG = {"age": {"lte": 90}}
SURGE = {"own_month_ratio": {"gte": 5}}
NEVER = ("processor", "bank")
OPENS_FLOW = {"any": [PERSON, SURGE, YOUNG]}


def dozen(profile: Profile, unit: int = 100) -> list[Rule]:
    """The twelve rules for this profile; `unit` minor units make one of its currency."""
    t = profile.threshold
    return [
        kept_under(t), same_unit(), smurfing(unit), withdrawals(t), pass_through(unit), chain(unit), round_trip(unit),
        fan_in(unit), fan_out(unit), scatter_gather(unit), gather_scatter(unit), dormant(unit),
    ]


def kept_under(t: int) -> Rule:
    """Cash deposits kept at or under the report's amount."""
    return Rule("structuring-kept-under", [{
        "kind": "aggregate", "over": "units", "flow": "in", "window": "10d", "floor": 0.7 * t, "ceiling": t,
        "also_at_debits": True,
        "when": {"any": [
            {"cash_intensive": False, "any": [{"units": {"gte": 3}, "markers": {"gte": 1}}, {"units": {"gte": 5}}]},
            {"cash_intensive": True, "units": {"gte": 3}, "markers": {"gte": 2}},
        ]},
    }])


def same_unit() -> Rule:
    """One unit's cash split over visits."""
    return Rule("structuring-same-unit", [{
        "kind": "aggregate", "over": "unit", "flow": "both",
        "when": {"visits": {"gte": 2}, "due": True, "largest_due": False, "spread": {"gte": 2}},
    }])


def smurfing(unit: int) -> Rule:
    """Strangers' deposits to one recipient, and one stranger's deposits to several."""
    many = {"any": [{"conductors": {"gte": 3}}, {"named": {"lte": 0}, "branches": {"gte": 3}}]}
    sums: list[tuple[str, dict[str, Any]]] = [("24h", {"beyond": True}), ("5d", {"sum_in_T": {"gt": 1.5}})]
    recipient = [
        {"kind": "aggregate", "over": "legs", "flow": "in", "window": w, "floor": 1000 * unit, "when": {**s, **many}}
        for w, s in sums
    ]
    conductor = [
        {"kind": "aggregate", "over": "conducted", "flow": "in", "window": "5d", "floor": 1000 * unit,
         "when": {"recipients": {"gte": 3}, "sum_in_T": {"gt": 1.5}}},
        {"kind": "aggregate", "over": "conducted", "flow": "in", "window": "24h", "floor": 1000 * unit,
         "when": {"recipients": {"gte": 3}, "beyond": True}},
    ]
    return Rule("structuring-smurfing", recipient + conductor)


def withdrawals(t: int) -> Rule:
    """Cash taken out in units kept under the report's amount."""
    return Rule("structuring-withdrawals", [{
        "kind": "aggregate", "over": "units", "flow": "out", "window": "10d", "floor": 0.7 * t, "ceiling": t,
        "when": {
            "units": {"gte": 3}, "any": [{"m1": True}, {"funded_share": {"gte": 0.8}}, {"m4": True}, {"m6": True}],
        },
    }], profiles=("us", "au"))


def pass_through(unit: int) -> Rule:
    """In, and on to others within days."""
    even = {"out_share": {"gte": 0.85, "lte": 1.05}}
    signs = [{"new_payer_share": {"gte": 0.5}}, {"new_payee_share": {"gte": 0.5}}, {"exit_share": {"gte": 0.5}}]
    return Rule("layering-pass-through", [
        {"kind": "sequence", "within": "48h", "when": {"in_sum": {"gte": 5000 * unit}, **even}},
        {"kind": "sequence", "within": "96h", "when": {"in_sum": {"gte": 8000 * unit}, **even}},
    ], opens={"all": [{"any": [YOUNG, {"at_least": {"n": 2, "of": signs}}]}, OPENS_FLOW]}, never=NEVER)


def chain(unit: int) -> Rule:
    """Money passed on, hop by hop."""
    return Rule("layering-chain", [{
        "kind": "path", "shape": "chain", "gap": "72h", "kept": 0.85, "kept_most": 1.05,
        "when": {"hops": {"gte": 3}, "holders": {"gte": 4}, "start": {"gte": 3000 * unit}, "new_pairs": {"gte": 2},
                 "days": {"lte": 14}},
    }], opens={"in_share": {"gte": 0.5}, "out_share": {"gte": 0.5},
               "any": [{"persons": {"gte": 1}}, {"origin_known_days": {"gte": 30}}]})


def round_trip(unit: int) -> Rule:
    """Money that comes home."""
    every_pair_new = [{"hops": n, "new_pairs": n} for n in range(3, 7)]
    return Rule("layering-round-trip", [
        {"kind": "path", "shape": "round_trip", "gap": "72h", "kept": 0.85, "kept_most": 1.05,
         "when": {"hops": {"gte": 3}, "start": {"gte": 5000 * unit}, "back_share": {"gte": 0.8}, "days": {"lte": 30}}},
        {"kind": "path", "shape": "there_and_back", "window": "30d", "back": 0.8, "back_most": 1.05,
         "when": {**PERSON, "times": {"gte": 3}, "start": {"gte": 5000 * unit}}},
    ], opens={"any": [
        {"persons": {"gte": 1}, "new_pairs": {"gte": 1}},
        {"persons": 0, "origin_known_days": {"gte": 30}, "any": every_pair_new},
        {"times": {"gte": 3}},
    ]})


def fan_in(unit: int) -> Rule:
    """Many new payers."""
    return Rule("layering-fan-in", [{
        "kind": "fan", "shape": "in", "window": "7d", "out_within": "72h",
        "when": {"new_payers": {"gte": 10}, "new_in_sum": {"gte": 5000 * unit}, "any": [
            {**PERSON, "any": [{"out_share": {"gte": 0.7}}, YOUNG, SURGE]}, {**COMPANY, **SURGE},
        ]},
    }], never=NEVER)


def fan_out(unit: int) -> Rule:
    """Many new payees."""
    return Rule("layering-fan-out", [{
        "kind": "fan", "shape": "out", "window": "7d", "funded_within": "72h",
        "when": {"new_payees": {"gte": 10}, "new_out_sum": {"gte": 5000 * unit}, "funded_share": {"gte": 0.7}},
    }], opens={"any": [PERSON, {"batch_share": {"lt": 0.5}, "any": [SURGE, YOUNG]}]}, never=NEVER)


def scatter_gather(unit: int) -> Rule:
    """One origin, several middles, one end."""
    return Rule("layering-scatter-gather", [{
        "kind": "fan", "shape": "scatter_gather", "window": "6d", "forward": 0.8, "forward_most": 1.25,
        "forward_within": "96h", "when": {"middles": {"gte": 3}, "end_sum": {"gte": 10_000 * unit}, "end_card": False},
    }], never=("public", "processor", "bank", "exchange"))


def gather_scatter(unit: int) -> Rule:
    """Several new payers, several new payees, one centre."""
    person = {**PERSON, "new_payers": {"gte": 4}, "new_payees": {"gte": 4}, "new_in_sum": {"gte": 7500 * unit}}
    company = {**COMPANY, "new_payers": {"gte": 5}, "new_payees": {"gte": 5}, "new_in_sum": {"gte": 10_000 * unit}}
    return Rule("layering-gather-scatter", [{
        "kind": "fan", "shape": "in_out", "window": "12d",
        "when": {"out_share": {"gte": 0.8, "lte": 1.05}, "any": [person, company]},
    }], opens=OPENS_FLOW, never=NEVER)


def dormant(unit: int) -> Rule:
    """An account that wakes."""
    return Rule("layering-dormant", [{
        "kind": "baseline",
        "when": {"gap_days": {"gte": 180}, "in_sum": {"gte": 5000 * unit}, "mean_ratio": {"gt": 5},
                 "out_share": {"gte": 0.5}},
    }])
