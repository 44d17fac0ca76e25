"""From the engine's hits to findings: the earliest strongest hit speaks, all that matched is evidence."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from aml.detect import exempt
from aml.detect.compile import Compiled
from aml.detect.rulefile import SEGMENTS, Parameter, RuleFile
from aml.domain.finding import Finding, FindingChange, Hop, Subject, SubjectKind, Value, name_id
from aml.engine.arrays import Transactions, distinct
from aml.engine.confirm import CHAIN, CYCLE, SCATTER
from aml.engine.engine import FindingKey, Hit
from aml.engine.facts import FACTS
from aml.engine.intern import Texts
from aml.engine.layout import T_DAYP, T_LEG
from aml.scoring.config import ScoringConfig

WEEK_0: Final = dt.date(1969, 12, 29)
YES_NO: Final = frozenset(
    {f"m{k}" for k in range(1, 9)}
    | {"cash_intensive", "due", "largest_due", "beyond", "conductor_beyond", "end_card", "cash", "exit", "new_pair"}
)
DAY_NOTE: Final = "Of some payments only the day is known: within a day either order was accepted."
PATH_NOTE: Final = "Of some payments only the day is known: their order within a day is not."

Named = Mapping[int, tuple[str, int]]
"""Transaction number -> (transaction_id, row of its record)."""


def week_of(week: int) -> dt.date:
    """Monday of the engine's week number."""
    return WEEK_0 + dt.timedelta(weeks=week)


def network_id(institution: str, transaction_id: str) -> str:
    """What all findings share that begin with the same transaction."""
    return name_id("network", institution, transaction_id)


class Assembly:
    """Makes findings under compiled rules and a scoring."""

    def __init__(self, compiled: Compiled, scoring: ScoringConfig) -> None:
        self.compiled = compiled
        self.scoring = scoring
        self._kinds = compiled.program.detectors["kind"]
        self._in_force: dict[tuple[str, int], dict[str, Value]] = {}

    def subject(self, texts: Texts, holder: int) -> Subject:
        """The subject that a holder number stands for."""
        institution, party_institution, kind, name = texts.row(holder)
        return Subject(institution, party_institution, SubjectKind(kind), name)

    def finding(
        self, key: FindingKey, hits: Sequence[Hit], tx: Transactions, named: Named, texts: Texts
    ) -> tuple[FindingChange, tuple[int, ...]]:
        """The finding of a key from its hits (in order), and the rows of the records it names."""
        rule = self.compiled.rules[key[0]]
        subject = self.subject(texts, key[1])
        legs = one_per_leg(hits)
        strongest = min([hit for hit in legs if hit.opens] or legs, key=lambda hit: (-hit.steps, hit.order))
        opening = [hit for hit in legs if hit.opens]
        evidence = in_order(distinct(*(hit.evidence for hit in hits)), tx)
        held = tx.of(evidence)
        paid = (held["debit_tag"] & T_LEG) != 0
        made = Finding(
            subject=subject, rule=rule.id, rule_version=rule.version, rule_sha256=rule.sha256, typology=rule.typology,
            family=rule.family, severity=rule.severity, week=week_of(key[2]),
            points=self.scoring.points_of(rule.severity, strongest.steps), opens=strongest.opens,
            crossed_at=strongest.order[0], opened_at=opening[0].order[0] if opening else None,
            first_at=int(held["t"].min()), last_at=int(held["t"].max()),
            total=int(np.where(paid, held["debit_value"], held["credit_value"]).sum()),
            currency=self.compiled.profile.currency, measured=self._measured(strongest),
            parameters=self._parameters(rule, strongest.segment),
            transaction_ids=tuple(named[x][0] for x in evidence.tolist()),
            networks=self._networks(subject.institution, hits, tx, named), hits=len(legs),
            notes=self._notes(strongest, held), path=self._path(strongest, tx, named, texts),
        )  # fmt: skip
        return FindingChange.upsert(exempt.judged(rule, made)), tuple(named[x][1] for x in evidence.tolist())

    def _measured(self, hit: Hit) -> dict[str, Value]:
        names = FACTS[self.compiled.program.kinds[hit.detector]]
        return {name: plain(name, float(value)) for name, value in zip(names, hit.facts, strict=False)}

    def _parameters(self, rule: RuleFile, segment: int) -> dict[str, Value]:
        """The parameters in force for a segment; many findings share them."""
        held = self._in_force.get((rule.id, segment))
        if held is None:
            name = SEGMENTS[segment] if segment < len(SEGMENTS) else SEGMENTS[0]
            held = {"segment": name, **{one.name: self._value(one, name) for one in rule.parameters.values()}}
            self._in_force[rule.id, segment] = held
        return held

    def _value(self, parameter: Parameter, segment: str) -> Value:
        """A parameter in force: money and multiples of T in major units."""
        value = parameter.segments.get(segment, parameter.value)
        if isinstance(value, str):
            return value
        if parameter.of == "threshold":
            profile = self.compiled.profile
            value = Decimal(value) * Decimal(profile.threshold).scaleb(-profile.digits)
        whole = Decimal(value) == Decimal(value).to_integral_value()
        return int(value) if whole else float(value)

    def _networks(self, institution: str, hits: Sequence[Hit], tx: Transactions, named: Named) -> tuple[str, ...]:
        """Of paths and scatter-gather: one for each first transaction."""
        found = set()
        for hit in hits:
            if self._kinds[hit.detector] in (CHAIN, CYCLE, SCATTER):
                found.add(network_id(institution, named[int(in_order(hit.evidence, tx)[0])][0]))
        return tuple(sorted(found))

    def _path(self, hit: Hit, tx: Transactions, named: Named, texts: Texts) -> tuple[Hop, ...]:
        if self._kinds[hit.detector] not in (CHAIN, CYCLE):
            return ()
        hops = zip(hit.evidence.tolist(), tx.of(hit.evidence), strict=True)
        return tuple(
            Hop(
                named[x][0], texts.row(int(held["debit_holder"]))[3], texts.row(int(held["credit_holder"]))[3],
                int(held["debit_value"]), int(held["t"]),
            )
            for x, held in hops
        )  # fmt: skip

    def _notes(self, hit: Hit, evidence: np.ndarray) -> tuple[str, ...]:
        if not np.any((evidence["debit_tag"] | evidence["credit_tag"]) & T_DAYP):
            return ()
        return (PATH_NOTE if self._kinds[hit.detector] in (CHAIN, CYCLE, SCATTER) else DAY_NOTE,)


def one_per_leg(hits: Sequence[Hit]) -> list[Hit]:
    """Of several alternatives that hold at one leg the one with the most steps, the first of those in the file."""
    best: dict[tuple[int, int, int], Hit] = {}
    for hit in hits:
        held = best.get(hit.order)
        if held is None or hit.steps > held.steps:
            best[hit.order] = hit
    return list(best.values())


def in_order(transactions: np.ndarray, tx: Transactions) -> np.ndarray:
    """Transaction numbers by (executed_at, key)."""
    held = tx.of(transactions)
    ordered: np.ndarray = transactions[np.lexsort((held["lo"], held["hi"], held["t"]))]
    return ordered


def plain(name: str, value: float) -> Value:
    """A fact as people and JSON read it: yes or no, a whole number, a number, unknown."""
    if not math.isfinite(value):
        return None
    if name in YES_NO:
        return value != 0.0
    return int(value) if value == int(value) else value
