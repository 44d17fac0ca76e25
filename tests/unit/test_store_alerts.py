"""An alert is what its undecided findings say; people's decisions stand; every change has its history row."""

from __future__ import annotations

import hashlib
import json
import threading
from itertools import pairwise

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from aml.domain.alert import AlertStatus, Disposition, alert_id
from aml.domain.errors import AmlError
from aml.domain.finding import Family, FindingChange
from aml.scoring.config import parse_scoring
from aml.scoring.explain import score_lines
from aml.store.encoding import canonical_json
from aml.store.queries import find_alert, list_alerts, show_alert
from aml.store.tables import alerts, history
from tests.store_factory import T0, change, finding, put, scoring, subject

FIRST = alert_id("main", "main", subject(), 0)
SECOND = alert_id("main", "main", subject(), 1)


@pytest.fixture(autouse=True)
def every_change_has_its_row(database):
    yield
    with database.read() as connection:
        for alert in connection.execute(select(alerts)):
            rows = connection.execute(
                select(history).where(history.c.object_id == alert.alert_id).order_by(history.c.revision)
            ).all()
            assert [row.revision for row in rows] == list(range(1, alert.revision + 1))
            bodies = [json.loads(row.body) for row in rows]
            assert [canonical_json(body) for body in bodies] == [row.body for row in rows]
            assert [hashlib.sha256(row.body).hexdigest() for row in rows] == [row.sha256 for row in rows]
            for earlier, later in pairwise(bodies):
                assert later["before"] == earlier["after"]
            last = bodies[-1]["after"]
            assert (last["status"], last["disposition"]) == (alert.status, alert.disposition)
            assert (last["score"], last["points"], last["band"]) == (alert.score, alert.points, alert.band)


def close(database, wanted=FIRST, disposition=Disposition.FALSE_POSITIVE):
    with database.begin() as uow:
        uow.alerts.close(wanted, disposition, "known landlord", "ann")


def listed(database, **filters):
    with database.read() as connection:
        return list_alerts(connection, **filters)


def kinds(database, wanted=FIRST):
    with database.read() as connection:
        return [row["kind"] for row in show_alert(connection, wanted).history]


def withdraw(*found):
    return [FindingChange.withdraw(f.finding_id) for f in found]


def touch(database, status=AlertStatus.IN_REVIEW):
    """Somebody takes the alert: a person's action, with its history row."""
    with database.begin() as uow:
        row = uow.connection.execute(select(alerts).where(alerts.c.alert_id == FIRST)).one()
        last = uow.connection.execute(
            select(history).where(history.c.object_id == FIRST).order_by(history.c.revision.desc()).limit(1)
        ).one()
        before = json.loads(last.body)["after"]
        after = {**before, "status": status.value}
        body = canonical_json({"before": before, "after": after})
        uow.connection.execute(update(alerts).values(status=status.value, action_version=1, revision=row.revision + 1))
        uow.connection.execute(
            insert(history).values(
                institution="main", object_kind="alert", object_id=FIRST, revision=row.revision + 1, at=uow.now,
                actor="ann", kind="taken", body=body, sha256=hashlib.sha256(body).hexdigest(),
            )
        )  # fmt: skip


def test_findings_of_one_subject_make_one_alert(database, clock):
    _, recomputed = put(database, finding("a"), finding("b", week=1, family=Family.LAYERING), finding("c", name="C2"))
    assert recomputed.raised == 2
    assert recomputed.opened == {("a", "high"): 1, ("c", "medium"): 1}
    alert = next(a for a in listed(database) if a.subject.id == "C1")
    assert (alert.alert_id, alert.points, alert.status) == (FIRST, 80, AlertStatus.NEW)
    assert (alert.raised_at, alert.crossed_at, len(alert.findings)) == (clock.now, T0, 2)
    assert (alert.action_version, alert.revision, alert.previous_alert_id) == (0, 1, None)


def test_findings_that_do_not_open_raise_nothing_but_add_points(database):
    put(database, finding("a", opens=False, points=200))
    assert listed(database) == []
    put(database, finding("b", family=Family.LAYERING))
    assert [a.points for a in listed(database)] == [240]


def test_a_new_finding_changes_the_alert_and_writes_a_row(database):
    put(database, finding("a"))
    put(database, finding("b", week=2, family=Family.LAYERING))
    assert [(a.points, a.revision, a.action_version) for a in listed(database)] == [(80, 2, 0)]
    assert kinds(database) == ["raised", "changed"]


