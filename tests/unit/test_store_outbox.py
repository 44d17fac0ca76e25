"""Each change of an alert is told once per version, in its own transaction, and only where there is a stream."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from aml.domain.alert import Disposition
from aml.domain.finding import FindingChange
from aml.store.outbox import count_unsent, owned, unsent
from aml.store.queries import list_alerts
from aml.store.stream_tables import outbox
from tests.store_factory import T0, change, finding, put, scoring


def begun(database, shards=3):
    with database.begin() as uow:
        uow.stream.begin(shards)
        return {shard: uow.stream.take_over(shard, "a").epoch for shard in range(shards)}


def told(database):
    with database.read() as connection:
        return [
            json.loads(body)
            for body in connection.execute(select(outbox.c.body).order_by(outbox.c.outbox_id)).scalars()
        ]


def test_without_a_stream_nobody_is_told(database):
    put(database, finding())
    assert told(database) == []


def test_an_alert_is_told_as_it_was_raised(database, clock):
    begun(database)
    put(database, finding("rule-a", points=30), finding("rule-b", points=80))
    (message,) = told(database)
    with database.read() as connection:
        (alert,) = list_alerts(connection)
    assert message == {
        "alert_id": alert.alert_id,
        "version": 1,
        "institution": "main",
        "subject_kind": "customer",
        "subject_id": "C1",
        "status": "new",
        "score": alert.score,
        "band": alert.band.value,
        "rules": ["rule-b", "rule-a"],
        "raised_at": "2023-11-14T22:13:20Z",
        "crossed_at": "2024-01-01T09:06:40Z",
        "updated_at": "2023-11-14T22:13:20Z",
    }
    assert alert.crossed_at == T0


def test_every_change_is_told_with_its_version_and_never_what_was_decided(database):
    begun(database)
    put(database, finding())
    put(database, finding(points=80))
    with database.read() as connection:
        (alert,) = list_alerts(connection)
    with database.begin() as uow:
        uow.alerts.close(alert.alert_id, Disposition.REPORTED, "reason", "ann")
    messages = told(database)
    assert [(m["version"], m["status"], m["rules"]) for m in messages] == [
        (1, "new", ["rule-a"]),
        (2, "new", ["rule-a"]),
        (3, "closed", ["rule-a"]),
    ]
    assert messages[1]["score"] > messages[0]["score"]
    assert "reported" not in json.dumps(messages)


def test_a_withdrawn_alert_is_told_without_rules(database):
    begun(database)
    put(database, finding())
    change(database, FindingChange.withdraw(finding().finding_id))
    assert [(m["status"], m["rules"]) for m in told(database)] == [("new", ["rule-a"]), ("withdrawn", [])]


def test_a_change_that_is_not_committed_is_not_told(database):
    begun(database)

    def fails():
        with database.begin() as uow:
            uow.alerts.recompute(uow.findings.apply([FindingChange.upsert(finding())]).subjects, scoring())
            assert count_unsent(uow.connection) == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert told(database) == []


def test_all_changes_of_an_alert_belong_to_one_shard_and_to_its_owner(database):
    epochs = begun(database)
    for points in (40, 80):
        put(database, *(finding(name=f"C{n}", points=points) for n in range(20)))
    with database.read() as connection:
        rows = unsent(connection, epochs)
        assert len(rows) == 40 == count_unsent(connection)
        assert [row.outbox_id for row in rows] == sorted(row.outbox_id for row in rows)
        shards = {(row.alert_id, row.shard) for row in rows}
        assert len(shards) == 20 and {shard for _, shard in shards} == {0, 1, 2}
        of_one = unsent(connection, {1: epochs[1]})
        assert of_one == [row for row in rows if row.shard == 1]
        assert count_unsent(connection, [1]) == len(of_one)
        assert unsent(connection, epochs, limit=3) == rows[:3]
    with database.begin() as uow:
        uow.stream.take_over(1, "b")
    with database.read() as connection:
        assert owned(connection, epochs) == [0, 2]
        assert unsent(connection, epochs) == [row for row in rows if row.shard != 1]


def test_what_was_told_is_told_again_only_in_its_newest_version(database, clock):
    epochs = begun(database)
    for points in (40, 80):
        put(database, finding(points=points), finding(name="C2", points=points))
    with database.begin() as uow:
        rows = unsent(uow.connection, epochs)
        uow.outbox.sent(rows)
        assert unsent(uow.connection, epochs) == []
        uow.outbox.again([rows[0].alert_id])
        assert [(row.alert_id, row.version) for row in unsent(uow.connection, epochs)] == [(rows[0].alert_id, 2)]
        uow.outbox.again_since(epochs, clock.now + 1)
        assert len(unsent(uow.connection, epochs)) == 1
        uow.outbox.again_since(epochs, clock.now)
        assert [row.version for row in unsent(uow.connection, epochs)] == [2, 2]


def test_only_what_was_told_long_ago_is_forgotten(database, clock):
    epochs = begun(database)
    put(database, finding(), finding(name="C2"))
    with database.begin() as uow:
        uow.outbox.sent(unsent(uow.connection, epochs)[:1])
        assert uow.outbox.purge(clock.now) == 0
        assert uow.outbox.purge(clock.now + 1) == 1
        assert count_unsent(uow.connection) == 1
