"""The door to the database: open it, write in one transaction, read, and hold it for one run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import URL, Connection, Engine, insert, select, update

from aml.domain.errors import StoreError
from aml.store import runlock, schema
from aml.store.engine import READ_ONLY, make_engine, parse_url, sqlite_file, use_write_ahead_log
from aml.store.failures import translated
from aml.store.tables import meta
from aml.store.unit_of_work import UnitOfWork


def wall_clock() -> int:
    """Now in UTC microseconds."""
    return time.time_ns() // 1000


class Database:
    """An open database of this version. Make one with `open_database`."""

    def __init__(self, url: URL, engine: Engine, database_id: str, clock: Callable[[], int] = wall_clock) -> None:
        self.url = url
        self.engine = engine
        self.database_id = database_id
        self.clock = clock

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """One transaction: all of it is committed at the end, nothing if the block raises.

        Raises StoreError where the database refuses for a cause that a user can mend.
        """
        with translated(self.name), self.engine.begin() as connection:
            yield UnitOfWork(connection, self.clock())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to query with, which sees one state throughout and never waits for writers."""
        with translated(self.name), self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                yield connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                yield connection.execution_options(**{READ_ONLY: True})

    @contextmanager
    def lock_run(self) -> Iterator[None]:
        """Be the only run on this database.

        Raises StoreError that names the run which is going on, or says that the database cannot be written.
        """
        with translated(self.name), self._run_lock():
            # A database that cannot be written is said before any work, not after it.
            with self.engine.begin() as connection:
                connection.execute(update(meta).where(meta.c.key == "database_id").values(value=self.database_id))
            yield

    def _run_lock(self) -> AbstractContextManager[None]:
        file = sqlite_file(self.url)
        if file is not None:
            return runlock.file_lock(file)
        if self.engine.dialect.name == "postgresql":
            return runlock.server_lock(self.engine, self.name)
        return _no_lock()

    def close(self) -> None:
        """Give up all connections."""
        self.engine.dispose()


def open_database(url: str, *, create: bool = True, clock: Callable[[], int] = wall_clock) -> Database:
    """Open the database at `url` (sqlite:///FILE or postgresql://…), bringing its tables up to this version.

    Without `create` a database that is not there is an error. Raises StoreError, in one line, for a folder that is
    missing, a server that cannot be reached, a database of a newer version or of another program, or a read-only one
    that would have to be changed.
    """
    parsed = parse_url(url)
    _check_file(parsed, create)
    name = parsed.render_as_string(hide_password=True)
    engine = make_engine(parsed)
    try:
        with translated(name):
            return Database(parsed, engine, _prepared(engine, name, create), clock)
    except BaseException:
        engine.dispose()
        raise


def look_at_database(url: str) -> tuple[str, str | None, str]:
    """Name (no password), schema revision and newest revision of the database at `url`; nothing in it is changed.

    A revision of None: there is no database yet, or it is empty. Raises StoreError as `open_database`.
    """
    parsed = parse_url(url)
    _check_file(parsed, create=True)
    name, file = parsed.render_as_string(hide_password=True), sqlite_file(parsed)
    if file is not None and not file.exists():
        return name, None, schema.REVISIONS[-1]
    engine = make_engine(parsed)
    try:
        with translated(name), engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            found = schema.revision(connection)
    finally:
        engine.dispose()
    if found is not None and found not in schema.REVISIONS:
        raise schema.newer(name, found)
    return name, found, schema.REVISIONS[-1]


def _check_file(url: URL, create: bool) -> None:
    file = sqlite_file(url)
    if file is None:
        return
    if not file.parent.is_dir():
        raise StoreError(f"database {file}: the folder {file.parent} does not exist: create it, or give another --db")
    if not create and not file.exists():
        raise StoreError(f"database {file} does not exist: make it with `aml run FEED`, or give another --db")


def _prepared(engine: Engine, name: str, create: bool) -> str:
    """The database's id, after making or migrating what has to be."""
    with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        found = schema.revision(connection)
        if found == schema.REVISIONS[-1]:
            return _database_id(connection)
    if found is None and not create:
        raise StoreError(f"database {name} is empty: fill it with `aml run FEED`, or give another --db")
    if found is None:
        with engine.connect() as connection:
            use_write_ahead_log(connection)
    with engine.begin() as connection:
        schema.migrate(connection, name)
        return _database_id(connection) or _new_database_id(connection)


def _database_id(connection: Connection) -> str:
    return connection.execute(select(meta.c.value).where(meta.c.key == "database_id")).scalar() or ""


def _new_database_id(connection: Connection) -> str:
    database_id = str(uuid.uuid4())
    connection.execute(insert(meta).values(key="database_id", value=database_id))
    return database_id


@contextmanager
def _no_lock() -> Iterator[None]:
    yield
