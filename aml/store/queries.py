"""What is asked of the database: alerts to list and to show, counts, where a run stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, select

from aml.domain.alert import Alert, AlertStatus, Band, Disposition
from aml.domain.errors import USAGE, AmlError
from aml.domain.finding import Family, Finding, Subject, SubjectKind
from aml.scoring.combine import Part
from aml.store.encoding import from_json
from aml.store.findings import count_findings, load_evidence, load_findings
from aml.store.statements import in_chunks
from aml.store.tables import alert_findings, alerts, finding_transactions, findings, history, subjects


@dataclass(frozen=True, slots=True)
class Counts:
    """What the database holds now: near misses are current findings that open nothing, exempted those of them that a
    rule's exemption spares."""

    findings: int
    alerts: int
    near_misses: int
    exempted: int


@dataclass(frozen=True, slots=True)
class AlertFile:
    """One alert with all that stands behind it.

    `parts` sum to its points, under the scoring whose text has `scoring_sha256`;
    `findings` hold (finding_id, version, finding); `decided` the transactions that an earlier alert of this subject
    decided already; `evidence` the records by transaction id, the newest revision; `history` the decoded rows.
    """

    alert: Alert
    parts: tuple[Part, ...]
    scoring_sha256: str
    findings: tuple[tuple[str, int, Finding], ...]
    decided: frozenset[str]
    evidence: dict[str, dict[str, Any]]
    history: tuple[dict[str, Any], ...]


def count(connection: Connection) -> Counts:
    """Current findings, alerts (closed ones too, withdrawn ones not) and near misses."""
    current, near_misses, exempted = count_findings(connection)
    shown = select(func.count()).select_from(alerts).where(alerts.c.status != AlertStatus.WITHDRAWN.value)
    return Counts(current, connection.execute(shown).scalar_one(), near_misses, exempted)


def list_alerts(
    connection: Connection,
    *,
    statuses: Iterable[AlertStatus] | None = None,
    rule: str | None = None,
    min_score: float | None = None,
    subject: str | None = None,
    institution: str | None = None,
    limit: int | None = None,
) -> list[Alert]:
    """Alerts that fit all filters, the worst first; without `statuses` all but withdrawn ones."""
    query = _joined().order_by(alerts.c.score.desc(), alerts.c.crossed_at, alerts.c.alert_id)
    if statuses is None:
        query = query.where(alerts.c.status != AlertStatus.WITHDRAWN.value)
    else:
        query = query.where(alerts.c.status.in_(sorted(status.value for status in statuses)))
    if rule is not None:
        query = query.where(_has_rule(rule))
    if min_score is not None:
        query = query.where(alerts.c.score >= min_score)
    if subject is not None:
        query = query.where(subjects.c.id == subject)
    if institution is not None:
        query = query.where(alerts.c.institution == institution)
    return _alerts(connection, query.limit(limit) if limit is not None else query)


def find_alert(connection: Connection, wanted: str) -> Alert:
    """The alert whose id is or begins with `wanted`.

    Raises AmlError where none or several do.
    """
    prefix = wanted.lower()
    found = _alerts(connection, _joined().where(alerts.c.alert_id.startswith(prefix, autoescape=True)).limit(2))
    if not found:
        raise AmlError(f"alert {wanted}: there is none with this id: see `aml alerts list`", USAGE)
    if len(found) > 1:
        raise AmlError(f"alert {wanted}: several ids begin so: give more of it", USAGE)
    return found[0]


def show_alert(connection: Connection, wanted: str) -> AlertFile:
    """The alert whose id is or begins with `wanted`, with its findings, evidence and history.

    Raises AmlError where none or several do.
    """
    alert = find_alert(connection, wanted)
    loaded = load_findings(connection, alert.findings)
    shown = tuple((*key, loaded[key]) for key in sorted(loaded, key=lambda key: finding_order(loaded[key])))
    named = {transaction_id for finding in loaded.values() for transaction_id in finding.transaction_ids}
    scored = select(alerts.c.parts, alerts.c.scoring_sha256).where(alerts.c.alert_id == alert.alert_id)
    parts, scoring_sha256 = connection.execute(scored).one()
    return AlertFile(
        alert,
        tuple(_part(*part) for part in from_json(parts)),
        scoring_sha256,
        shown,
        _decided_transactions(connection, alert) & named,
        _newest(load_evidence(connection, alert.institution, named)),
        alert_history(connection, alert.alert_id),
    )


