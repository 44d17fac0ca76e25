"""A long feed: what is settled leaves memory, and no answer changes by it."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from aml.pipeline.detection import Detection
from tests.flow_factory import DAY, current, exported, invented, run, url

ROOT = Path(__file__).parents[2]
PARTS = 8
LATE = 6 * DAY


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A year of a small bank in one file and in eight, some records in a later one than they belong in; and the
    database of the one."""
    folder = tmp_path_factory.mktemp("long")
    bank = invented(9_000, days=365, seed=11, attempts=70)
    bank.parties.write_csv(folder / "parties.csv")
    bank.transactions.write_parquet(folder / "feed.parquet")
    chance = random.Random(5)
    at = bank.transactions["executed_at"].dt.epoch("us")
    comes = at + pl.Series([chance.choice((0, 0, 0, LATE)) for _ in range(len(at))])
    cuts = [int(comes.quantile(k / PARTS)) for k in range(1, PARTS)]
    number = sum(((comes > cut).cast(pl.Int32) for cut in cuts), start=pl.zeros(len(at), pl.Int32, eager=True))
    files = []
    for part in range(PARTS):
        files.append(folder / f"part-{part}.parquet")
        bank.transactions.filter(number == part).write_parquet(files[-1])
    db = url(folder)
    run(db, folder / "feed.parquet", parties=folder / "parties.csv")
    return SimpleNamespace(feed=folder / "feed.parquet", files=files, parties=folder / "parties.csv", db=db)


@pytest.fixture
def often(monkeypatch):
    """Small batches, and a checkpoint as often as is asked for."""
    monkeypatch.setattr("aml.pipeline.feeds.BATCH", 500)
    monkeypatch.setattr("aml.pipeline.embedded.SPARE", 0)


@pytest.fixture
def dropped(monkeypatch):
    """How many legs went, each time that any might."""
    told: list[int] = []
    evict = Detection.evict

    def spied(self, marks):
        told.append(evict(self, marks))
        return told[-1]

    monkeypatch.setattr(Detection, "evict", spied)
    return told


def test_run_after_run(world, tmp_path, dropped):
    for file in world.files:
        run(url(tmp_path), file, parties=world.parties)
    assert len([legs for legs in dropped if legs > 0]) > 1
    assert current(url(tmp_path)) == current(world.db)
    assert exported(url(tmp_path)) == exported(world.db)
    assert run(url(tmp_path), *world.files, parties=world.parties).scored == 0
    assert current(url(tmp_path)) == current(world.db)


def test_within_one_run(world, tmp_path, dropped, often):
    run(url(tmp_path), world.feed, parties=world.parties, checkpoint_rows=1_000)
    assert sum(dropped) > 0
    assert current(url(tmp_path)) == current(world.db)
    assert exported(url(tmp_path)) == exported(world.db)


def test_scores_of_the_whole_run_need_all_of_it(world, tmp_path, dropped, often):
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    run(url(tmp_path, "whole.db"), world.feed, parties=world.parties, scores_out=whole)
    run(url(tmp_path), world.feed, parties=world.parties, scores_out=parts, checkpoint_rows=1_000)
    assert dropped == []
    assert pl.read_parquet(whole).equals(pl.read_parquet(parts))
    assert pl.read_parquet(whole)["rules"].list.len().sum() > 0


def test_a_changed_scoring_judges_anew_what_had_left_memory(world, tmp_path, dropped, monkeypatch):
    shutil.copytree(ROOT / "rules", tmp_path / "content" / "rules")
    monkeypatch.setenv("AML_CONTENT", str(tmp_path / "content"))
    for file in world.files:
        run(url(tmp_path), file, parties=world.parties)
    assert sum(dropped) > 0
    scoring = tmp_path / "content" / "rules" / "scoring.toml"
    text, times = re.subn(r"others_divisor( *)= 4", r"others_divisor\1= 2", scoring.read_text())
    assert times == 1
    scoring.write_text(text)
    run(url(tmp_path), world.files[-1])
    run(url(tmp_path, "fresh.db"), world.feed, parties=world.parties)
    assert current(url(tmp_path)) == current(url(tmp_path, "fresh.db"))
    assert exported(url(tmp_path)) == exported(url(tmp_path, "fresh.db")) != exported(world.db)