def test_a_finding_that_adds_no_points_still_writes_a_row(database):
    put(database, finding("a"))
    put(database, finding("a", week=30))
    assert [(a.points, len(a.findings)) for a in listed(database)] == [(40, 2)]
    assert kinds(database) == ["raised", "changed"]


def test_the_parts_of_a_score_are_stored_with_the_scoring_in_force(database):
    put(database, finding("a", points=80), finding("b", points=40))
    with database.read() as connection:
        shown = show_alert(connection, FIRST)
    assert shown.scoring_sha256 == scoring().sha256
    assert score_lines(shown.parts, scoring())[-1].startswith("90 points = score 0.5294, high")


def test_recomputing_again_changes_nothing(database):
    put(database, finding("a"))
    with database.begin() as uow:
        again = uow.alerts.recompute([subject()], scoring())
    assert (again.raised, again.changed, again.withdrawn, again.woken) == (0, 0, 0, 0)


def test_an_untouched_alert_that_falls_below_withdraws_and_wakes_with_the_same_id(database, clock):
    put(database, finding("a"))
    raised_at = clock.now
    change(database, *withdraw(finding("a")))
    assert listed(database) == []
    assert [a.alert_id for a in listed(database, statuses=[AlertStatus.WITHDRAWN])] == [FIRST]
    clock.now += 1_000_000
    put(database, finding("a", week=3, points=80))
    assert [(a.alert_id, a.status, a.points, a.raised_at) for a in listed(database)] == [
        (FIRST, AlertStatus.NEW, 80, raised_at)
    ]
    assert kinds(database) == ["raised", "withdrawn", "woken"]


def test_a_withdrawn_alert_stays_so_while_nothing_opens(database):
    put(database, finding("a"))
    change(database, *withdraw(finding("a")))
    put(database, finding("b", opens=False))
    assert listed(database) == []
    assert kinds(database) == ["raised", "withdrawn"]


def test_an_alert_that_somebody_took_is_never_withdrawn(database):
    put(database, finding("a"))
    touch(database)
    change(database, *withdraw(finding("a")))
    assert [(a.status, a.points, a.action_version) for a in listed(database)] == [(AlertStatus.IN_REVIEW, 0, 1)]


def test_what_comes_after_closing_opens_the_next_alert_that_points_back(database):
    put(database, finding("a"))
    close(database)
    put(database, finding("b", week=1))
    by_id = {a.alert_id: a for a in listed(database)}
    assert set(by_id) == {FIRST, SECOND}
    assert (by_id[SECOND].previous_alert_id, by_id[SECOND].points) == (FIRST, 40)
    assert [f for f, _ in by_id[SECOND].findings] == [finding("b", week=1).finding_id]
    closed = by_id[FIRST]
    assert (closed.status, closed.disposition) == (AlertStatus.CLOSED, Disposition.FALSE_POSITIVE)
    assert (closed.action_version, closed.points) == (1, 40)


def test_closing_names_what_was_decided_by_whom_and_why(database):
    put(database, finding("a"), finding("b"))
    close(database)
    with database.read() as connection:
        row = show_alert(connection, FIRST).history[-1]
    assert (row["actor"], row["reason"], row["kind"]) == ("ann", "known landlord", "closed")
    assert row["decided"] == sorted([f.finding_id, 1] for f in (finding("a"), finding("b")))


def test_a_decided_week_that_changes_counts_whole_with_its_decided_legs_named(database):
    put(database, finding("a"))
    close(database)
    put(database, finding("a", transaction_ids=("T2", "T1", "T3")))
    with database.read() as connection:
        shown = show_alert(connection, SECOND)
    assert shown.alert.points == 40
    assert shown.findings[0][2].transaction_ids == ("T2", "T1", "T3")
    assert shown.decided == {"T1", "T2"}


def test_an_edit_of_a_rule_that_finds_the_same_leaves_the_decision(database):
    put(database, finding("a"))
    close(database)
    applied, _ = put(database, finding("a", rule_version=2, rule_sha256="1" * 64))
    assert applied.amended == 1
    assert [a.alert_id for a in listed(database)] == [FIRST]


def test_a_closed_alert_keeps_the_versions_it_decided(database):
    put(database, finding("a"))
    close(database)
    put(database, finding("a", points=80))
    with database.read() as connection:
        assert show_alert(connection, FIRST).findings[0][1:] == (1, finding("a"))


