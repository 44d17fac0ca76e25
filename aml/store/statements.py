"""Small helpers over SQLAlchemy that the repositories share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

# Well below both databases' limits on parameters, and one statement's text for all full chunks.
CHUNK = 500


def in_chunks(
    connection: Connection, query: Select[Any], column: ColumnElement[Any], values: Sequence[Any]
) -> Iterator[Any]:
    """The rows of `query` whose `column` is among `values`, asked in chunks."""
    return chain.from_iterable(
        connection.execute(query.where(_among(connection, column, values[start : start + CHUNK])))
        for start in range(0, len(values), CHUNK)
    )


def _among(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    if connection.dialect.name == "postgresql":
        # One parameter, and one text to compile, however many there are.
        return column == func.any(literal(list(values), postgresql.ARRAY(column.type)))
    return column.in_(values)


def insert_new(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many were."""
    return _run(connection, table, list(rows), _Then(NOTHING))


def insert_all(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert all rows, which have the same keys, the fastest way the database has."""
    if connection.dialect.name == "postgresql" and len(rows) >= CHUNK:
        _copy(connection, table, rows)
    else:
        _run(connection, table, rows, _Then(FAIL))


def add_to(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], added: tuple[str, ...]) -> None:
    """Insert the rows, of distinct keys; of those whose keys are there, add the columns `added` to what they hold."""
    _run(connection, table, rows, _Then(ADD, added))


def put_all(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], changed: tuple[str, ...]) -> None:
    """Insert the rows, of distinct keys and with all columns; of those whose keys are there, set the columns
    `changed`."""
    _run(connection, table, rows, _Then(SET, changed))


def update_all(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> None:
    """Set the rows that have the same `keys` to these, which all have the same columns."""
    if rows:
        _many(connection, *_updating(connection.dialect, table, tuple(rows[0]), keys), rows)


def delete_of(connection: Connection, table: Table, column: ColumnElement[Any], values: Sequence[Any]) -> None:
    """Delete the rows whose `column` is among `values`."""
    for start in range(0, len(values), CHUNK):
        connection.execute(delete(table).where(_among(connection, column, values[start : start + CHUNK])))


FAIL, NOTHING, ADD, SET = "fail", "nothing", "add", "set"


class _Then(NamedTuple):
    """What becomes of a row whose key is there: these columns are added to or set."""

    do: str
    columns: tuple[str, ...] = ()


def _run(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], then: _Then) -> int:
    """Hand rows, all of the same keys, to the driver as they are: SQLAlchemy's work per row would cost the most."""
    return _many(connection, *_inserting(connection.dialect, table, tuple(rows[0]), then), rows) if rows else 0


# Compiling a statement costs as much as running it for a hundred rows.
@lru_cache(maxsize=256)
def _inserting(dialect: Dialect, table: Table, names: tuple[str, ...], then: _Then) -> _Text:
    statement: Any = _inserts(dialect.name)(table)
    if dialect.name == "postgresql":
        given = _given(table, names)
        statement = statement.from_select(list(names), select(*(given.c[n] for n in names)), include_defaults=False)
    if then.do == NOTHING:
        statement = statement.on_conflict_do_nothing()
    elif then.do in (ADD, SET):
        new = {name: statement.excluded[name] for name in then.columns}
        if then.do == ADD:
            new = {name: table.c[name] + value for name, value in new.items()}
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=new)
    return _compiled(dialect, statement, list(names))


@lru_cache(maxsize=64)
def _updating(dialect: Dialect, table: Table, names: tuple[str, ...], keys: tuple[str, ...]) -> _Text:
    # A parameter that is called as a column would be taken for its new value.
    if dialect.name == "postgresql":
        given = _given(table, names)
        new = {name: given.c[name] for name in names if name not in keys}
        return _compiled(dialect, update(table).values(new).where(*(table.c[k] == given.c[k] for k in keys)), None)
    new = {name: bindparam(f"{name}_") for name in names if name not in keys}
    which = (table.c[key] == bindparam(f"{key}_") for key in keys)
    text, order = _compiled(dialect, update(table).values(new).where(*which), None)
    return text, None if order is None else tuple(name.removesuffix("_") for name in order)


def _given(table: Table, names: tuple[str, ...]) -> Any:
    """Rows as the columns of one parameter each: the server plans once for all of them."""
    columns = (cast(bindparam(name), postgresql.ARRAY(table.c[name].type)) for name in names)
    return func.unnest(*columns).table_valued(*names, name="given").render_derived()


# In binary no text of an array needs to be escaped.
_PARAMETER = re.compile(r"%\((\w+)\)s")
_Text = tuple[str, tuple[str, ...] | None]


def _compiled(dialect: Dialect, statement: Any, columns: list[str] | None) -> _Text:
    """A statement's text, and the names of its parameters in their order; None where the driver takes names."""
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    order = compiled.positiontup
    return str(compiled), None if order is None else tuple(order)


def _many(connection: Connection, text: str, order: tuple[str, ...] | None, rows: Sequence[dict[str, Any]]) -> int:
    if order is None:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return connection.exec_driver_sql(_PARAMETER.sub(r"%(\1)b", text), columns).rowcount
    take = itemgetter(*order)
    return connection.exec_driver_sql(text, [take(row) for row in rows]).rowcount


def dialect_insert(connection: Connection, table: Table) -> Any:
    """The database's own INSERT, which knows ON CONFLICT."""
    return _inserts(connection.dialect.name)(table)


def _inserts(dialect: str) -> Any:
    return (sqlite if dialect == "sqlite" else postgresql).insert


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
