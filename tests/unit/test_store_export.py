"""The shape of an exported alert is fixed, and only times of work and decisions depend on arrival."""

from __future__ import annotations

import dataclasses
import random

from aml.domain.alert import Disposition, alert_id
from aml.domain.finding import Family, FindingChange
from aml.store.database import open_database
from aml.store.export import export_alerts
from tests.store_factory import change, finding, put, scoring, subject


def exported(database):
    with database.read() as connection:
        return list(export_alerts(connection))


def test_the_shape_is_the_one_that_programs_read(database):
    later = finding("b", week=1, points=80, measured={"hops": 3}, transaction_ids=("T9", "T3"))
    put(database, later, finding("b"), finding("a", opens=False, family=Family.LAYERING, typology="chain"))
    alert = exported(database)[0]
    assert alert == {
        "alert_id": alert_id("main", "main", subject(), 0),
        "institution": "main",
        "queue": "main",
        "subject": {"kind": "customer", "id": "C1", "institution": "main"},
        "score": 0.6,
        "points": 120,
        "band": "critical",
        "status": "new",
        "disposition": None,
        "raised_at": "2023-11-14T22:13:20Z",
        "crossed_at": "2024-01-01T09:06:40Z",
        "previous_alert_id": None,
        "networks": [],
        "reasons": [
            {
                "rule": "a",
                "version": 1,
                "sha256": "0" * 64,
                "typology": "chain",
                "family": "layering",
                "opens": False,
                "points": 40,
                "full_points": 40,
                "findings": [
                    {
                        "from": "2024-01-01T09:06:40Z",
                        "to": "2024-01-01T09:07:40Z",
                        "points": 40,
                        "opens": False,
                        "total": 950_000,
                        "currency": "USD",
                        "measured": {"sum": 950_000, "share": 0.5, "cash": True, "note": "Zürich"},
                        "transaction_ids": ["T2", "T1"],
                    }
                ],
            },
            alert["reasons"][1],
        ],
    }
    reason = alert["reasons"][1]
    assert (reason["rule"], reason["points"], len(reason["findings"])) == ("b", 80, 2)
    assert [f["from"] for f in reason["findings"]] == ["2024-01-01T09:06:40Z", "2024-01-01T09:06:40.000001Z"]
    assert reason["findings"][1]["transaction_ids"] == ["T9", "T3"]


def test_points_of_reasons_sum_to_the_alerts(database):
    put(
        database, finding("a"), finding("b", points=80), finding("m", points=60, family=Family.MODEL),
        finding("a", week=1, rule_version=2, rule_sha256="1" * 64, points=40),
    )  # fmt: skip
    alert = exported(database)[0]
    assert [(r["rule"], r["version"], r["points"]) for r in alert["reasons"]] == [
        ("a", 1, 0), ("a", 2, 10), ("b", 1, 80), ("m", 1, 36),
    ]  # fmt: skip
    assert sum(r["points"] for r in alert["reasons"]) == alert["points"]


def test_withdrawn_alerts_are_left_out_and_closed_ones_not(database):
    put(database, finding("a"), finding("a", name="C2"))
    change(database, FindingChange.withdraw(finding("a").finding_id))
    with database.begin() as uow:
        uow.alerts.close(alert_id("main", "main", subject("C2"), 0), Disposition.EXPLAINED, "rent", "ann")
    assert [(a["subject"]["id"], a["status"], a["disposition"]) for a in exported(database)] == [
        ("C2", "closed", "explained")
    ]


def test_only_times_of_work_depend_on_arrival(database, tmp_path, clock):
    """Everything at once, or piece by piece in another order with amendments and returns between."""
    found = [
        finding(rule, name=f"C{n}", week=week, points=20 * (1 + (n + week) % 4), opens=(n + week) % 3 > 0)
        for rule in ("a", "b")
        for n in range(6)
        for week in range(4)
    ]
    put(database, *found)
    other = open_database(f"sqlite:///{tmp_path / 'pieces.db'}", clock=lambda: clock.now + 99)
    order = random.Random(7)
    for given in order.sample(found, len(found)):
        passing = finding("c", name=given.subject.id, week=order.randrange(4))
        change(other, FindingChange.upsert(dataclasses.replace(given, points=500)), FindingChange.upsert(passing))
        change(other, FindingChange.withdraw(given.finding_id), FindingChange.withdraw(passing.finding_id))
        change(other, FindingChange.upsert(given))
    with other.begin() as uow:
        assert uow.alerts.recompute_all(scoring()).changed == 0
    alike = [{k: v for k, v in alert.items() if k not in ("raised_at", "status")} for alert in exported(other)]
    other.close()
    assert alike == [{k: v for k, v in a.items() if k not in ("raised_at", "status")} for a in exported(database)]
