"""Ids that stand twice are found across shards: in what these archived, by `aml reconcile`."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import numpy as np
import pytest

from aml.domain.errors import AmlError
from aml.pipeline.inforce import load_judgement
from aml.store import reused
from aml.store.completeness import load_reused
from aml.store.database import open_database
from aml.store.reused import find_reused
from aml.stream.frozen import adopt, freeze
from aml.stream.reconcile import reconcile
from tests.stream_host import Hosted

SHARDS = 5


def payment(number: str, account: str, **more) -> bytes:
    told = {
        "transaction_id": number, "executed_at": "2026-03-02T10:00:00Z", "amount": "12.50", "currency": "USD",
        "originator_account": account, "beneficiary_account": "B1", **more,
    }  # fmt: skip
    return json.dumps(told).encode()


@pytest.fixture
def hosted(tmp_path):
    database = open_database(f"sqlite:///{tmp_path}/aml.db")
    yield Hosted(load_judgement("us", None), database, tmp_path, SHARDS, None, time.time_ns() // 1000)
    database.close()


def archive(hosted):
    """Have every shard write what it accepted, and the database know it."""
    for shard in hosted.shards:
        adopt(shard, freeze(shard).write(hosted.database.database_id))
    hosted.take([], 1)
    hosted.rest()


def compared(hosted, folder):
    with hosted.database.read() as connection:
        return find_reused(connection, folder, hosted.database.clock())


def accounts_of_different_shards(hosted):
    """Two accounts whose payments have their homes in different shards."""
    hosted.take([payment(f"probe-{n}", f"A{n}") for n in range(12)], 12)
    hosted.rest()
    home = {}
    for shard in hosted.shards:
        held = shard.records.take(np.arange(shard.records.rows))
        home |= dict.fromkeys(held.get_column("originator_account").to_list() if held.height else [], shard)
    first = next(iter(home))
    return first, next(account for account, shard in home.items() if shard is not home[first])


def test_an_id_under_another_account_on_another_shard_is_named(hosted, tmp_path, monkeypatch):
    one, other = accounts_of_different_shards(hosted)
    hosted.take([payment("T1", one)], 1)
    hosted.take([payment("T1", one)], 1)  # sent again: a duplicate
    hosted.take([payment("T2", one), payment("T2", one, revision=2, amount="13.00")], 2)
    hosted.take([payment("T3", one), json.dumps({"transaction_id": "T3", "void": True}).encode()], 2)
    hosted.rest()
    archive(hosted)
    assert compared(hosted, tmp_path).reused == []
    again = hosted.sent
    hosted.take([payment("T1", other)], 1)
    hosted.rest()
    archive(hosted)
    for at_once in (reused.AT_ONCE, 3):
        monkeypatch.setattr(reused, "AT_ONCE", at_once)
        done = compared(hosted, tmp_path)
        assert [(r.institution, r.transaction_id, r.offset, r.element) for r in done.reused] == [
            ("main", "T1", again, 0)
        ]
        assert done.missing == 0


def test_reconcile_names_it_once_and_says_what_it_could_not_look_at(hosted, tmp_path):
    one, other = accounts_of_different_shards(hosted)
    hosted.take([payment("T1", one), payment("T1", other)], 2)
    hosted.rest()
    archive(hosted)

    @contextmanager
    def away():
        raise AmlError("no broker")
        yield

    def report(folder):
        return reconcile(hosted.database, away, [], ("legs", "records"), lambda m: 1, None, folder)

    for _ in range(2):
        told = report(tmp_path)
        assert told.reused == 1 and told.reused_shown[0]["transaction_id"] == "T1"
        assert any("under another first account" in line for line in told.alarms)
    with hosted.database.read() as connection:
        assert len(load_reused(connection, 10)) == 1
    told = report(tmp_path / "elsewhere")
    assert any("are not under" in line for line in told.alarms)
