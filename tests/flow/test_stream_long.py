"""A long stream: what is settled leaves the shards' memory, and no answer changes by it."""

from __future__ import annotations

import time

import pytest

from aml.feed.parties import read_parties
from aml.pipeline.inforce import load_judgement
from aml.store.database import open_database
from aml.stream.core import Core
from tests.flow_factory import invented, run, url
from tests.service import found
from tests.stream_host import Hosted

SHARDS = 3


@pytest.fixture
def dropped(monkeypatch):
    """How many transactions went, each time that any did."""
    told: list[int] = []
    forget = Core.forget

    def spied(self, marks):
        before = self.engine.transactions.n
        went = forget(self, marks)
        if went:
            told.append(before - self.engine.transactions.n)
        return went

    monkeypatch.setattr(Core, "forget", spied)
    return told


def test_a_year_in_shards_gives_what_one_run_gives(tmp_path, dropped):
    bank = invented(12_000, days=365, seed=11, attempts=70)
    bank.parties.write_csv(tmp_path / "parties.csv")
    bank.transactions.write_ndjson(tmp_path / "feed.ndjson")
    db = url(tmp_path)
    run(db, tmp_path / "feed.ndjson", parties=tmp_path / "parties.csv")
    judgement = load_judgement("us", None)
    parties = read_parties(tmp_path / "parties.csv", "main", judgement.compiled.profile.currency)
    streamed = f"sqlite:///{tmp_path}/stream.db"
    database = open_database(streamed)
    hosted = Hosted(judgement, database, tmp_path / "shards", SHARDS, parties, time.time_ns() // 1000)
    lines = (tmp_path / "feed.ndjson").read_bytes().splitlines()
    for n in range(0, len(lines), 200):
        hosted.take(lines[n : n + 200], 50)
    hosted.rest()
    database.close()
    (findings, alerts, evidence), (ours, told, held) = found(db), found(streamed)
    assert len(findings) > 200
    assert ours.keys() == findings.keys()
    assert {id_: (ours[id_], one) for id_, one in findings.items() if ours[id_] != one} == {}
    assert told == alerts
    assert evidence <= held
    assert len(dropped) > 2 * SHARDS
    visited = sum(shard.core.engine.transactions.count for shard in hosted.shards)
    left = sum(shard.core.engine.transactions.n for shard in hosted.shards)
    assert left < 0.75 * visited
    assert all(len(shard.told) <= shard.core.engine.transactions.n for shard in hosted.shards)
