"""One run at a time on one database; a run that dies leaves no lock behind."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from aml.domain.errors import StoreError

_RUN_LOCK = 0x616D6C02
# PostgreSQL cuts application names at 63 bytes.
_NAME_BYTES = 63


@contextmanager
def file_lock(database: Path) -> Iterator[None]:
    """Hold the operating system's lock on `<database>.lock`; it ends with the process, whatever ends that.

    Raises StoreError that names the process, host and start of the run that holds it.
    """
    path = database.with_name(database.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: make the database's folder writable") from error
    try:
        _take(descriptor, path, database)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, database: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _refusal(str(database), _holder(path)) from error
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: free some space and run again") from error


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text())
        return f"pid {held['pid']} on {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError):
        # The holder is between taking the lock and writing its name.
        return "another process"


@contextmanager
def server_lock(engine: Engine, name: str) -> Iterator[None]:
    """Hold PostgreSQL's advisory lock on a session of its own; it ends with that session.

    Raises StoreError that names the process, host and start of the run that holds it.
    """
    holder = f"aml run pid {os.getpid()} on {socket.gethostname()}".encode()[:_NAME_BYTES].decode(errors="ignore")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": holder})
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _RUN_LOCK}).scalar()
        try:
            if not taken:
                raise _refusal(name, _server_holder(connection.execute(text(_HOLDER), {"key": _RUN_LOCK}).first()))
            yield
        finally:
            # The session itself must end: a pooled one would keep lock and name.
            connection.invalidate()


_HOLDER = """
SELECT a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :key
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _server_holder(row: Any) -> str:
    if row is None:
        return "another process"
    name, since = row
    return f"{name.removeprefix('aml run ')} since {since.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _refusal(database: str, holder: str) -> StoreError:
    return StoreError(f"database {database}: a run is going on ({holder}): wait for it to end, or stop it")


def _now() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
