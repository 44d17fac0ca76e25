"""Whatever is stored in whatever order: one open alert a subject, a history row a change, versions that only grow."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from aml.domain.alert import AlertStatus, Disposition
from aml.domain.errors import AmlError
from aml.domain.finding import FindingChange
from aml.store.database import Database, open_database
from aml.store.queries import list_alerts
from tests.store_factory import change, finding, put, scoring

COPIES = count()
WHO, RULES, POINTS = st.sampled_from(["C1", "C2"]), st.sampled_from(["rule-a", "rule-b"]), st.sampled_from([10, 40, 80])
ACTS = st.one_of(
    st.tuples(st.just("put"), WHO, RULES, st.integers(0, 1), POINTS, st.booleans()),
    st.tuples(st.just("withdraw"), WHO, RULES, st.integers(0, 1)),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("rescore"), st.sampled_from(["20", "36"])),
    st.tuples(st.just("fail"), WHO),
)


class Broken(Exception):
    """Raised in the middle of a transaction."""


def act(database: Database, what: tuple[Any, ...]) -> None:
    match what:
        case ("put", who, rule, week, points, opens):
            put(database, finding(rule, who, week, points=points, opens=opens))
        case ("withdraw", who, rule, week):
            change(database, FindingChange.withdraw(finding(rule, who, week).finding_id))
        case ("close", place):
            with database.begin() as uow:
                alerts = list_alerts(uow.connection)
                if alerts:
                    wanted = alerts[place % len(alerts)]
                    try:
                        uow.alerts.close(wanted.alert_id, Disposition.EXPLAINED, "known", "ann")
                    except AmlError:
                        assert not wanted.status.is_open
        case ("rescore", threshold):
            with database.begin() as uow:
                uow.alerts.recompute_all(scoring(threshold=threshold))
        case ("fail", who):
            before = dump(database)
            with pytest.raises(Broken):
                break_off(database, who)
            assert dump(database) == before


def break_off(database: Database, who: str) -> None:
    with database.begin() as uow:
        applied = uow.findings.apply([FindingChange.upsert(finding("rule-c", who, points=90))])
        uow.alerts.recompute(applied.subjects, scoring())
        raise Broken


def dump(database: Database) -> list[list[tuple[Any, ...]]]:
    tables = ("findings", "finding_transactions", "alerts", "alert_findings", "history", "subjects")
    with database.read() as connection:
        return [[tuple(row) for row in connection.execute(text(f"SELECT * FROM {t} ORDER BY 1, 2"))] for t in tables]


def check(database: Database) -> None:
    with database.read() as connection:
        alerts = connection.execute(text("SELECT * FROM alerts")).mappings().all()
        history = connection.execute(text("SELECT * FROM history ORDER BY revision")).mappings().all()
        findings = connection.execute(text("SELECT * FROM findings ORDER BY version")).mappings().all()
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in history:
        rows[row["object_id"]].append(row)
    open_ones = [(a["subject_key"], a["queue"]) for a in alerts if a["status"] != "closed"]
    assert len(set(open_ones)) == len(open_ones)
    for alert in alerts:
        mine = rows.pop(alert["alert_id"])
        assert [row["revision"] for row in mine] == list(range(1, alert["revision"] + 1))
        states = [json.loads(row["body"]) for row in mine]
        assert states[0]["before"] is None
        for earlier, later in pairwise(states):
            assert later["before"] == earlier["after"]
        last = states[-1]["after"]
        assert (last["status"], last["points"], last["score"]) == (alert["status"], alert["points"], alert["score"])
    assert not rows
    versions: dict[str, list[Any]] = defaultdict(list)
    for row in findings:
        versions[row["finding_id"]].append(row)
    for held in versions.values():
        assert [row["version"] for row in held] == list(range(1, len(held) + 1))
        assert all(row["state"] != "current" for row in held[:-1])
        assert all((row["state"] == "current") == (row["ended_at"] is None) for row in held)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, to be copied."""
    path = tmp_path_factory.mktemp("laws") / "empty.db"
    open_database(f"sqlite:///{path}").close()
    return path


def copied(empty: Path, name: str) -> Database:
    path = empty.with_name(f"{name}-{next(COPIES)}.db")  # a new file each time: an earlier one may still be open
    shutil.copy(empty, path)
    return open_database(f"sqlite:///{path}")


@given(st.lists(ACTS, max_size=12))
def test_the_laws_of_the_store_hold_after_every_act(empty: Path, acts: list[Any]) -> None:
    database = copied(empty, "laws")
    try:
        for one in acts:
            act(database, one)
            check(database)
        with database.read() as connection:
            shown = list_alerts(connection, statuses=list(AlertStatus))
        assert all(alert.points >= 0 for alert in shown)
    finally:
        database.close()


@given(st.lists(st.tuples(WHO, RULES, st.integers(0, 2), POINTS, st.booleans()), min_size=1, max_size=8), st.randoms())
def test_the_order_in_which_findings_come_decides_nothing(empty: Path, found: list[Any], random: Any) -> None:
    last = {(who, rule, week): (points, opens) for who, rule, week, points, opens in found}
    wanted = [finding(rule, who, week, points=p, opens=o) for (who, rule, week), (p, o) in last.items()]
    told = []
    for turn in range(2):
        database = copied(empty, f"turn-{turn}")
        random.shuffle(wanted)
        cut = len(wanted) // 2 if turn else len(wanted)
        for part in (wanted[:cut], wanted[cut:]):
            if part:
                put(database, *part)
        with database.read() as connection:
            told.append([(a.alert_id, a.points, a.score, a.crossed_at) for a in list_alerts(connection)])
        database.close()
    assert told[0] == told[1]
