"""Turns what a database driver complains about into one line that names the database and the mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from aml.domain.errors import StoreError

# What drivers say -> what to tell the user; the first that fits.
_MENDS = (
    ("database or disk is full", "the disk is full: free some space and run again; whole checkpoints are kept"),
    ("no space left", "the disk is full: free some space and run again; whole checkpoints are kept"),
    ("readonly database", "it is read-only: make it and its folder writable, or give another with --db"),
    ("read-only transaction", "it is read-only: connect to the primary server, or give another with --db"),
    ("permission denied", "this user may not do that: grant it, or give another with --db"),
    ("unable to open database file", "it cannot be opened: does its folder exist, and may you write there?"),
    ("file is not a database", "the file is not an SQLite database: give another with --db"),
    ("malformed", "the file is damaged: restore it from a backup"),
    ("database is locked", "another program is writing to it: wait for that to end and run again"),
    ("disk i/o error", "the disk gives errors: check it and restore the database from a backup if need be"),
    ("connection", "the server cannot be reached: is it running, and is the address right?"),
    ("password authentication failed", "the server refuses this user and password"),
    ("does not exist", "the server knows no such database, table or role: create it first"),
)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise StoreError for a known complaint of the driver about the database `name`; others pass unchanged."""
    try:
        yield
    except DBAPIError as error:
        raise failure(name, error) from error


def failure(name: str, error: DBAPIError) -> StoreError | DBAPIError:
    """What to raise for `error`: one clear line where the cause is the user's to mend, else the error itself."""
    said = str(error.orig).strip()
    # What a statement or its values did wrong is our own defect, whatever words the data bring into the message.
    ours = isinstance(error, IntegrityError | DataError | ProgrammingError) and "permission denied" not in said.lower()
    for sign, mend in () if ours else _MENDS:
        if sign in said.lower():
            return StoreError(f"database {name}: {mend} ({said.splitlines()[0]})")
    return error


# What no waiting mends.
_LASTING = ("permission denied", "authentication failed", "does not exist", "read-only", "readonly", "malformed",
            "not a database")  # fmt: skip
_LIMITS: Final = "54"  # the server's own limits, in SQL's codes: a row too large for an index stays so


def will_pass(error: BaseException) -> bool:
    """Whether an error of a database passes by itself: a server away, a full disk, a deadlock; not rights or names."""
    cause = error.__cause__ if isinstance(error, StoreError) else error
    if not isinstance(cause, OperationalError | InterfaceError):
        return isinstance(cause, DBAPIError) and cause.connection_invalidated
    if str(getattr(cause.orig, "sqlstate", None)).startswith(_LIMITS):
        return False
    said = str(cause.orig).lower()
    return not any(sign in said for sign in _LASTING)
