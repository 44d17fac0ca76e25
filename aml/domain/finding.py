"""What a rule or a model found about one subject in one week: a fact, with everything that shows it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Every name-based id of this product hangs under this namespace; changing it renames every finding and alert.
NAMESPACE = uuid.UUID("3f0a4c52-6c1f-5c0e-9a38-4c1d0f6a7b21")

_json_array = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

# Among the parameters of a finding: it is exempt, or would be and was sampled. The last day of the exemption.
EXEMPT = "exempt_until"

Value = int | float | str | bool | None


class SubjectKind(StrEnum):
    """Whom a finding is about: the record's customer where it names one, else the account."""

    CUSTOMER = "customer"
    ACCOUNT = "account"


class Family(StrEnum):
    """The kind of behaviour; within one family the strongest rule counts in full (see `rules/scoring.toml`)."""

    STRUCTURING = "structuring"
    LAYERING = "layering"
    PROFILE = "profile"
    GEOGRAPHY = "geography"
    MODEL = "model"


class Severity(StrEnum):
    """How grave one step of a rule is; its points stand in `rules/scoring.toml`."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def name_id(*parts: str) -> str:
    """UUIDv5 text of the parts. They are joined as a JSON array, so that no part can imitate a separator."""
    return str(uuid.uuid5(NAMESPACE, _json_array.encode(parts)))


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whom findings and alerts are about.

    `institution` is the tenant whose record it is, `party_institution` the institution that knows the subject
    by `id` (the customer or account text of the record).
    """

    institution: str
    party_institution: str
    kind: SubjectKind
    id: str

    @property
    def key(self) -> str:
        """UUIDv5 text that stands for the subject in the database."""
        return name_id("subject", self.institution, self.party_institution, self.kind.value, self.id)


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: `amount` in reporting minor units, `at` in UTC microseconds."""

    transaction_id: str
    from_holder: str
    to_holder: str
    amount: int
    at: int


@dataclass(frozen=True, slots=True)
class Finding:
    """(rule, subject, ISO week) with its points, its evidence and the rule text that was in force.

    Times are UTC microseconds, amounts reporting minor units. `crossed_at` is the executed_at of the earliest
    strongest hit's leg, `opened_at` that of the first hit that opens (None for a near miss). `measured` are the
    facts of the strongest hit; a value that is not finite is stored as null. `transaction_ids` stand in the
    engine's order.
    """

    subject: Subject
    rule: str
    rule_version: int
    rule_sha256: str
    typology: str
    family: Family
    severity: Severity
    week: dt.date
    points: int
    opens: bool
    crossed_at: int
    opened_at: int | None
    first_at: int
    last_at: int
    total: int
    currency: str
    measured: Mapping[str, Value]
    parameters: Mapping[str, Value]
    transaction_ids: tuple[str, ...]
    networks: tuple[str, ...] = ()
    hits: int = 1
    notes: tuple[str, ...] = ()
    path: tuple[Hop, ...] = field(default=())

    @property
    def finding_id(self) -> str:
        """UUIDv5 text: the same subject, rule and week have the same id however the records arrived."""
        return finding_id(self.subject, self.rule, self.week)


@dataclass(frozen=True, slots=True)
class FindingChange:
    """One change of the current findings: `finding` in place of what is stored, or None where it holds no more."""

    finding_id: str
    finding: Finding | None

    @classmethod
    def upsert(cls, finding: Finding) -> FindingChange:
        """The finding as it is now."""
        return cls(finding.finding_id, finding)

    @classmethod
    def withdraw(cls, finding_id: str) -> FindingChange:
        """The finding no longer holds."""
        return cls(finding_id, None)


def finding_id(subject: Subject, rule: str, week: dt.date) -> str:
    """The id of the finding of `rule` about `subject` in the ISO week that begins on Monday `week`."""
    return name_id(
        "finding",
        subject.institution,
        rule,
        subject.party_institution,
        subject.kind.value,
        subject.id,
        week.isoformat(),
    )
