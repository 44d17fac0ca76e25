"""The work container made of one subject's findings and of people's decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from aml.domain.finding import Subject, name_id


class AlertStatus(StrEnum):
    """Where the work on an alert stands. What was decided is its disposition, a field of its own."""

    NEW = "new"
    IN_REVIEW = "in_review"
    WAITING = "waiting"
    ESCALATED = "escalated"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to decide it."""
        return self not in (AlertStatus.CLOSED, AlertStatus.WITHDRAWN)


class Disposition(StrEnum):
    """What was decided about a closed alert."""

    FALSE_POSITIVE = "false_positive"
    EXPLAINED = "explained"
    SUSPICIOUS_NO_REPORT = "suspicious_no_report"
    REPORTED = "reported"
    REFERRED_FRAUD = "referred_fraud"
    REFERRED_SANCTIONS = "referred_sanctions"
    VICTIM = "victim"
    DUPLICATE = "duplicate"


class Band(StrEnum):
    """The score in words, by the points bounds of `rules/scoring.toml`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it stands.

    Times are UTC microseconds: `raised_at` the wall clock of the commit that raised it, `crossed_at` the
    executed_at of the leg that first reached the threshold. `findings` are (finding_id, version) pairs: the current
    undecided ones of an open alert, the decided ones of a closed alert. `action_version` counts people's actions
    only, `revision` every change.
    """

    alert_id: str
    institution: str
    queue: str
    subject: Subject
    status: AlertStatus
    disposition: Disposition | None
    score: float
    points: int
    band: Band
    raised_at: int
    crossed_at: int | None
    findings: tuple[tuple[str, int], ...]
    previous_alert_id: str | None
    networks: tuple[str, ...]
    action_version: int
    revision: int


def alert_id(institution: str, queue: str, subject: Subject, closed_before: int) -> str:
    """UUIDv5 text of the alert that follows `closed_before` closed ones of this subject in this queue."""
    return name_id("alert", institution, queue, subject.key, str(closed_before))
