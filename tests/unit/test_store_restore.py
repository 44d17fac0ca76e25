"""A database that is restored takes up where it stood, above every epoch that anybody has seen."""

from __future__ import annotations

import sqlite3

from aml.store.completeness import load_counts
from aml.store.database import open_database
from aml.store.outbox import unsent
from aml.store.stream import CountKey, Move, load_shards
from tests.store_factory import finding, put

KEY = CountKey("t", 0, "main", "core", "2026-03-02", "scored")


def step(database, row, to):
    """Move a shard to an offset, counting what it passes; returns whether it stood."""
    with database.begin() as uow:
        if uow.stream.advance([Move(row.shard, row.epoch, row.legs, to, 0, 0, {})]):
            return False
        uow.stream.count(row.shard, {KEY: to - row.legs})
    return True


def test_a_restored_copy_goes_on_from_its_own_offsets_and_fences_all_former_owners(tmp_path):
    """The copy is older: what came after it is read again from the topic, and counted once."""
    database = open_database(f"sqlite:///{tmp_path / 'aml.db'}")
    with database.begin() as uow:
        uow.stream.begin(1)
        before = uow.stream.take_over(0, "a")
    put(database, finding())
    assert step(database, before, 10)
    with sqlite3.connect(tmp_path / "aml.db") as source, sqlite3.connect(tmp_path / "copy.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    # Life goes on: a takeover and ten more offsets that the copy knows nothing of.
    with database.begin() as uow:
        after = uow.stream.take_over(0, "b")
    assert step(database, after, 20)
    database.close()

    restored = open_database(f"sqlite:///{tmp_path / 'copy.db'}")
    with restored.begin() as uow:
        row = uow.stream.take_over(0, "c", seen=after.epoch)
    assert (row.legs, row.epoch) == (10, after.epoch + 1)
    # Neither of those who owned the shard before can write, though one of them fits the copy's offsets.
    with restored.read() as connection:
        (stored,) = load_shards(connection)
    for former in (before, after):
        moved = Move(0, former.epoch, stored.legs, 99, 0, 0, {})
        with restored.begin() as uow:
            assert uow.stream.advance([moved]) == {0}
    assert step(restored, row, 20)
    with restored.read() as connection:
        assert [counted.tally.scored for counted in load_counts(connection)] == [20]
        assert [told.version for told in unsent(connection, {0: row.epoch})] == [1]
    restored.close()
