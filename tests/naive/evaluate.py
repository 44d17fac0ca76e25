"""Rules over a book: every leg, every alternative; hits, and the findings they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.naive import aggregate, fan, flows, path
from tests.naive.book import Book, Holder, Leg, Profile, Settings, open_book, sha_key
from tests.naive.identity import Record, standing
from tests.naive.shapes import Candidate, Facts, hour_window
from tests.naive.windows import segment

Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as the twin reads it: parameters resolved to numbers (money in minor units), with sets per segment."""

    id: str
    detect: Sequence[Mapping[str, Any]]
    points: int = 1
    opens: bool | Condition = True
    steps: tuple[str, tuple[float, ...]] | None = None
    never: tuple[str, ...] = ()
    profiles: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    per_segment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # parameter -> segment -> value


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that holds at a leg, about a subject."""

    rule: str
    alternative: int  # its place in the file
    subject: tuple[str, str, str]  # party institution, kind, id
    institution: str
    transaction_id: str
    order: tuple[int, int, int]
    at: int
    facts: Facts
    steps: int
    opens: bool
    evidence: tuple[str, ...]
    evidence_orders: tuple[tuple[int, int, int], ...]
    network: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of a subject in one ISO week."""

    points: int
    opens: bool
    crossed_at: int
    measured: Facts
    transaction_ids: tuple[str, ...]
    networks: tuple[str, ...]
    hits: int


def value_of(rule: Rule, value: Any, kind: str | None, cash_intensive: bool) -> Any:
    """The number behind "$name" for a holder of this segment."""
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    name = value[1:]
    sets = rule.per_segment.get(name, {})
    if cash_intensive and "cash_intensive" in sets:
        return sets["cash_intensive"]
    return sets.get(kind or "", rule.parameters[name])


def holds(condition: Condition, facts: Facts, read: Callable[[Any], Any]) -> bool:
    """Whether every key of the condition is true of the facts; NaN makes any comparison false."""
    return all(one(key, wanted, facts, read) for key, wanted in condition.items())


def one(key: str, wanted: Any, facts: Facts, read: Callable[[Any], Any]) -> bool:
    """One key of a condition."""
    if key == "any":
        return any(holds(c, facts, read) for c in wanted)
    if key == "all":
        return all(holds(c, facts, read) for c in wanted)
    if key == "none":
        return not any(holds(c, facts, read) for c in wanted)
    if key == "at_least":
        return sum(holds(c, facts, read) for c in wanted["of"]) >= read(wanted["n"])
    have = facts.get(key, math.nan)  # another alternative's fact: unknown here
    if not isinstance(wanted, Mapping):
        return bool(have == read(wanted))  # NaN equals nothing
    return all(compare(op, have, read(bound)) for op, bound in wanted.items())


def compare(op: str, have: Any, bound: Any) -> bool:
    """One comparison."""
    if op == "in":
        return have in bound
    if op == "not_in":
        return have not in bound
    if isinstance(have, float) and math.isnan(have):
        return False
    return bool({
        "gt": have > bound, "gte": have >= bound, "lt": have < bound, "lte": have <= bound, "eq": have == bound,
    }[op])


def reader(rule: Rule, facts: Facts) -> Callable[[Any], Any]:
    """How this rule's conditions read their bounds for these facts."""
    return lambda value: value_of(rule, value, facts.get("segment"), bool(facts.get("cash_intensive")))


def steps_of(rule: Rule, facts: Facts) -> int:
    """One step, and one more for each bound that the fact reaches."""
    if rule.steps is None:
        return 1
    fact, bounds = rule.steps
    return 1 + sum(compare("gte", facts.get(fact, math.nan), reader(rule, facts)(bound)) for bound in bounds)


