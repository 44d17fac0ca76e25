"""Alerts as the objects that other programs read; their shape is fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from aml.domain.alert import Alert
from aml.domain.finding import Finding
from aml.store.encoding import from_json, rfc3339
from aml.store.findings import load_findings
from aml.store.queries import finding_order, list_alerts
from aml.store.statements import CHUNK, in_chunks
from aml.store.tables import alerts


def export_alerts(connection: Connection, institution: str | None = None) -> Iterator[dict[str, Any]]:
    """One object per current alert, closed ones too and withdrawn ones not, the worst first.

    Only `raised_at`, `status` and what people decided depend on how and when the records arrived.
    """
    listed = list_alerts(connection, institution=institution)
    for start in range(0, len(listed), CHUNK):
        chunk = listed[start : start + CHUNK]
        loaded = load_findings(connection, (pair for alert in chunk for pair in alert.findings))
        counted = _counted_points(connection, chunk)
        for alert in chunk:
            yield alert_object(alert, [loaded[pair] for pair in alert.findings], counted[alert.alert_id])


def alert_object(alert: Alert, findings: Sequence[Finding], counted: Mapping[str, int]) -> dict[str, Any]:
    """The export's object of one alert; `counted` are the points each rule adds to its score."""
    return {
        "alert_id": alert.alert_id,
        "institution": alert.institution,
        "queue": alert.queue,
        "subject": {
            "kind": alert.subject.kind.value,
            "id": alert.subject.id,
            "institution": alert.subject.party_institution,
        },
        "score": alert.score,
        "points": alert.points,
        "band": alert.band.value,
        "status": alert.status.value,
        "disposition": None if alert.disposition is None else alert.disposition.value,
        "raised_at": rfc3339(alert.raised_at),
        "crossed_at": None if alert.crossed_at is None else rfc3339(alert.crossed_at),
        "previous_alert_id": alert.previous_alert_id,
        "networks": list(alert.networks),
        "reasons": _reasons(findings, counted),
    }


def _reasons(findings: Sequence[Finding], counted: Mapping[str, int]) -> list[dict[str, Any]]:
    """One reason per rule text; a rule's points stand at the text of its strongest finding."""
    ordered = sorted(findings, key=lambda f: (f.rule, f.rule_version, f.rule_sha256, *finding_order(f)))
    reasons = [_reason(list(group)) for _, group in groupby(ordered, key=_rule_text)]
    for reason in reasons:
        rivals = [other for other in reasons if other["rule"] == reason["rule"]]
        # A rule counts once: of several texts of it, at the strongest, the newest of equals.
        first = max(rivals, key=lambda other: (other["full_points"], other["version"], other["sha256"]))
        reason["points"] = counted.get(reason["rule"], 0) if first is reason else 0
    return reasons


def _rule_text(finding: Finding) -> tuple[str, int, str]:
    return finding.rule, finding.rule_version, finding.rule_sha256


def _reason(group: Sequence[Finding]) -> dict[str, Any]:
    first = group[0]
    return {
        "rule": first.rule,
        "version": first.rule_version,
        "sha256": first.rule_sha256,
        "typology": first.typology,
        "family": first.family.value,
        "opens": any(finding.opens for finding in group),
        "points": 0,
        "full_points": max(finding.points for finding in group),
        "findings": [_finding_object(finding) for finding in group],
    }


def _finding_object(finding: Finding) -> dict[str, Any]:
    return {
        "from": rfc3339(finding.first_at),
        "to": rfc3339(finding.last_at),
        "points": finding.points,
        "opens": finding.opens,
        "total": finding.total,
        "currency": finding.currency,
        "measured": dict(finding.measured),
        "transaction_ids": list(finding.transaction_ids),
    }


def _counted_points(connection: Connection, chunk: Sequence[Alert]) -> dict[str, dict[str, int]]:
    query = select(alerts.c.alert_id, alerts.c.parts)
    rows = in_chunks(connection, query, alerts.c.alert_id, [alert.alert_id for alert in chunk])
    return {row.alert_id: {part[0]: part[3] for part in from_json(row.parts)} for row in rows}
