"""PostgreSQL is SQLite to a run: the same alerts, the same promises."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import text

from aml.domain.errors import STORE, AmlError
from aml.store.database import open_database
from tests.flow_factory import exported, invented, run, url


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small bank as files, and what SQLite holds of it."""
    folder = tmp_path_factory.mktemp("world")
    bank = invented(3_000, days=40, seed=9, attempts=25)
    at, middle = bank.transactions["executed_at"], bank.transactions["executed_at"].median()
    bank.transactions.filter(at < middle).write_parquet(folder / "a.parquet")
    bank.transactions.filter(at >= middle).write_parquet(folder / "b.parquet")
    bank.parties.write_csv(folder / "parties.csv")
    summary = run(url(folder), folder / "a.parquet", folder / "b.parquet", parties=folder / "parties.csv")
    return SimpleNamespace(
        first=folder / "a.parquet", second=folder / "b.parquet", parties=folder / "parties.csv",
        alerts=exported(url(folder)), summary=summary,
    )  # fmt: skip


@pytest.fixture
def db(postgres_url, tmp_path, monkeypatch):
    """A new PostgreSQL database, and a place for the state of servers."""
    monkeypatch.setenv("AML_STATE", str(tmp_path / "state"))
    return postgres_url


def test_the_same_alerts_in_two_runs(world, db, tmp_path):
    run(db, world.first, parties=world.parties)
    told = run(db, world.second, parties=world.parties, checkpoint_rows=1)
    assert exported(db) == world.alerts
    whole = world.summary
    assert (told.findings, told.alerts, told.near_misses) == (whole.findings, whole.alerts, whole.near_misses)
    (folder,) = (tmp_path / "state").iterdir()
    database = open_database(db)
    assert folder.name == database.database_id
    with database.read() as connection:
        named = set(connection.execute(text("SELECT name FROM state_files WHERE retired_by IS NULL")).scalars())
    database.close()
    assert {path.name for path in folder.iterdir()} == named | {"owner.json"}


def test_the_same_feed_again_changes_nothing(world, db):
    run(db, world.first, world.second, parties=world.parties)
    before = exported(db, whole=True)
    again = run(db, world.second, world.first, parties=world.parties)
    assert (again.scored, again.alerts) == (0, len(before))
    assert exported(db, whole=True) == before


def test_a_second_run_is_refused(world, db):
    database = open_database(db)
    with database.lock_run(), pytest.raises(AmlError, match="a run is going on") as raised:
        run(db, world.first)
    assert raised.value.exit_code == STORE
    database.close()


def test_the_state_of_another_database_is_refused(world, db, tmp_path):
    run(db, world.first)
    (folder,) = (tmp_path / "state").iterdir()
    owner = folder / "owner.json"
    owner.write_text(owner.read_text().replace(folder.name, "11111111-1111-1111-1111-111111111111"))
    with pytest.raises(AmlError, match=f"belongs to database 1111.*, not to {folder.name}"):
        run(db, world.first)
    (folder / "owner.json").unlink()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AmlError, match="is missing: restore it together with its database"):
        run(db, world.first)
