"""Brings a database to this version's tables, and refuses one that a newer version wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table, text

from aml import content
from aml.domain.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

# The revisions of `migrations/versions` in order; a test holds this to the folder.
REVISIONS = ("0001", "0002", "0003")
VERSION_TABLE = "aml_schema"
_MIGRATION_LOCK = 0x616D6C01


def migrate(connection: Connection, name: str) -> None:
    """Bring an empty or older database up to date, within the connection's transaction.

    Raises StoreError for a database of a newer version and for one whose tables are not ours.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    found = revision(connection)
    if found == REVISIONS[-1]:
        return
    if found is not None and found not in REVISIONS:
        raise newer(name, found)
    if found is None and "findings" in inspect(connection).get_table_names():
        raise StoreError(f"database {name}: holds tables of another program: give an empty one with --db")
    # Only here: most openings find nothing to migrate and need not wait for the import.
    from alembic import command

    command.upgrade(alembic_config(connection), REVISIONS[-1])


def newer(name: str, found: str) -> StoreError:
    """The error of a database that a newer version wrote."""
    return StoreError(f"database {name}: written by a newer version of aml (schema {found}): upgrade aml")


def revision(connection: Connection) -> str | None:
    """The schema revision of the database, None where it has none yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    return found


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings for our migrations, wherever the content lies, on an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(content.folder("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