def settings_of(rule: Rule, alternative: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    """The kind's settings, parameters filled in."""
    return {k: value_of(rule, v, kind, False) for k, v in alternative.items() if k != "when"}


def at_leg(book: Book, rule: Rule, alternative: Mapping[str, Any], leg: Leg, paths: Paths) -> list[Candidate]:
    """All candidates of one alternative at one leg."""
    cfg = settings_of(rule, alternative, segment(book, leg))
    cfg["end_floor"] = end_floor_of(rule, alternative)

    def would_hold(facts: Facts) -> bool:
        return holds(alternative["when"], facts, reader(rule, facts))

    if cfg["kind"] == "path":
        return paths.candidates(book, leg, cfg)
    kinds = {
        "aggregate": aggregate.candidates, "sequence": flows.sequence, "baseline": flows.baseline,
        "fan": fan.candidates,
    }
    return kinds[cfg["kind"]](book, leg, cfg, would_hold)


class Paths:
    """Trails of a book, computed once per limits; with `exhaustive`, every trail there is."""

    def __init__(self, leg_floor: float, settings: Settings, exhaustive: bool = False) -> None:
        self.leg_floor = leg_floor
        self.settings = settings
        self.exhaustive = exhaustive
        self.known: dict[path.Limits, tuple[Any, Any]] = {}

    def limits(self, cfg: Mapping[str, Any]) -> path.Limits:
        """The limits that an alternative's settings name."""
        return path.Limits(
            self.leg_floor, hour_window(cfg.get("gap", "72h")), cfg.get("kept", 0.85), cfg.get("kept_most", 1.05),
            int(cfg.get("most_hops", path.MOST_HOPS)), self.settings.most_trails, self.settings.most_fitting,
        )

    def candidates(self, book: Book, leg: Leg, cfg: Mapping[str, Any]) -> list[Candidate]:
        """Chains and cycles that end in this debit, or a return at this credit."""
        if cfg["shape"] == "there_and_back":
            return path.there_and_back(book, leg, dict(cfg))
        if leg.credit or leg.visit:
            return []
        limits = self.limits(cfg)
        if limits not in self.known:
            hops = path.hops_of(book, self.leg_floor)
            if self.exhaustive:
                found = path.all_trails(hops, limits)
                self.known[limits] = (
                    {k: [t for t in ts if not path.is_cycle(t)] for k, ts in found.items()},
                    {k: [t for t in ts if path.is_cycle(t)] for k, ts in found.items()},
                )
            else:
                self.known[limits] = path.kept_trails(hops, limits)
        kept, cycles = self.known[limits]
        if cfg["shape"] == "chain":
            return path.chain(book, kept.get(id(leg.tx), []), limits)
        return path.round_trip(book, cycles.get(id(leg.tx), []))


def end_floor_of(rule: Rule, alternative: Mapping[str, Any]) -> int:
    """The least sum at the end that scatter-gather asks for."""
    return int(value_of(rule, alternative["when"].get("end_sum", {}).get("gte", 0), None, False))


def leg_floor_of(rules: Iterable[Rule]) -> float:
    """start × kept^(hops - 1) of the laxest path rule."""
    floors = [0.0]
    for rule in rules:
        for alternative in rule.detect:
            start = alternative["when"].get("start", {}).get("gte")
            if alternative["kind"] == "path" and alternative["shape"] != "there_and_back" and start is not None:
                cfg = settings_of(rule, alternative, None)
                floors.append(value_of(rule, start, None, False) * cfg.get("kept", 0.85) ** (path.MOST_HOPS - 1))
    return min(floors[1:], default=0.0)


def hits_in(book: Book, rules: Iterable[Rule], *, exhaustive: bool = False) -> list[Hit]:
    """Every hit, in the order of the legs, then of the rules, then of the subjects."""
    rules = list(rules)
    paths = paths_of(book, rules, exhaustive)
    return [hit for leg in book.all_legs() for rule in in_force(book, rules) for hit in hits_at(book, rule, leg, paths)]


def alternatives_in(book: Book, rules: Iterable[Rule]) -> list[Hit]:
    """Every alternative that holds, in the order of the legs, the rules, the alternatives and the subjects."""
    rules = list(rules)
    paths = paths_of(book, rules)
    return [
        hit for leg in book.all_legs() for rule in in_force(book, rules)
        for hit in alternatives_at(book, rule, leg, paths)
    ]


def in_force(book: Book, rules: Iterable[Rule]) -> list[Rule]:
    """The rules that name the book's profile, or none."""
    return [rule for rule in rules if rule.profiles is None or book.profile.name in rule.profiles]


def paths_of(book: Book, rules: list[Rule], exhaustive: bool = False) -> Paths:
    """The book's trails for these rules."""
    floor = book.settings.leg_floor
    return Paths(leg_floor_of(rules) if floor is None else floor, book.settings, exhaustive)


def hits_at(book: Book, rule: Rule, leg: Leg, paths: Paths) -> list[Hit]:
    """At most one hit per subject: the alternative with the most steps, the first of those in the file.

    Its evidence is all that any alternative that holds here matched.
    """
    best: dict[tuple[str, str, str], Hit] = {}
    matched: dict[tuple[str, str, str], set[tuple[tuple[int, int, int], str]]] = {}
    for hit in alternatives_at(book, rule, leg, paths):
        matched.setdefault(hit.subject, set()).update(zip(hit.evidence_orders, hit.evidence, strict=True))
        if hit.subject not in best or hit.steps > best[hit.subject].steps:
            best[hit.subject] = hit
    return [with_all(best[subject], matched[subject]) for subject in sorted(best)]


def alternatives_at(book: Book, rule: Rule, leg: Leg, paths: Paths) -> list[Hit]:
    """At most one hit per alternative and subject: of several trails the best that opens, else the best that holds."""
    found = []
    for place, alternative in enumerate(rule.detect):
        strongest: dict[Holder, tuple[bool, Candidate]] = {}
        for candidate in at_leg(book, rule, alternative, leg, paths):
            facts = candidate.facts
            if facts["segment"] in rule.never or not holds(alternative["when"], facts, reader(rule, facts)):
                continue
            subject = candidate.subject or leg.holder
            opens = rule.opens if isinstance(rule.opens, bool) else holds(rule.opens, facts, reader(rule, facts))
            held = strongest.get(subject)
            if held is None or (opens, candidate.rank) > (held[0], held[1].rank):
                strongest[subject] = (opens, candidate)
        found += [make_hit(rule, place, leg, subject, *strongest[subject]) for subject in sorted(strongest)]
    return found


def with_all(hit: Hit, matched: set[tuple[tuple[int, int, int], str]]) -> Hit:
    """The hit with all that was matched as its evidence."""
    ordered = sorted(matched)
    return replace(hit, evidence=tuple(t for _, t in ordered), evidence_orders=tuple(o for o, _ in ordered))


def make_hit(rule: Rule, alternative: int, leg: Leg, subject: Holder, opens: bool, candidate: Candidate) -> Hit:
    """The hit of one candidate that holds."""
    facts = candidate.facts
    return Hit(
        rule=rule.id, alternative=alternative, subject=subject[1:], institution=subject[0],
        transaction_id=leg.tx["transaction_id"],
        order=leg.order, at=leg.t, facts=facts, steps=steps_of(rule, facts), opens=opens,
        evidence=tuple(e.tx["transaction_id"] for e in candidate.evidence),
        evidence_orders=tuple(e.order for e in candidate.evidence),
        network=candidate.origin["transaction_id"] if candidate.origin else None,
    )


def hits(
    rows: Iterable[Mapping[str, Any]], rules: Iterable[Rule], *, parties: Iterable[Mapping[str, Any]] = (),
    profile: Profile | None = None, settings: Settings | None = None,
    key: Callable[[Record], tuple[int, int]] = sha_key, exhaustive: bool = False,
) -> list[Hit]:
    """Hits over rows in arrival order: which records stand, their legs, every rule at every leg."""
    stand, _, _ = standing(rows)
    return hits_in(open_book(stand, parties, profile, settings, key), rules, exhaustive=exhaustive)


FindingKey = tuple[str, str, tuple[str, str, str], str]  # rule, institution, subject, Monday of the ISO week


def findings(found: Iterable[Hit], rules: Iterable[Rule]) -> dict[FindingKey, Finding]:
    """Per rule, subject and ISO week (UTC) of the hit legs: the earliest strongest hit and all legs that matched."""
    points = {rule.id: rule.points for rule in rules}
    groups: dict[FindingKey, list[Hit]] = {}
    for hit in found:
        groups.setdefault((hit.rule, hit.institution, hit.subject, week_of(hit.at)), []).append(hit)
    made = {}
    for group_key, group in groups.items():
        eligible = [hit for hit in group if hit.opens] or group
        strongest = min(eligible, key=lambda hit: (-hit.steps, hit.order))
        legs = sorted({(o, t) for hit in group for o, t in zip(hit.evidence_orders, hit.evidence, strict=True)})
        made[group_key] = Finding(
            points=points[strongest.rule] * strongest.steps, opens=strongest.opens, crossed_at=strongest.at,
            measured=strongest.facts, transaction_ids=tuple(t for _, t in legs),
            networks=tuple(sorted({hit.network for hit in group if hit.network is not None})), hits=len(group),
        )
    return made


def week_of(t: int) -> str:
    """The Monday of the ISO week in UTC, as text."""
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t)).date()
    return (day - timedelta(days=day.weekday())).isoformat()
