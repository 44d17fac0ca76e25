"""Bad input ends in one line that names the thing and the mend, and nothing is half-written."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from aml.cli import app
from aml.pipeline import feeds as feeds_module
from aml.store import engine as store_engine
from aml.store import schema, snapshots
from aml.store.database import open_database
from tests.flow_factory import asked, exported, invented, lines, ndjson, run, url

ROOT = Path(__file__).parents[2]
FILE, DATABASE = 3, 4
KEPT_UNDER = "structuring/structuring-kept-under.toml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small bank as files, and a database of a run of its first half."""
    folder = tmp_path_factory.mktemp("world")
    bank = invented(2_000, days=30, seed=11, attempts=20)
    half = bank.transactions.height // 2
    bank.transactions[:half].write_parquet(folder / "first.parquet")
    bank.transactions.write_parquet(folder / "whole.parquet")
    rows = lines(bank.transactions)
    ndjson(folder / "whole.ndjson", rows)
    run(url(folder), folder / "first.parquet")
    return SimpleNamespace(folder=folder, first=folder / "first.parquet", whole=folder / "whole.parquet", rows=rows)


@pytest.fixture
def db(world, tmp_path):
    """A copy of that database, as a test may spoil it."""
    shutil.copy(world.folder / "aml.db", tmp_path / "aml.db")
    shutil.copytree(world.folder / "aml.db.state", tmp_path / "aml.db.state")
    return url(tmp_path)


@pytest.fixture
def overlay(tmp_path, monkeypatch):
    """Content that a test may spoil."""
    for name in ("rules", "models"):
        shutil.copytree(ROOT / name, tmp_path / "content" / name)
    monkeypatch.setenv("AML_CONTENT", str(tmp_path / "content"))
    return tmp_path / "content"


