"""Findings as versions that are only ever added, and the transactions they name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, func, select

from aml.domain.finding import EXEMPT, Family, Finding, FindingChange, Hop, Severity, Subject
from aml.store.encoding import digest, from_json, to_json
from aml.store.statements import in_chunks, insert_all, insert_new, update_all
from aml.store.subjects import load_subjects, lock_subjects
from aml.store.tables import evidence, finding_transactions, findings

CURRENT, SUPERSEDED, WITHDRAWN = "current", "superseded", "withdrawn"


@dataclass(slots=True)
class Applied:
    """What applying changes did: counts, and the subjects whose alerts must be recomputed."""

    new: int = 0
    amended: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    subjects: set[Subject] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """One accepted record, whole: `record` is its canonical frame row as JSON text."""

    institution: str
    transaction_id: str
    revision: int
    executed_at: int | None
    record: str


@dataclass(frozen=True, slots=True)
class _Latest:
    version: int
    state: str
    content_sha256: str
    subject_key: str


class FindingStore:
    """Writes findings and their evidence within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now

    def apply(self, changes: Iterable[FindingChange]) -> Applied:
        """Store each finding that differs from its current version as a new one, and withdraw those that are gone.

        Of several changes of one finding the last counts. Locks the subjects. The same changes again change nothing.
        """
        last = {change.finding_id: change.finding for change in changes}
        latest = self._latest(sorted(last))
        applied = Applied()
        ended: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for finding_id in sorted(last):
            finding, held = last[finding_id], latest.get(finding_id)
            if finding is None:
                self._withdraw(finding_id, held, ended, applied)
            else:
                self._put(finding_id, finding, held, ended, rows, applied)
        gone = {latest[row["finding_id"]].subject_key for row in ended if row["state"] == WITHDRAWN}
        applied.subjects |= set(load_subjects(self._connection, gone).values())
        lock_subjects(self._connection, applied.subjects)
        self._write(ended, rows)
        return applied

    def add_evidence(self, records: Iterable[EvidenceRecord]) -> int:
        """Keep records whole, each content once; returns how many were new."""
        return insert_new(
            self._connection,
            evidence,
            (
                {
                    "institution": record.institution,
                    "transaction_id": record.transaction_id,
                    "content_sha256": digest(record.record),
                    "revision": record.revision,
                    "executed_at": record.executed_at,
                    "record": record.record,
                    "recorded_at": self._now,
                }
                for record in records
            ),
        )

    def _latest(self, ids: Sequence[str]) -> dict[str, _Latest]:
        columns = (findings.c.finding_id, findings.c.version, findings.c.state, findings.c.content_sha256)
        query = select(*columns, findings.c.subject_key).order_by(findings.c.finding_id, findings.c.version)
        rows = in_chunks(self._connection, query, findings.c.finding_id, ids)
        # Versions rise within an id, so that the last one stays.
        return {row[0]: _Latest(*row[1:]) for row in rows}

    def _withdraw(self, finding_id: str, held: _Latest | None, ended: list[dict[str, Any]], applied: Applied) -> None:
        if held is None or held.state != CURRENT:
            applied.unchanged += 1
            return
        applied.withdrawn += 1
        ended.append(self._ended(finding_id, held, WITHDRAWN))

    def _ended(self, finding_id: str, held: _Latest, state: str) -> dict[str, Any]:
        return {"finding_id": finding_id, "version": held.version, "state": state, "ended_at": self._now}

    def _put(
        self,
        finding_id: str,
        finding: Finding,
        held: _Latest | None,
        ended: list[dict[str, Any]],
        rows: list[dict[str, Any]],
        applied: Applied,
    ) -> None:
        row = _row(finding_id, finding)
        was_current = held is not None and held.state == CURRENT
        if held is not None and was_current and held.content_sha256 == row["content_sha256"]:
            applied.unchanged += 1
            return
        if held is not None and was_current:
            applied.amended += 1
            ended.append(self._ended(finding_id, held, SUPERSEDED))
        else:
            applied.new += 1
        row["version"] = held.version + 1 if held else 1
        row["recorded_at"] = self._now
        row["transaction_ids"] = finding.transaction_ids
        rows.append(row)
        applied.subjects.add(finding.subject)

    def _write(self, ended: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
        # The old version must end before its successor begins: only one may be current.
        update_all(self._connection, findings, ended, ("finding_id", "version"))
        links = [
            {"finding_id": row["finding_id"], "version": row["version"], "place": place, "transaction_id": named}
            for row in rows
            for place, named in enumerate(row.pop("transaction_ids"))
        ]
        insert_all(self._connection, findings, rows)
        insert_all(self._connection, finding_transactions, links)


def _row(finding_id: str, finding: Finding) -> dict[str, Any]:
    """The columns of a finding, but for its version and when it was recorded."""
    row: dict[str, Any] = {
        "finding_id": finding_id,
        "state": CURRENT,
        "subject_key": finding.subject.key,
        "rule": finding.rule,
        "rule_version": finding.rule_version,
        "rule_sha256": finding.rule_sha256,
        "typology": finding.typology,
        "family": finding.family.value,
        "severity": finding.severity.value,
        "week": finding.week.isoformat(),
        "points": finding.points,
        "opens": finding.opens,
        "crossed_at": finding.crossed_at,
        "opened_at": finding.opened_at,
        "first_at": finding.first_at,
        "last_at": finding.last_at,
        "total": finding.total,
        "currency": finding.currency,
        "hits": finding.hits,
        "measured": to_json(finding.measured),
        "parameters": to_json(finding.parameters),
        "networks": to_json(finding.networks),
        "notes": to_json(finding.notes),
        "path": to_json([(h.transaction_id, h.from_holder, h.to_holder, h.amount, h.at) for h in finding.path]),
    }
    row["content_sha256"] = digest(row, finding.transaction_ids)
    # What a decision is about. A newer version that leaves this as it was, say after an edit of the rule's
    # description, was decided too.
    row["substance_sha256"] = digest(finding.points, finding.opens, row["measured"], finding.transaction_ids)
    return row


def load_findings(connection: Connection, versions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Finding]:
    """The findings of these (finding_id, version) pairs, whole."""
    wanted = set(versions)
    ids = sorted({finding_id for finding_id, _ in wanted})
    rows = [
        row
        for row in in_chunks(connection, select(findings), findings.c.finding_id, ids)
        if (row.finding_id, row.version) in wanted
    ]
    named = _transaction_ids(connection, ids)
    known = load_subjects(connection, (row.subject_key for row in rows))
    return {
        (row.finding_id, row.version): _finding(
            row, known[row.subject_key], named.get((row.finding_id, row.version), ())
        )
        for row in rows
    }


def load_evidence(connection: Connection, institution: str, transaction_ids: Iterable[str]) -> Iterator[Any]:
    """The kept records of these transactions as decoded JSON, by id and then the newest revision first."""
    query = (
        select(evidence.c.record)
        .where(evidence.c.institution == institution)
        .order_by(evidence.c.transaction_id, evidence.c.revision.desc(), evidence.c.content_sha256)
    )
    for row in in_chunks(connection, query, evidence.c.transaction_id, sorted(set(transaction_ids))):
        yield from_json(row.record)


def current_ids(connection: Connection) -> list[str]:
    """Ids of all current findings."""
    return list(connection.execute(select(findings.c.finding_id).where(findings.c.state == CURRENT)).scalars())


def count_findings(connection: Connection) -> tuple[int, int, int]:
    """(current findings, those of them that open nothing: near misses, those of these that are exempt)."""
    # A key of the stored JSON: in a value its quotes would stand behind backslashes.
    exempt = func.count(case((findings.c.parameters.contains(f'"{EXEMPT}":', autoescape=True), 1)))
    query = select(findings.c.opens, func.count(), exempt).where(findings.c.state == CURRENT).group_by(findings.c.opens)
    held = {bool(opens): (number, noted) for opens, number, noted in connection.execute(query)}
    near, exempted = held.get(False, (0, 0))
    return sum(number for number, _ in held.values()), near, exempted


def _transaction_ids(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, int], tuple[str, ...]]:
    links = finding_transactions.c
    query = select(links.finding_id, links.version, links.transaction_id).order_by(
        links.finding_id, links.version, links.place
    )
    named: dict[tuple[str, int], list[str]] = {}
    for finding_id, version, transaction_id in in_chunks(connection, query, links.finding_id, ids):
        named.setdefault((finding_id, version), []).append(transaction_id)
    return {key: tuple(values) for key, values in named.items()}


def _finding(row: Any, subject: Subject, transaction_ids: tuple[str, ...]) -> Finding:
    return Finding(
        subject=subject,
        rule=row.rule,
        rule_version=row.rule_version,
        rule_sha256=row.rule_sha256,
        typology=row.typology,
        family=Family(row.family),
        severity=Severity(row.severity),
        week=dt.date.fromisoformat(row.week),
        points=row.points,
        opens=row.opens,
        crossed_at=row.crossed_at,
        opened_at=row.opened_at,
        first_at=row.first_at,
        last_at=row.last_at,
        total=row.total,
        currency=row.currency,
        measured=from_json(row.measured),
        parameters=from_json(row.parameters),
        transaction_ids=transaction_ids,
        networks=tuple(from_json(row.networks)),
        hits=row.hits,
        notes=tuple(from_json(row.notes)),
        path=tuple(Hop(*hop) for hop in from_json(row.path)),
    )
