"""What the alerts of some subjects are made of, read at once: current findings, earlier decisions, alerts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from aml.domain.alert import AlertStatus
from aml.domain.finding import Family, Subject
from aml.scoring.config import ScoringConfig
from aml.store.encoding import from_json
from aml.store.findings import CURRENT
from aml.store.statements import in_chunks
from aml.store.tables import alert_findings, alerts, findings


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """What alerting reads of a current finding."""

    finding_id: str
    version: int
    substance_sha256: str
    rule: str
    family: Family
    typology: str
    week: dt.date
    points: int
    opens: bool
    opened_at: int | None
    networks: tuple[str, ...]


@dataclass(slots=True)
class Pile:
    """All of one subject in one queue: undecided current findings, the open alert, the closed ones."""

    subject: Subject
    queue: str
    findings: list[StoredFinding] = field(default_factory=list)
    alert: Any = None
    alert_findings: dict[str, int] = field(default_factory=dict)
    closed: int = 0
    last_closed: str | None = None


def read_piles(connection: Connection, subjects: dict[str, Subject], config: ScoringConfig) -> list[Pile]:
    """The piles of these subjects (by key), in the order of subject key and queue. The subjects are locked."""
    keys = sorted(subjects)
    piles: dict[tuple[str, str], Pile] = {}
    _read_alerts(connection, subjects, keys, piles)
    decided = _decided(connection, keys)
    for subject_key, finding in _current(connection, keys):
        if (finding.finding_id, finding.substance_sha256) not in decided:
            subject = subjects[subject_key]
            queue = config.queue_of(subject, finding.family, finding.typology)
            piles.setdefault((subject_key, queue), Pile(subject, queue)).findings.append(finding)
    return [piles[key] for key in sorted(piles)]


def _read_alerts(
    connection: Connection, subjects: dict[str, Subject], keys: Sequence[str], piles: dict[tuple[str, str], Pile]
) -> None:
    query = select(alerts).order_by(alerts.c.closed_before)
    by_alert: dict[str, Pile] = {}
    for row in in_chunks(connection, query, alerts.c.subject_key, keys):
        pile = piles.setdefault((row.subject_key, row.queue), Pile(subjects[row.subject_key], row.queue))
        if row.status == AlertStatus.CLOSED:
            pile.closed += 1
            pile.last_closed = row.alert_id
        else:
            pile.alert = row
            by_alert[row.alert_id] = pile
    links = alert_findings.c
    held = select(links.alert_id, links.finding_id, links.version)
    for alert_id, finding_id, version in in_chunks(connection, held, links.alert_id, sorted(by_alert)):
        by_alert[alert_id].alert_findings[finding_id] = version


def _decided(connection: Connection, keys: Sequence[str]) -> set[tuple[str, str]]:
    """(finding_id, substance) of all that closed alerts of these subjects decided."""
    query = (
        select(alert_findings.c.finding_id, alert_findings.c.substance_sha256)
        .join(alerts, alerts.c.alert_id == alert_findings.c.alert_id)
        .where(alerts.c.status == AlertStatus.CLOSED.value)
    )
    return {(row[0], row[1]) for row in in_chunks(connection, query, alerts.c.subject_key, keys)}


def _current(connection: Connection, keys: Sequence[str]) -> list[tuple[str, StoredFinding]]:
    c = findings.c
    query = (
        select(c.subject_key, c.finding_id, c.version, c.substance_sha256, c.rule, c.family, c.typology, c.week)
        .add_columns(c.points, c.opens, c.opened_at, c.networks)
        .where(c.state == CURRENT)
        .order_by(c.finding_id)
    )
    return [
        (
            row.subject_key,
            StoredFinding(
                row.finding_id,
                row.version,
                row.substance_sha256,
                row.rule,
                Family(row.family),
                row.typology,
                dt.date.fromisoformat(row.week),
                row.points,
                bool(row.opens),
                row.opened_at,
                tuple(from_json(row.networks)),
            ),
        )
        for row in in_chunks(connection, query, c.subject_key, keys)
    ]
