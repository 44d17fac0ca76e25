"""A generation of shards ends and the next begins in one transaction, whole or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from aml.domain.errors import StoreError
from aml.store.generations import Resizing, hold, let_go, resizing, succeed
from aml.store.outbox import unsent
from aml.store.stream import Segment, load_shards
from aml.store.stream_tables import outbox, stream_segments
from tests.store_factory import finding, put

SEGMENT = Segment("shard-1-000/segment.parquet", 0, "0" * 64, 1, 1, 0, 0)


def taken(database, shards):
    with database.begin() as uow:
        uow.stream.begin(shards)
    with database.begin() as uow:
        return [uow.stream.take_over(shard, "resize") for shard in range(shards)]


def state(database):
    with database.read() as connection:
        return resizing(connection, database.clock())


def test_new_shards_begin_above_all_epochs_with_their_own_archive(database):
    taken(database, 3)
    old = taken(database, 3)
    with database.begin() as uow:
        uow.stream.segments([Segment("shard-0-000/segment.parquet", 0, "1" * 64, 1, 1, 0, 9)])
        hold(uow.connection)
        succeed(uow.connection, old, 5, "rules", [SEGMENT], uow.now)
    with database.read() as connection:
        rows = load_shards(connection)
        segments = connection.execute(select(stream_segments.c.name)).scalars().all()
    assert [(row.shard, row.epoch, row.legs, row.records, row.generation) for row in rows] == [
        (shard, 2, 0, 0, 1) for shard in range(5)
    ]
    assert {row.state["in_force"] for row in rows} == {"rules"}
    assert segments == [SEGMENT.name]


def test_what_a_worker_took_meanwhile_is_left_as_it_is(database):
    old = taken(database, 2)
    with database.begin() as uow:
        moved = uow.stream.take_over(1, "worker")
    with pytest.raises(StoreError, match="a worker took a shard meanwhile"), database.begin() as uow:
        succeed(uow.connection, old, 5, "rules", [SEGMENT], uow.now)
    with database.read() as connection:
        assert load_shards(connection) == [old[0], moved]


def test_changes_of_alerts_are_told_by_the_shard_that_has_the_subject_now(database):
    old = taken(database, 7)
    put(database, *(finding("rule-a", f"C{n}", points=80) for n in range(12)))
    with database.begin() as uow:
        uow.connection.execute(update(outbox).where(outbox.c.outbox_id == 1).values(sent_at=uow.now))
        hold(uow.connection)
        succeed(uow.connection, old, 2, "rules", [], uow.now)
    with database.read() as connection:
        told = {row.alert_id: row.shard for row in unsent(connection, {0: 1, 1: 1})}
        late = connection.execute(select(outbox.c.shard).where(outbox.c.sent_at.is_not(None))).scalar()
    assert len(told) == 11
    assert set(told.values()) | {late} == {0, 1}
    put(database, *(finding("rule-a", f"C{n}", points=90) for n in range(12)))
    with database.read() as connection:
        again = {row.alert_id: row.shard for row in unsent(connection, {0: 1, 1: 1}, 100) if row.version == 2}
    assert {id_: again[id_] for id_ in told} == told


def test_workers_stay_away_until_the_topics_are_made(database):
    old = taken(database, 2)
    assert state(database) is None
    with database.begin() as uow:
        hold(uow.connection)
    assert state(database) == Resizing(None)
    with database.begin() as uow:
        succeed(uow.connection, old, 4, "rules", [], uow.now)
    assert state(database) == Resizing(4)
    with database.begin() as uow:
        let_go(uow.connection)
    assert state(database) is None
