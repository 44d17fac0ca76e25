"""Kind aggregate: cash units, one unit's visits, a recipient's small deposits, a conductor's visits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.naive.book import HOUR, NAN, Book, Leg, Profile
from tests.naive.shapes import Candidate, Facts, Holds
from tests.naive.windows import (
    days_of,
    first_day,
    hours_of,
    in_days,
    not_after,
    segment,
    share,
    total,
)

VISIT = 15 * 60 * 1_000_000
Unit = list[Leg]


def candidates(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """Candidates of an aggregate alternative at one leg."""
    kinds: dict[str, Callable[[Book, Leg, dict[str, Any], Holds], list[Candidate]]] = {
        "units": over_units, "unit": over_unit, "legs": over_legs, "conducted": over_conducted,
    }
    return kinds[cfg["over"]](book, hit, cfg, holds)


def flows(cfg: dict[str, Any]) -> list[bool]:
    """The directions that the rule counts, apart: credit is cash in."""
    return {"in": [True], "out": [False], "both": [True, False]}[cfg["flow"]]


def cash_of(book: Book, hit: Leg, credit: bool) -> list[Leg]:
    """The holder's counted cash legs of one direction up to the hit."""
    return [leg for leg in book.of(hit.holder) if leg.cash and leg.credit == credit and not_after(leg, hit)]


def units_of(profile: Profile, legs: list[Leg]) -> list[Unit]:
    """Legs by unit: the unit day, or each leg alone where transactions are reported one by one."""
    if not profile.unit_is_day:
        return [[leg] for leg in legs]
    days: dict[int, Unit] = {}
    for leg in legs:
        days.setdefault(leg.unit_day, []).append(leg)
    return list(days.values())


def last_of_unit(book: Book, hit: Leg) -> bool:
    """Whether no later cash leg of the holder and direction shares the hit's unit."""
    return not any(
        leg.cash and leg.credit == hit.credit and leg.unit_day == hit.unit_day and leg.order > hit.order
        for leg in book.of(hit.holder)
    )


