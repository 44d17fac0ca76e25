"""Small helpers over SQLAlchemy that the repositories share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Select, Table
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


def add_to(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], added: tuple[str, ...]) -> None:
    """Insert the rows, of distinct keys; of those whose keys are there, add the columns `added` to what they hold."""
    if rows:
        _many(connection, *_adding(connection.dialect, table, added), rows)


# Compiling a statement costs as much as running it for a hundred rows.
@lru_cache(maxsize=64)
def _adding(dialect: Dialect, table: Table, added: tuple[str, ...]) -> tuple[str, tuple[str, ...] | None]:
    statement = _inserts(dialect.name)(table)
    sums = {name: table.c[name] + statement.excluded[name] for name in added}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=sums)
    return _compiled(dialect, statement, list(table.columns.keys()))


def put_all(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], changed: tuple[str, ...]) -> None:
    """Insert the rows, of distinct keys and with all columns; of those whose keys are there, set the columns
    `changed`."""
    if rows:
        _many(connection, *_putting(connection.dialect, table, changed), rows)


@lru_cache(maxsize=64)
def _putting(dialect: Dialect, table: Table, changed: tuple[str, ...]) -> tuple[str, tuple[str, ...] | None]:
    statement = _inserts(dialect.name)(table)
    new = {name: statement.excluded[name] for name in changed}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=new)
    return _compiled(dialect, statement, list(table.columns.keys()))


def _compiled(dialect: Dialect, statement: Any, columns: list[str]) -> tuple[str, tuple[str, ...] | None]:
    """A statement's text, and the names of its parameters in their order; None where the driver takes names."""
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    order = compiled.positiontup
    return str(compiled), None if order is None else tuple(order)


def _many(connection: Connection, text: str, order: tuple[str, ...] | None, rows: Sequence[dict[str, Any]]) -> int:
    values: Sequence[Any] = rows
    if order is not None:
        take = itemgetter(*order)
        values = [take(row) for row in rows]
    return connection.exec_driver_sql(text, values).rowcount


def dialect_insert(connection: Connection, table: Table) -> Any:
    """The database's own INSERT, which knows ON CONFLICT."""
    return _inserts(connection.dialect.name)(table)


def _inserts(dialect: str) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert


def _insert(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Hand rows, all of the same keys, to the driver as they are: SQLAlchemy's work per row would cost the most."""
    if not rows:
        return 0
    return _many(connection, *_compiled(connection.dialect, statement, list(rows[0])), rows)


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
