"""Connections to SQLite (default) and PostgreSQL, set up so that both keep the same promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import StaticPool

from aml.domain.errors import StoreError

READ_ONLY = "aml_read_only"
BUSY_SECONDS = 30


def parse_url(url: str) -> URL:
    """The URL as SQLAlchemy's, PostgreSQL's always through psycopg 3.

    Raises StoreError for what is no SQLite or PostgreSQL URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        told = "is not a database URL: write sqlite:///FILE or postgresql://HOST/NAME"
        raise StoreError(f"--db {url!r} {told}") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    raise StoreError(f"--db: {backend} is not supported: write sqlite:///FILE or postgresql://HOST/NAME")


def sqlite_file(url: URL) -> Path | None:
    """The database's file, None for PostgreSQL and for SQLite in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    assert url.database is not None
    return Path(url.database.removeprefix("file:"))


def make_engine(url: URL) -> Engine:
    """An engine whose transactions take SQLite's write lock at once, unless the connection is marked READ_ONLY."""
    if url.get_backend_name() == "postgresql":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    if sqlite_file(url) is None:
        options["poolclass"] = StaticPool
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own: it would begin them deferred.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def use_write_ahead_log(connection: Connection) -> None:
    """Let SQLite's readers go on while one writes. Kept in the file; a no-op where it is set or not SQLite."""
    if connection.dialect.name == "sqlite":
        raw = connection.connection.driver_connection
        assert raw is not None
        if raw.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
            raw.execute("PRAGMA journal_mode = WAL")
