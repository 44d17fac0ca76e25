"""Small helpers over SQLAlchemy that the repositories share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

# Well below both databases' limits on parameters, and one statement's text for all full chunks.
CHUNK = 500


def in_chunks(
    connection: Connection, query: Select[Any], column: ColumnElement[Any], values: Sequence[Any]
) -> Iterator[Any]:
    """The rows of `query` whose `column` is among `values`, asked in chunks."""
    return chain.from_iterable(
        connection.execute(query.where(column.in_(values[start : start + CHUNK])))
        for start in range(0, len(values), CHUNK)
    )


def insert_new(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many were."""
    return _insert(connection, dialect_insert(connection, table).on_conflict_do_nothing(), list(rows))


def insert_all(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert all rows, which have the same keys, the fastest way the database has."""
    if connection.dialect.name == "postgresql" and len(rows) >= CHUNK:
        _copy(connection, table, rows)
    else:
        _insert(connection, dialect_insert(connection, table), rows)


def add_to(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], added: Sequence[str]) -> None:
    """Insert the rows, of distinct keys; of those whose keys are there, add the columns `added` to what they hold."""
    statement = dialect_insert(connection, table)
    sums = {name: table.c[name] + statement.excluded[name] for name in added}
    keys = list(table.primary_key.columns)
    _insert(connection, statement.on_conflict_do_update(index_elements=keys, set_=sums), rows)


def dialect_insert(connection: Connection, table: Table) -> Any:
    """The database's own INSERT, which knows ON CONFLICT."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def _insert(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Hand rows, all of the same keys, to the driver as they are: SQLAlchemy's work per row would cost the most."""
    if not rows:
        return 0
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    values: Sequence[Any] = rows
    if compiled.positiontup is not None:
        take = itemgetter(*compiled.positiontup)
        values = [take(row) for row in rows]
    return connection.exec_driver_sql(str(compiled), values).rowcount


def _copy(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    # Only here: its import takes longer than all that an SQLite user waits for.
    import psycopg
    from psycopg import sql

    names = list(rows[0])
    raw = connection.connection.driver_connection
    assert raw is not None
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    take = itemgetter(*names)
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(take(row))
    except psycopg.Error as error:
        raise DBAPIError(f"COPY {table.name}", None, error) from error
