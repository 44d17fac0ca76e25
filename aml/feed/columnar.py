"""Parquet to columns: types checked against the fields before the first row is read, nested ends unfolded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from aml.domain.errors import AmlError
from aml.domain.transaction import ENDS
from aml.feed.fields import FIELDS, Kind, encode
from aml.feed.mapping import Mapping

_READ_AHEAD: Final = 4  # chunks read at once: row groups are larger than chunks
_WANTED: Final = {
    Kind.TEXT: "text",
    Kind.WORD: "text",
    Kind.MONEY: "text, decimal or whole numbers (never floating point)",
    Kind.DATE: "date or text",
    Kind.TIME: "timestamp with a time zone, or text",
    Kind.FLAG: "boolean or text",
    Kind.INTEGER: "whole numbers or text",
    Kind.LIST: "text or a list of structures",
}


def schema_of(path: Path) -> pl.Schema:
    """A Parquet file's columns. Raises AmlError where it is damaged."""
    try:
        return pl.scan_parquet(path).collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> AmlError:
    return AmlError(f"{path}: is no whole Parquet file ({str(error).splitlines()[0]}): fetch the file again")


def rows_of(path: Path) -> int:
    """How many rows a Parquet file has, from its footer."""
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(path, error) from error


def frames(path: Path, size: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Rows in file order, at most `size` at a time, each part with the number of its first row, from 0."""
    rows, step = rows_of(path), _READ_AHEAD * size
    for first in range(0, rows, step):
        try:
            part = pl.scan_parquet(path).slice(first, step).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(path, error) from error
        for start in range(0, part.height, size):
            yield first + start, part.slice(start, size)


def row_bytes(part: pl.DataFrame, row: int) -> bytes:
    """A row as JSON, absent fields left out: what stands for the own bytes of a record that has none."""
    return encode({name: value for name, value in part.row(row, named=True).items() if value is not None})


def unfolded(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with structures `originator` and `beneficiary` as flat columns."""
    for end in ENDS:
        kind = frame.schema.get(end)
        if isinstance(kind, pl.Struct):
            inner = frame.get_column(end).struct.unnest()
            flat = inner.rename({name: f"{end}_{name}" for name in inner.columns})
            frame = frame.drop(end).with_columns(flat.get_columns())
    return frame


def check_types(schema: pl.Schema, mapping: Mapping, path: Path) -> None:
    """Whether each column has a type that its field can be read from. Raises AmlError naming file and column."""
    theirs = {ours: names[0] for ours, names in mapping.columns.items() if len(names) == 1}
    for name, field_kind in FIELDS.items():
        column = theirs.get(name, name)
        kind = schema.get(column)
        if kind is None or (name in mapping.columns and name not in theirs):
            continue
        if not _fits(kind, field_kind, name in mapping.columns):
            raise AmlError(f"{path}: column {column}: type {kind}, must be {_WANTED[field_kind]}")
        if isinstance(kind, pl.Datetime) and kind.time_zone is None and mapping.zone is None:
            told = "times without a zone: store them with one, or name the zone in a mapping"
            raise AmlError(f"{path}: column {column}: {told}")


def _fits(kind: pl.DataType, field_kind: Kind, mapped: bool) -> bool:
    if kind == pl.Null or isinstance(kind, pl.String):
        return True
    worded = isinstance(kind, pl.Categorical | pl.Enum)
    match field_kind:
        case Kind.TEXT:
            return worded or (mapped and kind.is_integer())
        case Kind.WORD:
            return worded
        case Kind.MONEY:
            return isinstance(kind, pl.Decimal) or kind.is_integer()
        case Kind.DATE:
            return isinstance(kind, pl.Date)
        case Kind.TIME:
            return isinstance(kind, pl.Datetime)
        case Kind.FLAG:
            return isinstance(kind, pl.Boolean)
        case Kind.INTEGER:
            return kind.is_integer()
        case Kind.LIST:
            return isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct)


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with categories and whole-number ids as text, absent-only columns left out."""
    changed, empty = [], []
    for name, kind in frame.schema.items():
        field_kind = FIELDS.get(name)
        if kind == pl.Null:
            empty.append(name)
        elif field_kind in (Kind.TEXT, Kind.WORD) and kind != pl.String:
            changed.append(pl.col(name).cast(pl.String))
    return frame.with_columns(changed).drop(empty)