def test_supporting_findings_alone_open_nothing_after_closing(database):
    put(database, finding("a"))
    close(database)
    put(database, finding("b", opens=False, points=200))
    assert [a.alert_id for a in listed(database)] == [FIRST]


def test_closing_what_is_not_open_is_refused(database):
    put(database, finding("a"))
    close(database)
    with pytest.raises(AmlError, match="is closed already"):
        close(database)
    with pytest.raises(AmlError, match="there is none with this id"):
        close(database, "nothing")


def test_queues_have_alerts_of_their_own(database):
    config = parse_scoring(scoring().text + '\n[[queues.routes]]\nqueue = "cash"\nfamily = "structuring"\n')
    put(database, finding("a"), finding("b", family=Family.LAYERING), config=config)
    assert sorted((a.queue, a.points) for a in listed(database)) == [("cash", 40), ("main", 40)]


def test_a_finding_that_moves_to_another_queue_leaves_its_alert(database):
    put(database, finding("a"))
    config = parse_scoring(scoring().text + '\n[[queues.routes]]\nqueue = "cash"\nfamily = "structuring"\n')
    with database.begin() as uow:
        uow.alerts.recompute_all(config)
    assert [a.queue for a in listed(database)] == ["cash"]


def test_new_scoring_rescores_every_alert(database):
    put(database, finding("a"), finding("a", name="C2"))
    with database.begin() as uow:
        assert uow.alerts.recompute_all(scoring(half="40")).changed == 2
    assert [a.score for a in listed(database)] == [0.5, 0.5]


def open_another(database):
    with database.begin() as uow:
        row = uow.connection.execute(select(alerts)).mappings().one()
        uow.connection.execute(insert(alerts).values({**row, "alert_id": "another"}))


def test_the_database_refuses_a_second_open_alert(database):
    put(database, finding("a", name="connection does not exist"))
    with pytest.raises(IntegrityError):
        open_another(database)


@pytest.mark.parametrize("known", [False, True], ids=["new subjects", "known subjects"])
def test_two_writers_at_once_make_one_alert(database, known):
    """Whichever comes second waits for the subjects' locks and sees what the first one wrote."""
    names = [f"C{n}" for n in range(40)]
    if known:
        put(database, *(finding("z", name=name, opens=False, points=1) for name in names))
    ready = threading.Barrier(2)
    failures = []

    def write(rule):
        try:
            ready.wait(10)
            put(database, *(finding(rule, name=name) for name in names))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(rule,)) for rule in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [(a.points, len(a.findings)) for a in listed(database)] == [(50, 2 + known)] * 40
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(history)).scalar_one() == 80


def put_and_fail(database):
    with database.begin() as uow:
        applied = uow.findings.apply([FindingChange.upsert(finding())])
        uow.alerts.recompute(applied.subjects, scoring())
        raise RuntimeError


def test_a_failing_transaction_leaves_nothing(database):
    with pytest.raises(RuntimeError):
        put_and_fail(database)
    assert listed(database) == []


def test_lists_are_filtered_and_worst_first(database):
    put(
        database, finding("a"), finding("b", name="C2", points=80), finding("a", name="C3", points=120),
        finding("b", name="C3", points=40),
    )  # fmt: skip
    assert [a.subject.id for a in listed(database)] == ["C3", "C2", "C1"]
    assert [a.subject.id for a in listed(database, rule="b")] == ["C3", "C2"]
    assert [a.subject.id for a in listed(database, min_score=0.5)] == ["C3", "C2"]
    assert [a.subject.id for a in listed(database, subject="C1")] == ["C1"]
    assert [a.subject.id for a in listed(database, limit=1)] == ["C3"]
    close(database)
    assert [a.subject.id for a in listed(database, statuses=[AlertStatus.CLOSED])] == ["C1"]
    assert listed(database, institution="other") == []


def test_an_alert_is_found_by_the_beginning_of_its_id(database):
    put(database, *(finding(name=f"C{n}") for n in range(1, 30)))
    with database.read() as connection:
        assert find_alert(connection, FIRST[:13].upper()).alert_id == FIRST
        with pytest.raises(AmlError, match="several ids begin so"):
            find_alert(connection, "")
        with pytest.raises(AmlError, match="there is none"):
            find_alert(connection, "%")
