"""Opening the database for a command that only needs what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aml.cli.codes import ExitCode, ends_with

if TYPE_CHECKING:
    from aml.store.database import Database


@contextmanager
def opened(url: str, *, create: bool = False) -> Iterator[Database]:
    """The database at `url`, made where asked; a failure to open it ends the command with the code for that."""
    from aml.store.database import open_database

    with ends_with(ExitCode.DATABASE):
        database = open_database(url, create=create)
    try:
        yield database
    finally:
        database.close()