def over_units(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """Under-units of N unit days; at a debit only where the debit makes m5."""
    if not hit.counted:
        return []
    found = []
    for credit in flows(cfg):
        if hit.cash and hit.credit == credit and (not book.profile.unit_is_day or last_of_unit(book, hit)):
            facts, evidence = units_facts(book, hit, cfg, credit, hit.unit_day)
            if hit in evidence:
                found.append(Candidate(facts, evidence))
        if cfg.get("also_at_debits") and credit and not hit.credit:
            facts, evidence = units_facts(book, hit, cfg, credit, hit.day)
            without = {**facts, "m5": False, "markers": facts["markers"] - 1}
            if facts["m5"] and not holds(without):
                found.append(Candidate(facts, evidence))
    return found


def units_facts(book: Book, hit: Leg, cfg: dict[str, Any], credit: bool, end: int) -> tuple[Facts, list[Leg]]:
    """Facts of the counted units of the window that ends on unit day `end`, and their legs."""
    profile = book.profile
    days = int(cfg["window"][:-1])
    start = end - days + 1
    legs = cash_of(book, hit, credit)
    window = [leg for leg in legs if start <= leg.unit_day <= end]
    units = units_of(profile, window)
    due = [unit for unit in units if profile.due(total(unit), credit)]
    counted = [
        unit for unit in units
        if not profile.due(total(unit), credit)
        and cfg.get("floor", 0) <= total(unit) <= cfg.get("ceiling", float("inf"))
    ]
    inside = sorted((leg for unit in counted for leg in unit), key=lambda leg: leg.order)
    facts: Facts = {
        "units": len(counted), "sum": total(inside), "due_units": len(due),
        "largest": max((total(unit) for unit in counted), default=0),
        **places(inside), "segment": segment(book, hit),
        "beyond": profile.beyond(total(inside)), "sum_in_T": total(inside) / profile.threshold,
        "cash_intensive": cash_intensive(book, hit, start),
    }
    before = [leg for leg in legs if start - 180 <= leg.unit_day < start]
    first = first_day(book, hit.holder)
    known = min(180, start - first) if first is not None else 0
    facts["m1"] = facts["branches"] >= 2 or facts["machines"] >= 2
    facts["m2"] = facts["conductors"] >= 2 or facts["unmandated"] >= 1
    now, earlier = near_threshold(profile, window), near_threshold(profile, before)
    facts["m3"] = now >= 0.6 and len(before) >= 10 and earlier <= 0.2
    was_due = any(profile.due(total(unit), credit) for unit in units_of(profile, before))
    facts["m4"] = (
        was_due and not due and known >= 7 and total(window) * 7 / days >= 0.7 * (total(before) * 7 / known)
    )
    gone = [leg for leg in book.of(hit.holder) if not leg.credit and in_days(leg, hit, hit.day - 4, hit.day)]
    facts["m5"] = credit and bool(inside) and total(gone) >= 0.7 * facts["sum"]
    quarter = total([leg for leg in legs if start - 90 <= leg.unit_day < start])
    facts["m6"] = first is not None and first <= start - 90 and quarter < 0.2 * facts["sum"]
    month = total([leg for leg in legs if end - 29 <= leg.unit_day <= end])
    expected = hit.party["expected_monthly_turnover"] if hit.party else None
    facts["m7"] = credit and expected is not None and month > 2 * expected
    facts["markers"] = sum(bool(facts[f"m{k}"]) for k in range(1, 8))
    facts["funded_share"] = funded(book, hit, inside) if not credit else NAN
    return facts, inside


def funded(book: Book, hit: Leg, inside: list[Leg]) -> float:
    """Non-cash credits from ten days before the first counted leg ÷ the cash taken out."""
    if not inside:
        return NAN
    came = [
        leg for leg in book.of(hit.holder)
        if leg.credit and not leg.cash and in_days(leg, hit, inside[0].day - 10, hit.day)
    ]
    return share(total(came), total(inside))


def places(legs: list[Leg]) -> Facts:
    """How many branches, machines and conductors."""
    return {
        "branches": len({leg.branch for leg in legs if leg.branch is not None}),
        "machines": len({leg.terminal for leg in legs if leg.terminal is not None}),
        "conductors": len({leg.conductor for leg in legs if leg.conductor is not None}),
        "unmandated": len({leg.conductor for leg in legs if leg.conductor is not None and not leg.mandated}),
    }


def near_threshold(profile: Profile, legs: list[Leg]) -> float:
    """Share of legs in [0.9 T, T]."""
    near = [leg for leg in legs if 0.9 * profile.threshold <= leg.amount <= profile.threshold]
    return len(near) / len(legs) if legs else 0.0


def cash_intensive(book: Book, hit: Leg, start: int) -> bool:
    """By the party table, or two cash deposits in each of the eight weeks before the window."""
    if hit.party is not None and hit.party["cash_intensive"]:
        return True
    days = [leg.unit_day for leg in cash_of(book, hit, True)]
    return all(
        sum(start - 7 * (week + 1) <= day < start - 7 * week for day in days) >= 2 for week in range(8)
    )


def visits_of(legs: list[Leg]) -> list[list[Leg]]:
    """Legs at one branch and machine within 15 minutes of the first make one visit."""
    visits: list[list[Leg]] = []
    for leg in sorted(legs, key=lambda leg: leg.order):
        for visit in visits:
            first = visit[0]
            same_place = (first.branch, first.terminal) == (leg.branch, leg.terminal)
            if same_place and leg.t - first.t <= VISIT:
                visit.append(leg)
                break
        else:
            visits.append([leg])
    return visits


def over_unit(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """The hit leg's own unit day, visit by visit."""
    if not (hit.counted and hit.cash and hit.credit in flows(cfg) and last_of_unit(book, hit)):
        return []
    profile = book.profile
    unit = [leg for leg in cash_of(book, hit, hit.credit) if leg.unit_day == hit.unit_day]
    visits = visits_of(unit)
    largest = max(total(visit) for visit in visits)
    facts: Facts = {
        "visits": len(visits), "sum": total(unit), "due": profile.due(total(unit), hit.credit),
        "beyond": profile.beyond(total(unit)), "sum_in_T": total(unit) / profile.threshold,
        "largest_visit": largest, "largest_due": profile.due(largest, hit.credit), **places(unit),
        "segment": segment(book, hit),
    }
    facts["spread"] = max(facts["branches"], facts["machines"], facts["conductors"])
    return [Candidate(facts, sorted(unit, key=lambda leg: leg.order))]


def window_of(legs: list[Leg], hit: Leg, width: str) -> list[Leg]:
    """An hour window for "24h", local days for "5d"."""
    return hours_of(legs, hit, int(width[:-1]) * HOUR) if width.endswith("h") else days_of(legs, hit, int(width[:-1]))


def small(profile: Profile, leg: Leg, cfg: dict[str, Any]) -> bool:
    """At least the floor and not reportable alone."""
    return bool(leg.amount >= cfg.get("floor", 0) and not profile.due(leg.amount, leg.credit))


def over_legs(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """A recipient's cash-in legs and who brought them."""
    if not (hit.counted and hit.cash and hit.credit in flows(cfg) and small(book.profile, hit, cfg)):
        return []
    cash = [leg for leg in book.of(hit.holder) if leg.cash and leg.credit == hit.credit]
    mine = [leg for leg in cash if small(book.profile, leg, cfg)]
    legs = window_of(mine, hit, cfg["window"])
    strange = [leg for leg in legs if leg.conductor is not None and not leg.mandated]
    facts: Facts = {
        "legs": len(legs), **sums(book, legs), "conductors": len({leg.conductor for leg in strange}),
        "conductor_sum": total(strange), "named": sum(leg.conductor is not None for leg in legs),
        "conductor_sum_in_T": total(strange) / book.profile.threshold,
        "conductor_beyond": book.profile.beyond(total(strange)),
        "branches": places(legs)["branches"], "segment": segment(book, hit),
    }
    return [Candidate(facts, legs)]


def over_conducted(book: Book, hit: Leg, cfg: dict[str, Any], holds: Holds) -> list[Candidate]:
    """A conductor's visits to others' accounts."""
    if not (hit.visit and small(book.profile, hit, cfg)):
        return []
    mine = [leg for leg in book.legs[hit.holder] if leg.visit and small(book.profile, leg, cfg)]
    legs = window_of(mine, hit, cfg["window"])
    facts: Facts = {
        "legs": len(legs), **sums(book, legs), "recipients": len({leg.counterparty for leg in legs} - {hit.holder}),
        "branches": places(legs)["branches"], "segment": segment(book, hit),
    }
    return [Candidate(facts, legs)]


def sums(book: Book, legs: list[Leg]) -> Facts:
    """The sum, also against T."""
    return {
        "sum": total(legs), "beyond": book.profile.beyond(total(legs)),
        "sum_in_T": total(legs) / book.profile.threshold,
    }


