"""Small findings, subjects and writes for the tests of scoring and store."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from aml.domain.finding import Family, Finding, FindingChange, Severity, Subject, SubjectKind
from aml.scoring.config import ScoringConfig, parse_scoring
from aml.store.alerts import Recomputed
from aml.store.database import Database
from aml.store.findings import Applied

SCORING_FILE = Path(__file__).parent.parent / "rules" / "scoring.toml"
MONDAY = dt.date(2024, 1, 1)
T0 = 1_704_100_000_000_000


def scoring(**replaced: str) -> ScoringConfig:
    """The shipped scoring, with lines of it replaced by key: `scoring(threshold="50")`."""
    lines = []
    for line in SCORING_FILE.read_text().splitlines():
        key = line.partition("=")[0].strip()
        lines.append(f"{key} = {replaced[key]}" if key in replaced else line)
    return parse_scoring("\n".join(lines))


def subject(name: str = "C1", **given: Any) -> Subject:
    """A customer of the institution `main`."""
    return Subject(
        given.get("institution", "main"),
        given.get("party_institution", "main"),
        given.get("kind", SubjectKind.CUSTOMER),
        name,
    )


def finding(rule: str = "rule-a", name: str = "C1", week: int = 0, **given: Any) -> Finding:
    """A finding of 40 points that opens, in the week `week` weeks after the first."""
    opens = given.get("opens", True)
    values: dict[str, Any] = {
        "subject": subject(name),
        "rule": rule,
        "rule_version": 1,
        "rule_sha256": "0" * 64,
        "typology": "structuring",
        "family": Family.STRUCTURING,
        "severity": Severity.HIGH,
        "week": MONDAY + dt.timedelta(weeks=week),
        "points": 40,
        "opens": opens,
        "crossed_at": T0 + week,
        "opened_at": T0 + week if opens else None,
        "first_at": T0 + week,
        "last_at": T0 + week + 60_000_000,
        "total": 950_000,
        "currency": "USD",
        "measured": {"sum": 950_000, "share": 0.5, "cash": True, "note": "Zürich"},
        "parameters": {"T": 1_000_000, "segment": "person"},
        "transaction_ids": ("T2", "T1"),
    }
    return Finding(**{**values, **given})


def put(database: Database, *found: Finding, config: ScoringConfig | None = None) -> tuple[Applied, Recomputed]:
    """Store findings and recompute their subjects' alerts in one transaction."""
    return change(database, *(FindingChange.upsert(f) for f in found), config=config)


def change(
    database: Database, *changes: FindingChange, config: ScoringConfig | None = None
) -> tuple[Applied, Recomputed]:
    """Apply changes and recompute their subjects' alerts in one transaction."""
    with database.begin() as uow:
        applied = uow.findings.apply(changes)
        return applied, uow.alerts.recompute(applied.subjects, config or scoring())
