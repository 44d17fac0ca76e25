"""Opening, migrating, refusing and locking a database: each refusal is one clear line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from aml.domain.errors import AmlError
from aml.domain.finding import FindingChange
from aml.store import schema
from aml.store.database import open_database
from aml.store.dead_letters import DeadLetter
from aml.store.findings import EvidenceRecord
from aml.store.queries import count
from aml.store.runs import InForce
from aml.store.tables import metadata
from tests.store_factory import finding, put

ROOT = Path(__file__).parent.parent.parent


def refusal(url, **given):
    with pytest.raises(AmlError) as raised:
        open_database(url, **given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_migrations_build_the_tables_as_described(database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_build_the_indexes_as_described(tmp_path):
    """Which Alembic's comparison leaves out: their conditions."""
    query = text("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    database = open_database(f"sqlite:///{tmp_path / 'aml.db'}")
    described = create_engine("sqlite://")
    metadata.create_all(described)
    with database.read() as built, described.connect() as wanted:
        assert built.execute(query).all() == wanted.execute(query).all()
    described.dispose()
    database.close()


def test_the_known_revisions_are_those_of_the_folder(database):
    with database.engine.connect() as connection:
        scripts = ScriptDirectory.from_config(schema.alembic_config(connection))
    assert tuple(s.revision for s in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS


def test_downgrading_leaves_nothing_of_ours(database):
    with database.engine.begin() as connection:
        downgrade(schema.alembic_config(connection), "base")
        assert set(inspect(connection).get_table_names()) == {schema.VERSION_TABLE}


FORBIDDEN = [
    "UPDATE history SET actor = 'nobody'",
    "DELETE FROM history",
    "UPDATE findings SET points = 0",
    "UPDATE findings SET state = 'withdrawn', measured = '{}'",
    "DELETE FROM findings",
    "UPDATE finding_transactions SET transaction_id = 'T9'",
    "DELETE FROM finding_transactions",
    "UPDATE evidence SET record = '{}'",
    "DELETE FROM evidence",
    "UPDATE texts SET text = ''",
    "DELETE FROM texts",
    "UPDATE dead_letters SET code = 'fine'",
    "DELETE FROM dead_letters",
    "UPDATE dead_letter_replays SET replayed_at = 0",
    "DELETE FROM dead_letter_replays",
]


KEPT = ("history", "findings", "finding_transactions", "evidence", "texts", "dead_letters", "dead_letter_replays")


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_database_refuses_to_change_what_was_kept(database, statement):
    filled(database)
    with pytest.raises(DBAPIError, match="is append-only"), database.begin() as uow:
        uow.connection.exec_driver_sql(statement)
    with database.read() as connection:
        for table in KEPT:
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() > 0


def filled(database):
    """One row or more in every table that keeps."""
    put(database, finding())
    with database.begin() as uow:
        uow.findings.add_evidence([EvidenceRecord("main", "T1", 1, 0, "{}")])
        uow.runs.start("1", {}, ["feed"], [InForce("rule", "rule-a", 1, "id = 'rule-a'")])
        uow.dead_letters.add([DeadLetter("main", "feed", 1, "not_json", "not JSON", b"x")])
        uow.dead_letters.replayed([1])


def test_a_version_may_end_and_nothing_else_of_it_may_change(database):
    put(database, finding(points=40))
    put(database, finding(points=80))
    with database.read() as connection:
        states = connection.execute(text("SELECT version, state, points FROM findings ORDER BY version")).all()
    assert [tuple(row) for row in states] == [(1, "superseded", 40), (2, "current", 80)]


def test_a_database_keeps_its_id_and_content(database, database_url):
    put(database, finding())
    again = open_database(database_url, create=False)
    assert again.database_id == database.database_id
    with again.read() as connection:
        assert count(connection).findings == 1
    again.close()


def test_each_database_has_an_id_of_its_own(database, tmp_path):
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    assert other.database_id != database.database_id
    other.close()


def test_a_newer_database_is_refused(database, database_url):
    with database.begin() as uow:
        uow.connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    assert "written by a newer version of aml (schema 9999): upgrade aml" in refusal(database_url)


def test_tables_of_another_program_are_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    database = open_database(url)
    with database.begin() as uow:
        uow.connection.execute(text(f"DROP TABLE {schema.VERSION_TABLE}"))
    database.close()
    assert "holds tables of another program" in refusal(url)


def test_two_that_open_an_empty_database_at_once_both_succeed(database_url):
    code = f"from aml.store.database import open_database; print(open_database({database_url!r}).database_id)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ids = [process.communicate(timeout=60)[0].strip() for process in started]
    assert len(ids[0]) == 36
    assert ids == [ids[0]] * 3


def test_sqlite_is_set_up_to_lose_nothing(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'aml.db'}")
    with database.engine.connect() as connection:
        asked = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert asked == ["wal", 2, 1, 30_000]
    database.close()


def test_a_reader_sees_one_state_throughout(database):
    put(database, finding())
    with database.read() as connection:
        assert count(connection).findings == 1
        put(database, finding("b"))
        assert count(connection).findings == 1
    with database.read() as connection:
        assert count(connection).findings == 2


def test_readers_go_on_while_one_writes(database):
    put(database, finding())
    with database.begin() as uow:
        uow.findings.apply([FindingChange.upsert(finding("b"))])
        with database.read() as connection:
            assert count(connection).findings == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "is not a database URL: write sqlite:///FILE or postgresql://HOST/NAME"),
        ("mysql://host/name", "mysql is not supported"),
        ("sqlite:////no/such/folder/aml.db", "the folder /no/such/folder does not exist: create it"),
        ("postgresql://u:secret@127.0.0.1:1/x", "the server cannot be reached"),
    ],
)
def test_what_cannot_be_opened_says_the_mend(url, said):
    message = refusal(url)
    assert said in message
    assert "secret" not in message