def refused(code, *words, db=None):
    """The one line with which `aml run` ends; stdout stays empty."""
    given = ["--db", db] if db is not None else []
    result = CliRunner().invoke(app, ["run", *map(str, words), *given, "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def unharmed(db, world):
    """What was there before is there, whole, and a run goes on from it."""
    assert exported(db, whole=True) == exported(url(world.folder), whole=True)
    told = run(db, world.whole)
    assert told.read == told.scored + told.duplicates == len(world.rows)
    assert told.duplicates == len(world.rows) // 2


def test_a_file_that_is_not_there_makes_no_database(tmp_path):
    said = refused(FILE, tmp_path / "gone.csv", db=url(tmp_path))
    assert said == f"{tmp_path / 'gone.csv'}: cannot be read: No such file or directory: check the path"
    assert list(tmp_path.iterdir()) == []


def cut(path, world):
    """The whole feed several times over, so that more than one block is read of it, gzipped, and cut near its end."""
    path.write_bytes(gzip.compress((world.folder / "whole.ndjson").read_bytes() * 5)[:-100])
    return path


@pytest.mark.parametrize("first", [True, False])
def test_a_truncated_gzip(world, tmp_path, db, monkeypatch, first):
    """Cut in its first block it is refused at once; cut later, nothing of it is kept but what a checkpoint holds."""
    monkeypatch.setattr(feeds_module, "BATCH", 250)
    path = cut(tmp_path / "feed.ndjson.gz", world)
    if first:
        path.write_bytes(path.read_bytes()[:2_000])
    said = refused(FILE, path, db=db)
    assert said.startswith(f"{path}: the gzip stream is cut off: fetch the file again")
    if not first:
        assert said.endswith(f"; checkpoint 1 with {len(world.rows) // 2:,} records stands")
        assert asked(db, "SELECT state FROM runs") == [("finished",), ("failed",)]
    unharmed(db, world)


def test_a_truncated_gzip_into_a_new_database(world, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_module, "BATCH", 250)
    path = cut(tmp_path / "feed.ndjson.gz", world)
    assert refused(FILE, path, db=url(tmp_path)).endswith("; nothing of this run was kept")
    assert asked(url(tmp_path), "SELECT count(*) FROM findings") == [(0,)]
    said = refused(FILE, path, "--as-arrived", db=url(tmp_path))
    assert said.endswith("; nothing of this run was kept")


def test_checkpoints_of_a_feed_that_breaks_off_stand_and_are_named(world, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_module, "BATCH", 250)
    path = cut(tmp_path / "feed.ndjson.gz", world)
    from aml.domain.errors import AmlError

    with pytest.raises(AmlError) as raised:
        run(url(tmp_path), path, as_arrived=True, checkpoint_rows=500)
    (number,) = asked(url(tmp_path), "SELECT max(checkpoint_id) FROM checkpoints")[0]
    assert f"; checkpoint {number} with " in str(raised.value)
    whole = url(tmp_path, "whole.db")
    run(whole, world.whole)
    run(url(tmp_path), world.whole)
    assert exported(url(tmp_path)) == exported(whole)


def test_a_parquet_file_with_a_wrong_column_type(world, tmp_path, db):
    path = tmp_path / "feed.parquet"
    pl.read_parquet(world.whole).with_columns(pl.col("amount").cast(pl.Float64)).write_parquet(path)
    said = refused(FILE, path, db=db)
    assert said == (
        f"{path}: column amount: type Float64, must be text, decimal or whole numbers (never floating point)"
    )
    unharmed(db, world)


def test_a_parquet_file_that_is_cut(world, tmp_path, db):
    path = tmp_path / "feed.parquet"
    path.write_bytes(world.whole.read_bytes()[:-500])
    assert "is no whole Parquet file" in refused(FILE, path, db=db)
    unharmed(db, world)


COMMAS = """transaction_id;executed_at;amount;currency;originator_account
T1;2026-03-02T09:30:00Z;1,50;EUR;A
"""


def test_a_csv_with_decimal_commas_that_no_mapping_names(tmp_path, db, world):
    path = tmp_path / "feed.csv"
    path.write_text(COMMAS)
    said = refused(FILE, path, db=db)
    assert said == (
        f"{path}:2: column amount: '1,50' has a decimal comma: set decimal = \",\" in a mapping (--mapping)"
    )
    unharmed(db, world)


@pytest.mark.parametrize("name", ["feed.csv", "feed.ndjson"])
def test_a_byte_order_mark_is_simply_read(world, tmp_path, name):
    path = tmp_path / name
    csv, line = COMMAS.replace("1,50", "1.50").replace("EUR", "USD"), json.dumps(world.rows[0])
    path.write_bytes(b"\xef\xbb\xbf" + (csv if name == "feed.csv" else line).encode())
    told = run(url(tmp_path), path)
    assert (told.read, told.scored) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\ntriage ", "\ntirage ", "tirage: unknown key"),
        ("range = [2, 8]", "range = [8, 2]", "parameters."),
        ("range = [2, 8]", "range = [4, 8]", "parameters."),
    ],
)
def test_a_rule_file_that_cannot_be(world, tmp_path, db, overlay, old, new, said):
    """A misspelt key, a range upside down, a value outside its range."""
    path = overlay / "rules" / KEPT_UNDER
    spoilt = path.read_text().replace(old, new, 1)
    assert spoilt != path.read_text()
    path.write_text(spoilt)
    line = refused(FILE, world.whole, db=db)
    place = 1 + next(k for k, text in enumerate(spoilt.splitlines()) if new.strip() in text)
    assert line.startswith(f"{path}:{place}: ")
    assert said in line


@pytest.mark.parametrize("file", ["artefact.npz", "artefact.json", "model.toml"])
def test_a_model_file_with_one_byte_flipped(world, db, overlay, file):
    path = overlay / "models" / "isolation-forest" / file
    whole = path.read_bytes()
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    said = refused(FILE, world.whole, db=db)
    assert said.startswith(str(path.parent))
    assert "train anew: aml train FEED" in said or "run aml train" in said or "not valid TOML" in said
    (overlay / "models" / "isolation-forest" / file).write_bytes(whole)
    assert refused(FILE, world.whole, "--models", overlay / "none").startswith(f"{overlay / 'none'}: is no folder")


def test_a_database_of_a_newer_version(world, db):
    database = open_database(db)
    with database.begin() as uow:
        uow.connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    database.close()
    said = refused(DATABASE, world.whole, db=db)
    assert said == f"database {db}: written by a newer version of aml (schema 9999): upgrade aml"


def test_a_snapshot_of_a_newer_version(world, db, monkeypatch):
    monkeypatch.setattr(snapshots, "FORMAT", 0)
    assert "written by a newer version of aml (format 1, this version reads 0): upgrade aml" in refused(
        DATABASE, world.whole, db=db
    )


