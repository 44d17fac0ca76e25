"""Where a stream stands: one owner moves a shard, counts add up, numbers that never came are named."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import func, select

from aml.domain.errors import StoreError
from aml.store.database import open_database
from aml.store.sequences import BLOCK, load_sequences
from aml.store.stream import CountKey, Manifest, Move, ReusedId, SourceRow, TotalKey, load_shards
from aml.store.stream_tables import (
    stream_counts,
    stream_manifests,
    stream_reused,
    stream_sequences,
    stream_sources,
    stream_totals,
)


def begun(database, shards=3):
    with database.begin() as uow:
        return uow.stream.begin(shards)


def taken(database, owner, *shards):
    with database.begin() as uow:
        return [uow.stream.take_over(shard, owner) for shard in shards]


def move(row, legs=10, records=5, **given):
    return Move(row.shard, row.epoch, row.legs, row.legs + legs, row.records, row.records + records, {"n": 1}, **given)


def advanced(database, *moves):
    with database.begin() as uow:
        return uow.stream.advance(moves)


def test_a_database_without_a_stream_has_no_shards(database):
    with database.read() as connection:
        assert load_shards(connection) == []


def test_shards_begin_once_and_keep_their_number(database):
    assert [(row.shard, row.epoch, row.legs, row.records) for row in begun(database)] == [
        (0, 0, 0, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
    ]
    assert begun(database) == begun(database)
    with pytest.raises(StoreError, match="begun with 3 shards, the topics have 12"):
        begun(database, 12)


def test_who_takes_a_shard_over_reads_where_it_stands(database, clock):
    begun(database)
    (first,) = taken(database, "a", 1)
    assert (first.epoch, first.owner, first.state) == (1, "a", {})
    clock.now += 1
    assert advanced(database, move(first, archived_to=7)) == set()
    (second,) = taken(database, "b", 1)
    assert (second.epoch, second.legs, second.records, second.archived_to) == (2, 10, 5, 7)
    assert (second.owner, second.taken_at, second.state) == ("b", clock.now, {"n": 1})


def test_a_shard_that_is_none_cannot_be_taken(database):
    begun(database)
    with pytest.raises(StoreError, match="shard 3: the database has none"):
        taken(database, "a", 3)


def test_a_zombie_moves_nothing_and_the_others_go_on(database):
    begun(database)
    held = taken(database, "a", 0, 1, 2)
    taken(database, "b", 1)
    assert advanced(database, *(move(row) for row in reversed(held))) == {1}
    with database.read() as connection:
        assert [(row.legs, row.records) for row in load_shards(connection)] == [(10, 5), (0, 0), (10, 5)]


@pytest.mark.parametrize("moved", [{"legs": 1, "records": 0}, {"legs": 0, "records": 1}])
def test_a_step_stands_only_on_both_offsets_that_it_read(database, moved):
    begun(database)
    (row,) = taken(database, "a", 0)
    assert advanced(database, move(row, **moved)) == set()
    assert advanced(database, move(row)) == {0}


def test_an_archive_that_is_not_told_stays(database):
    begun(database)
    (row,) = taken(database, "a", 0)
    advanced(database, move(row, legs=0, records=0, archived_to=9))
    advanced(database, move(row))
    with database.read() as connection:
        assert load_shards(connection)[0].archived_to == 9


def test_a_restored_database_goes_above_every_epoch_that_was_seen(database):
    begun(database)
    (row,) = taken(database, "a", 0)
    with database.begin() as uow:
        assert uow.stream.seen_epoch(0, 41) == 42
        assert uow.stream.take_over(0, "a", seen=3).epoch == 43
    assert advanced(database, move(row)) == {0}


def counts(database):
    with database.read() as connection:
        c = stream_counts.c
        return {(row.shard, row.outcome): row.value for row in connection.execute(select(c.shard, c.outcome, c.value))}


def key(outcome, institution="main"):
    return CountKey("aml.transactions.v1", 0, institution, "core", "2026-03-02", outcome)


def test_counts_add_up_by_shard(database):
    with database.begin() as uow:
        uow.stream.count(0, {key("scored"): 5, key("consumed"): 7, key("late"): 0})
        uow.stream.count(1, {key("scored"): 1})
    with database.begin() as uow:
        uow.stream.count(0, {key("scored"): 2})
    assert counts(database) == {(0, "scored"): 7, (0, "consumed"): 7, (1, "scored"): 1}


def test_names_that_postgresql_cannot_hold_are_counted_too(database):
    with database.begin() as uow:
        uow.stream.count(0, {key("scored", "a\0"): 1, key("scored", "a\\0"): 1})
    assert counts(database) == {(0, "scored"): 2}


def test_totals_hold_sums_that_no_integer_holds(database):
    there = TotalKey("main", "core", "2026-03-02T14", "IDR")
    for _ in range(3):
        with database.begin() as uow:
            uow.stream.total(4, {there: (2, 9 * 10**18 + 999_999_999)})
    with database.read() as connection:
        (row,) = connection.execute(select(stream_totals)).all()
    assert (row.records, row.billions * 10**9 + row.units) == (6, 3 * (9 * 10**18 + 999_999_999))


def test_sources_keep_their_first_offset_and_latest_time(database):
    def source(first, next_, at, ended=False):
        return SourceRow("t", 0, first, next_, 4, at, ended, 0)

    with database.begin() as uow:
        uow.stream.sources([source(3, 9, 50)])
        uow.stream.sources([source(9, 9, 0, True)])
    with database.read() as connection:
        (row,) = connection.execute(select(stream_sources)).all()
    assert (row.first_offset, row.next_offset, row.reached_at, row.ended) == (3, 9, 50, True)


def test_reused_ids_are_named_once(database):
    found = [ReusedId("main", "T1", "t", 0, 5, 0, 1), ReusedId("main", "T1", "t", 0, 6, 0, 1)]
    with database.begin() as uow:
        assert uow.stream.reused(found) == 2
        assert uow.stream.reused(found[:1]) == 0
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(stream_reused)).scalar() == 2


def test_a_manifest_of_the_same_name_replaces_the_one_before(database):
    with database.begin() as uow:
        uow.stream.manifests([Manifest("main", "core", "h14", 5, {"USD": 100}), Manifest("main", "core", "h15", 1, {})])
        uow.stream.manifests([Manifest("main", "core", "h14", 6, {"USD": 120}, sha256="ab")])
    with database.read() as connection:
        rows = connection.execute(select(stream_manifests).order_by(stream_manifests.c.name)).all()
    assert [(row.name, row.records, row.sums, row.sha256) for row in rows] == [
        ("h14", 6, '{"USD":120}', "ab"),
        ("h15", 1, "{}", None),
    ]


def test_a_lease_has_one_holder_until_it_ends(database, clock):
    def lease(owner):
        with database.begin() as uow:
            return uow.stream.lease("worker", owner, 10)

    assert lease("a").owner == "a"
    clock.now += 9_000_000
    assert lease("b") == lease("b")
    assert lease("b").owner == "a"
    assert lease("a").until == clock.now + 10_000_000
    clock.now += 10_000_000
    assert lease("b").owner == "b"
    with database.begin() as uow:
        uow.stream.release("worker", "a")
        assert uow.stream.lease("worker", "a", 10).owner == "b"
        uow.stream.release("worker", "b")
        assert uow.stream.lease("worker", "a", 10).owner == "a"


def note(database, shard, numbers, source="core"):
    with database.begin() as uow:
        uow.stream.sequences(shard, {("main", source): np.asarray(numbers, np.int64)})


def sequence(database):
    with database.read() as connection:
        (found,) = load_sequences(connection)
    return found


def test_numbers_of_several_shards_close_each_others_gaps(database):
    note(database, 0, [5, 1, 5, 9])
    note(database, 1, [3, 4])
    assert (sequence(database).missing, sequence(database).gaps) == (4, ((2, 2), (6, 8)))
    note(database, 1, [7])
    note(database, 0, [2])
    found = sequence(database)
    assert (found.first, found.last, found.missing, found.gaps) == (1, 9, 2, ((6, 6), (8, 8)))


def test_full_blocks_take_one_row_together_and_stay_whole(database):
    for shard in range(2):
        note(database, shard, np.arange(-BLOCK, 3 * BLOCK - 1)[shard::2])
    with database.begin() as uow:
        assert uow.stream.fold_sequences() == 6 - 1
        assert uow.stream.fold_sequences() == 0
    note(database, 0, [1])  # came twice, folded already
    found = sequence(database)
    assert (found.first, found.last, found.missing) == (-BLOCK, 3 * BLOCK - 2, 0)
    note(database, 1, [3 * BLOCK - 1])
    with database.begin() as uow:
        uow.stream.fold_sequences()
    with database.read() as connection:
        (row,) = connection.execute(select(stream_sequences)).all()
    assert (row.shard, row.block, row.blocks, bytes(row.seen)) == (-1, -1, 4, b"")


def test_a_zombie_waits_for_the_owner_and_then_fails(postgres_url):
    """The new owner holds the row; the zombie's step waits for the commit and finds another epoch."""
    database = open_database(postgres_url)
    begun(database)
    held = taken(database, "a", 0, 1)
    failed: list[set[int]] = []
    zombie = threading.Thread(target=lambda: failed.append(advanced(database, *(move(row) for row in held))))
    with database.begin() as uow:
        uow.stream.take_over(0, "b")
        zombie.start()
        zombie.join(0.3)
        assert zombie.is_alive()
    zombie.join(30)
    assert failed == [{0}]
    database.close()


def test_steps_of_many_owners_never_deadlock(postgres_url):
    database = open_database(postgres_url)
    begun(database, 8)
    rounds, failures = 40, []

    def work(number):
        rng = np.random.default_rng(number)
        for _ in range(rounds):
            mine = rng.permutation(8)[:5].tolist()
            try:
                rows = taken(database, f"w{number}", *sorted(mine))
                advanced(database, *(move(row, 1, 1) for row in sorted(rows, key=lambda row: mine.index(row.shard))))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with database.read() as connection:
        rows = load_shards(connection)
    assert sum(row.epoch for row in rows) == 3 * rounds * 5
    assert all(0 < row.legs == row.records <= row.epoch for row in rows)
    database.close()