def test_a_missing_database_is_not_made_by_asking(tmp_path):
    path = tmp_path / "aml.db"
    assert "does not exist: make it with `aml run FEED`" in refusal(f"sqlite:///{path}", create=False)
    assert not path.exists()


def test_an_empty_database_is_not_filled_by_asking(database_url):
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).touch()
    assert "is empty: fill it with `aml run FEED`" in refusal(database_url, create=False)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "aml.db"
    path.write_text("transaction_id,amount\n" * 100)
    assert "the file is not an SQLite database" in refusal(f"sqlite:///{path}")


def test_a_read_only_database_can_be_read_but_no_run_begins(tmp_path):
    path = tmp_path / "aml.db"
    database = open_database(f"sqlite:///{path}")
    put(database, finding())
    database.close()
    read_only = open_database(f"sqlite:///file:{path}?mode=ro&uri=true")
    with read_only.read() as connection:
        assert count(connection).findings == 1
    with pytest.raises(AmlError, match="it is read-only: make it and its folder writable"), read_only.lock_run():
        pass
    read_only.close()


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'aml.db'}")
    put(database, finding())
    database.close()
    event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 60"))
    with pytest.raises(AmlError, match="the disk is full: free some space and run again"):
        put(database, *(finding(name=f"C{n}") for n in range(2_000)))
    with database.read() as connection:
        assert count(connection).findings == 1
    database.close()


def test_a_second_run_is_refused_naming_the_first(database, database_url):
    second = open_database(database_url)
    said = rf"a run is going on \(pid {os.getpid()} on .* since 2"
    with database.lock_run(), pytest.raises(AmlError, match=said), second.lock_run():
        pass
    with second.lock_run():
        pass
    second.close()


def test_a_run_that_was_killed_leaves_no_lock(database, database_url):
    code = (
        f"from aml.store.database import open_database\nwith open_database({database_url!r}).lock_run():\n"
        "    print('going', flush=True)\n    input()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "going\n"
    with pytest.raises(AmlError, match=f"pid {run.pid} on"), database.lock_run():
        pass
    run.send_signal(signal.SIGKILL)
    run.communicate()
    with database.lock_run():
        pass
