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


class Disk:
    """A disk that takes nothing of certain names while it is full, under one shard and its snapshots."""

    def __init__(self, hosted, monkeypatch):
        self.full, self.name, self.now, self.told = True, "", 0.0, []
        self.snapshots = Snapshots(
            hosted.database.database_id, lambda size, seconds: self.told.append(size), lambda: self.now, every=1.0
        )
        self.held = {0: hosted.shards[0]}
        self._fsync = files.os.fsync
        monkeypatch.setattr(files.os, "fsync", self._write)
        self.snapshots.turn(self.held)

    def _write(self, handle):
        if self.full and self.name in str(files.os.readlink(f"/proc/self/fd/{handle}")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._fsync(handle)

    def turn(self, seconds):
        """So much later a snapshot may be taken, and is waited for."""
        self.now += seconds
        self.snapshots.turn(self.held)
        if self.snapshots._going is not None:
            self.snapshots._going.future.exception(30)
        self.snapshots.turn(self.held)


@pytest.fixture
def disk(hosted, monkeypatch):
    made = Disk(hosted, monkeypatch)
    yield made
    made.snapshots.close()


@pytest.mark.parametrize("name", ["segment-", "draft-"])
def test_a_full_disk_costs_a_snapshot_and_one_line(hosted, disk, tmp_path, caplog, name):
    disk.name = name
    with caplog.at_level(logging.INFO):
        hosted.take(payments(0, 50), 10)
        disk.turn(2)
        for n in range(1, 20):  # goes on, and asks no sooner than in a minute
            hosted.take(payments(50 * n, 50), 10)
            disk.turn(1)
    lines = [record.getMessage() for record in caplog.records if "snapshot" in record.getMessage()]
    assert len(lines) == 1 and "No space left" in lines[0] and "AML_STATE" in lines[0]
    assert disk.told == [] and hosted.shards[0].kept == []
    assert hosted.shards[0].records.held == 1_000
    assert list(tmp_path.rglob("*.part")) == []
    disk.full = False
    disk.turn(LATER)
    assert len(disk.told) == 1
    assert [segment.rows for segment in hosted.shards[0].kept] == [1_000]


def test_a_full_disk_costs_no_more_where_no_record_came_since(hosted, disk, caplog):
    for seconds in (2, LATER, LATER):
        hosted.take([], 1)  # heads only: nothing to archive, but the shard stands elsewhere
        disk.turn(seconds)
    assert sum("no snapshot" in record.getMessage() for record in caplog.records) == 3
    disk.full = False
    hosted.take(payments(0, 10), 10)
    disk.turn(LATER)
    assert len(disk.told) == 1 and [segment.rows for segment in hosted.shards[0].kept] == [10]