def alert_history(connection: Connection, alert_id: str) -> tuple[dict[str, Any], ...]:
    """Every change of the alert in its order, decoded."""
    query = (
        select(history.c.body)
        .where(history.c.object_kind == "alert", history.c.object_id == alert_id)
        .order_by(history.c.revision)
    )
    return tuple(from_json(row.body.decode()) for row in connection.execute(query))


def finding_order(finding: Finding) -> tuple[str, int, int, str]:
    """How findings stand in lists: by rule, then by time."""
    return finding.rule, finding.first_at, finding.last_at, finding.finding_id


def _joined() -> Select[Any]:
    columns = (subjects.c.party_institution, subjects.c.kind, subjects.c.id)
    return select(alerts, *columns).join(subjects, subjects.c.subject_key == alerts.c.subject_key)


def _has_rule(rule: str) -> Any:
    links = alert_findings.c
    return exists(
        select(findings.c.rule)
        .join_from(alert_findings, findings, findings.c.finding_id == links.finding_id)
        .where(links.alert_id == alerts.c.alert_id, findings.c.version == links.version, findings.c.rule == rule)
    )


def _alerts(connection: Connection, query: Select[Any]) -> list[Alert]:
    rows = list(connection.execute(query))
    held: dict[str, list[tuple[str, int]]] = {}
    links = alert_findings.c
    by_alert = select(links.alert_id, links.finding_id, links.version).order_by(links.alert_id, links.finding_id)
    for alert_id, finding_id, version in in_chunks(connection, by_alert, links.alert_id, [r.alert_id for r in rows]):
        held.setdefault(alert_id, []).append((finding_id, version))
    return [_alert(row, tuple(held.get(row.alert_id, ()))) for row in rows]


def _alert(row: Row[Any], held: tuple[tuple[str, int], ...]) -> Alert:
    return Alert(
        alert_id=row.alert_id,
        institution=row.institution,
        queue=row.queue,
        subject=Subject(row.institution, row.party_institution, SubjectKind(row.kind), row.id),
        status=AlertStatus(row.status),
        disposition=None if row.disposition is None else Disposition(row.disposition),
        score=row.score,
        points=row.points,
        band=Band(row.band),
        raised_at=row.raised_at,
        crossed_at=row.crossed_at,
        findings=held,
        previous_alert_id=row.previous_alert_id,
        networks=tuple(from_json(row.networks)),
        action_version=row.action_version,
        revision=row.revision,
    )


def _part(rule: str, family: str, points_full: int, points_counted: int, week: str) -> Part:
    return Part(rule, Family(family), points_full, points_counted, dt.date.fromisoformat(week))


def _decided_transactions(connection: Connection, alert: Alert) -> frozenset[str]:
    """The transactions that closed alerts of this subject, other than this one, decided."""
    named = finding_transactions.c
    query = (
        select(named.transaction_id)
        .join(
            alert_findings,
            (alert_findings.c.finding_id == named.finding_id) & (alert_findings.c.version == named.version),
        )
        .join(alerts, alerts.c.alert_id == alert_findings.c.alert_id)
        .where(
            alerts.c.subject_key == alert.subject.key,
            alerts.c.status == AlertStatus.CLOSED.value,
            alerts.c.alert_id != alert.alert_id,
        )
    )
    return frozenset(connection.execute(query).scalars())


def _newest(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Records by transaction id; of several the first, which is the newest revision."""
    newest: dict[str, dict[str, Any]] = {}
    for record in records:
        newest.setdefault(record["transaction_id"], record)
    return newest
