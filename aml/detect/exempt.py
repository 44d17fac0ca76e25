"""Exemptions: what a rule file spares of whom, until when, up to how much, and who answers for it.

An exempt finding is made and kept as any other; it only opens no alert. One in twenty opens all the same, so that
somebody looks whether the reason still holds. Nobody is exempt from all rules.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from aml.domain.finding import EXEMPT, Finding, Value
from aml.domain.money import decimals
from aml.engine.facts import MONEY

if TYPE_CHECKING:
    from aml.detect.rulefile import RuleFile

MOST_DAYS: Final = 366  # after which somebody must look at it again
ONE_IN: Final = 20
_WEEK: Final = dt.timedelta(days=6)
_OF_THE_PAST: Final = frozenset({"old_mean"})  # says how it was before, not what was done


@dataclass(frozen=True, slots=True)
class Exemption:
    """One [[exempt]] row. subject: customer or account as records name it; since, until: first and last day; cap: in
    major units of the reporting currency, None without a limit."""

    subject: str
    since: dt.date
    until: dt.date
    cap: int | Decimal | None
    owner: str
    approver: str
    reason: str


def exempted(rows: Sequence[Exemption], finding: Finding) -> Exemption | None:
    """The first row that spares the finding: about its subject, a customer of the institution itself; its whole week
    within the days; no amount that it measured over the cap (where it measured none, not all of it together)."""
    subject = finding.subject
    if subject.party_institution != subject.institution:
        return None
    fits = (
        row
        for row in rows
        if row.subject == subject.id
        and row.since <= finding.week
        and finding.week + _WEEK <= row.until
        and (row.cap is None or _amount(finding) <= Decimal(row.cap).scaleb(decimals(finding.currency)))
    )
    return next(fits, None)


def _amount(finding: Finding) -> float:
    """The largest amount that the finding measured, in minor units; all of it together where it measured none."""
    measured = [
        float(held)
        for name, held in finding.measured.items()
        if name in MONEY and name not in _OF_THE_PAST and isinstance(held, int | float)
    ]
    return max(measured, default=float(finding.total))


def sampled(finding_id: str) -> bool:
    """Whether an exempt finding opens all the same: one in twenty, by its id alone."""
    return uuid.UUID(finding_id).int % ONE_IN == 0


def judged(rule: RuleFile, finding: Finding) -> Finding:
    """The finding as the rule's exemptions leave it: where one spares it, a near miss that says why."""
    row = exempted(rule.exempt, finding) if finding.opens else None
    if row is None:
        return finding
    parameters = {**finding.parameters, **noted(row)}
    if sampled(finding.finding_id):
        return replace(finding, parameters={**parameters, "exempt_sampled": True})
    return replace(finding, opens=False, opened_at=None, parameters=parameters)


def opens(rule: RuleFile, finding: Finding) -> bool:
    """Whether a finding that meets the rule's condition for opening does so under its exemptions."""
    return exempted(rule.exempt, finding) is None or sampled(finding.finding_id)


def noted(row: Exemption) -> dict[str, Value]:
    """The exemption as a finding notes it among its parameters."""
    cap = {} if row.cap is None else {"exempt_cap": row.cap if isinstance(row.cap, int) else float(row.cap)}
    return {
        "exempt_from": row.since.isoformat(), EXEMPT: row.until.isoformat(), **cap, "exempt_owner": row.owner,
        "exempt_approver": row.approver, "exempt_reason": row.reason,
    }  # fmt: skip


def exempt_from_all(rules: Iterable[RuleFile], profiles: Iterable[str]) -> Iterator[str]:
    """Who is exempt from every rule in force under a profile, one line each, naming a file and the mend."""
    listed = [rule for rule in rules if rule.status != "deprecated"]
    told: set[str] = set()
    for profile in profiles:
        inforce = [rule for rule in listed if rule.profiles is None or profile in rule.profiles]
        spared = [{row.subject for row in rule.exempt} for rule in inforce]
        for subject in sorted(set.intersection(*spared) - told if spared else ()):
            told.add(subject)
            every = f"{subject} is exempt from every rule under the profile {profile}"
            yield f"{inforce[0].place}: exempt: {every}: take one row out, nobody is exempt from all"
