"""A full disk costs snapshots, one line each, and nothing else; once there is space they come again."""

from __future__ import annotations

import errno
import json
import logging
import time

import pytest

from aml.pipeline.inforce import load_judgement
from aml.store import files
from aml.store.database import open_database
from aml.stream.snapshots import LATER, Snapshots
from tests.stream_host import Hosted


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def payments(first, n):
    return [
        json.dumps({
            "transaction_id": f"T{number}", "executed_at": "2026-03-02T10:00:00Z", "amount": "12.50",
            "currency": "USD", "originator_account": f"A{number % 7}", "beneficiary_account": "B",
        }).encode()
        for number in range(first, first + n)
    ]  # fmt: skip


@pytest.fixture
def hosted(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/aml.db")
    yield Hosted(load_judgement("us", None), database, tmp_path / "state", 1, None, time.time_ns() // 1000)
    database.close()


@pytest.mark.parametrize("name", ["segment-", "draft-"])
def test_a_full_disk_costs_a_snapshot_and_one_line(hosted, tmp_path, monkeypatch, caplog, name):
    clock, told = Clock(), []
    snapshots = Snapshots(hosted.database.database_id, lambda size, seconds: told.append(size), clock, every=1.0)
    held = {0: hosted.shards[0]}
    full = True
    fsync = files.os.fsync

    def no_space(handle):
        if full and name in str(files.os.readlink(f"/proc/self/fd/{handle}")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(handle)

    monkeypatch.setattr(files.os, "fsync", no_space)

    def turn(seconds):
        clock.now += seconds
        snapshots.turn(held)
        if snapshots._going is not None:
            snapshots._going.future.exception(30)
        snapshots.turn(held)

    snapshots.turn(held)
    with caplog.at_level(logging.INFO):
        hosted.take(payments(0, 50), 10)
        turn(2)
        for n in range(1, 20):  # goes on, and asks no sooner than in a minute
            hosted.take(payments(50 * n, 50), 10)
            turn(1)
    lines = [record.getMessage() for record in caplog.records if "snapshot" in record.getMessage()]
    assert len(lines) == 1 and "No space left" in lines[0] and "AML_STATE" in lines[0]
    assert told == [] and hosted.shards[0].kept == []
    assert hosted.shards[0].records.held == 1_000
    assert list(tmp_path.rglob("*.part")) == []
    full = False
    turn(LATER)
    assert len(told) == 1
    assert [segment.rows for segment in hosted.shards[0].kept] == [1_000]
    snapshots.close()


def test_a_full_disk_costs_no_more_where_no_record_came_since(hosted, tmp_path, monkeypatch, caplog):
    clock, told = Clock(), []
    snapshots = Snapshots(hosted.database.database_id, lambda size, seconds: told.append(size), clock, every=1.0)
    held = {0: hosted.shards[0]}
    full = True
    fsync = files.os.fsync

    def no_space(handle):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return fsync(handle)

    def turn(seconds):
        clock.now += seconds
        snapshots.turn(held)
        if snapshots._going is not None:
            snapshots._going.future.exception(30)
        snapshots.turn(held)

    monkeypatch.setattr(files.os, "fsync", no_space)
    snapshots.turn(held)
    for seconds in (2, LATER, LATER):
        hosted.take([], 1)  # heads only: nothing to archive, but the shard stands elsewhere
        turn(seconds)
    assert sum("no snapshot" in record.getMessage() for record in caplog.records) == 3
    full = False
    hosted.take(payments(0, 10), 10)
    turn(LATER)
    assert len(told) == 1 and [segment.rows for segment in hosted.shards[0].kept] == [10]
    snapshots.close()