def test_a_damaged_snapshot_or_segment(world, tmp_path, db):
    for pattern in ("snapshot-*", "segment-*"):
        (path,) = (tmp_path / "aml.db.state").glob(pattern)
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        said = refused(DATABASE, world.whole, db=db)
        assert said.startswith(f"{path}: is damaged: its SHA-256 differs from the one in the database")
        path.write_bytes(whole)
    unharmed(db, world)


def test_a_read_only_database(world, tmp_path, db):
    said = refused(DATABASE, world.whole, db=f"sqlite:///file:{tmp_path / 'aml.db'}?mode=ro&uri=true")
    assert "it is read-only: make it and its folder writable, or give another with --db" in said
    unharmed(db, world)


def test_a_state_folder_of_another_database(world, tmp_path, db):
    other = tmp_path / "other"
    other.mkdir()
    run(url(other), world.first)
    shutil.rmtree(tmp_path / "aml.db.state")
    shutil.copytree(other / "aml.db.state", tmp_path / "aml.db.state")
    said = refused(DATABASE, world.whole, db=db)
    assert said.startswith(f"state folder {tmp_path / 'aml.db.state'}: belongs to database ")
    assert "remove it if that database is gone, or give another --db" in said
    shutil.rmtree(tmp_path / "aml.db.state")
    said = refused(DATABASE, world.whole, db=db)
    assert said.startswith(f"state folder {tmp_path / 'aml.db.state'}: is missing: restore it together")
    shutil.copytree(world.folder / "aml.db.state", tmp_path / "aml.db.state")
    unharmed(db, world)


def test_a_second_run_while_one_is_going(world, db):
    database = open_database(db)
    with database.lock_run():
        said = refused(DATABASE, world.whole, db=db)
    database.close()
    assert "a run is going on (pid " in said
    assert "wait for it to end, or stop it" in said
    unharmed(db, world)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = ["aml", *sys.argv[2:]]
from aml.cli import main
main()
"""


def on_a_small_disk(size, *words):
    """`aml run` where no file may become larger than `size` bytes, as on a disk that is full."""
    command = [sys.executable, "-c", LIMITED, str(size), "run", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_a_full_disk(world, tmp_path, db):
    ran = on_a_small_disk(120_000, world.whole, "--db", db)
    assert ran.returncode == DATABASE, ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"error: state folder {tmp_path / 'aml.db.state'}: the disk is full: free some space")
    assert line.endswith(f"; checkpoint 1 with {len(world.rows) // 2:,} records stands")
    unharmed(db, world)
    assert len(list((tmp_path / "aml.db.state").glob("snapshot-*"))) == 1


def test_a_full_disk_under_the_database(world, db, monkeypatch):
    """All of the state fits, the database does not."""
    real = store_engine._set_up_sqlite

    def set_up(connection, record):
        real(connection, record)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")

    with monkeypatch.context() as patch:
        patch.setattr(store_engine, "_set_up_sqlite", set_up)
        said = refused(DATABASE, world.whole, db=db)
    assert said.startswith(f"database {db}: the disk is full: free some space and run again; whole checkpoints are")
    assert said.endswith(f"; checkpoint 1 with {len(world.rows) // 2:,} records stands")
    unharmed(db, world)


def test_scores_that_cannot_be_written(world, tmp_path):
    said = refused(FILE, world.whole, "--scores-out", tmp_path / "no" / "s.parquet", db=url(tmp_path))
    mend = "its folder does not exist: create it, or give another --scores-out"
    assert said == f"{tmp_path / 'no' / 's.parquet'}: {mend}"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s.parquet").mkdir()
    said = refused(FILE, world.whole, "--scores-out", tmp_path / "s.parquet", db=url(tmp_path))
    assert said.startswith(f"{tmp_path / 's.parquet'}: cannot be written: Is a directory: give another --scores-out")
    assert {path.name for path in tmp_path.iterdir()} == {"aml.db", "aml.db.lock", "aml.db.state", "s.parquet"}


def test_the_limit_of_rejects(world, tmp_path):
    path = ndjson(tmp_path / "feed.ndjson", [*world.rows[:9], {"transaction_id": "T"}])
    for limit, code in (("10%", 0), ("9.9%", 1)):
        given = ["run", str(path), "--db", url(tmp_path), "--rejects-over", limit, "--json"]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == code
        assert json.loads(result.stdout.splitlines()[-1])["rejected"] == {"field_missing": 1}
