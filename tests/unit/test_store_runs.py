"""Runs with what was in force, checkpoints with their files, progress, totals and dead letters."""

from __future__ import annotations

import dataclasses

from aml.store.dead_letters import DeadLetter, count_dead_letters, list_dead_letters, load_dead_letter
from aml.store.runs import (
    InForce,
    Progress,
    RunState,
    StateFile,
    last_run,
    latest_checkpoint,
    load_counters,
    load_progress,
    load_text,
)

RULE = InForce("rule", "structuring-kept-under", 3, 'id = "structuring-kept-under"\n')


def start(database):
    with database.begin() as uow:
        return uow.runs.start("1.0", {"profile": "us"}, ["a.csv"], [RULE])


def test_a_run_keeps_what_was_in_force_word_for_word(database, clock):
    run_id = start(database)
    clock.now += 5
    with database.begin() as uow:
        uow.runs.end(run_id, RunState.FINISHED, {"read": 10})
    with database.read() as connection:
        run = last_run(connection)
        assert load_text(connection, RULE.sha256) == RULE
        assert load_text(connection, "0" * 64) is None
    assert (run["state"], run["ended_at"] - run["started_at"], run["counts"]) == ("finished", 5, {"read": 10})
    assert (run["settings"], run["feeds"]) == ({"profile": "us"}, ["a.csv"])
    assert run["in_force"] == [{"kind": "rule", "name": "structuring-kept-under", "version": 3, "sha256": RULE.sha256}]


def test_a_run_that_died_is_marked_when_the_next_begins(database):
    first, second = start(database), start(database)
    assert second > first
    with database.begin() as uow:
        uow.runs.count(second, {"read": 1})
        uow.runs.end(second, RunState.FINISHED, {"read": 2})
    with database.read() as connection:
        states = connection.exec_driver_sql("SELECT state FROM runs ORDER BY run_id").scalars().all()
    assert states == ["interrupted", "finished"]


def test_a_checkpoint_names_the_files_that_stand(database):
    run_id = start(database)
    snapshots = [StateFile(f"snapshot-{n}", "snapshot", str(n) * 64, 100, 7) for n in (1, 2)]
    segments = [StateFile(f"segment-{n}", "segment", str(n) * 64, 100, 7) for n in (1, 2)]
    with database.begin() as uow:
        uow.runs.checkpoint(run_id, added=[snapshots[0], segments[0]], body={"rows": 7})
    with database.begin() as uow:
        second = uow.runs.checkpoint(run_id, added=[snapshots[1], segments[1]], retired=["snapshot-1"])
    with database.read() as connection:
        checkpoint = latest_checkpoint(connection)
    assert (checkpoint.checkpoint_id, checkpoint.run_id, checkpoint.body) == (second, run_id, {})
    assert checkpoint.files == (segments[0], segments[1], snapshots[1])


def test_a_file_that_was_retired_may_come_back(database):
    run_id = start(database)
    file = StateFile("older-1", "older", "1" * 64, 100, 7)
    again = dataclasses.replace(file, sha256="2" * 64)
    with database.begin() as uow:
        uow.runs.checkpoint(run_id, added=[file])
        uow.runs.checkpoint(run_id, retired=["older-1"])
        uow.runs.checkpoint(run_id, added=[again])
    with database.read() as connection:
        assert latest_checkpoint(connection).files == (again,)


def test_a_new_database_has_no_checkpoint_and_no_run(database):
    with database.read() as connection:
        assert latest_checkpoint(connection) is None
        assert last_run(connection) is None


def test_progress_and_totals_are_set_anew(database):
    run_id = start(database)
    for records in (5, 9):
        reached = [Progress("main", "embedded", records * 10, (records, 1), records)]
        with database.begin() as uow:
            uow.runs.checkpoint(run_id, progressed=reached)
            uow.runs.set_counters("main", {"warning.country": records, "late": 0})
    with database.read() as connection:
        assert load_progress(connection) == reached
        assert load_counters(connection) == {("main", "late"): 0, ("main", "warning.country"): 9}


def letter(place=1, original=b'{"amount": -1}', **given):
    return DeadLetter("main", given.get("source", "a.ndjson"), place, "negative_amount", "amount is -1", original)


def test_a_dead_letter_is_kept_once_per_place_and_content(database, clock):
    first_seen = clock.now
    with database.begin() as uow:
        assert uow.dead_letters.add([letter(), letter(2), letter(2)]) == 2
    clock.now += 5
    with database.begin() as uow:
        assert uow.dead_letters.add([letter(), letter(1, b"other"), letter(source="b.ndjson")]) == 2
    with database.read() as connection:
        listed = list_dead_letters(connection)
        assert [row.first_seen_at - first_seen for row in listed] == [5, 5, 0, 0]
        assert count_dead_letters(connection) == {"negative_amount": 4}
        assert len(list_dead_letters(connection, code="other")) == 0
        assert load_dead_letter(connection, listed[-1].dead_letter_id).original == b'{"amount": -1}'
        assert load_dead_letter(connection, 0) is None


def test_original_bytes_come_back_whatever_they_are(database):
    anything = bytes(range(256))
    with database.begin() as uow:
        uow.dead_letters.add([dataclasses.replace(letter(original=anything), detail="amount is \0")])
    with database.read() as connection:
        found = load_dead_letter(connection, list_dead_letters(connection)[0].dead_letter_id)
    assert (found.original, found.detail) == (anything, "amount is \\0")
