"""Reads the party table: NDJSON, CSV or Parquet, or AMLSim's accounts; one defect stops it with one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from aml.domain.errors import AmlError
from aml.domain.party import PARTIES, PartyKind
from aml.feed import columnar, tabular
from aml.feed.amounts import minor_column
from aml.feed.formats import Format, Source, open_source
from aml.feed.lines import blocks
from aml.feed.mapping import PLAIN
from aml.feed.rates import currencies

_TURNOVER: Final = "expected_monthly_turnover"
_AMLSIM: Final = {"acct_id": "account", "open_dt": "opened", "country": "country"}
_AMLSIM_NODES: Final = {"nodeid": "account"}
_TRUE: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_decode: Final = msgspec.json.Decoder(float_hook=str).decode
_CHUNK: Final = 100_000


def read_parties(path: str | Path, tenant: str, reporting_currency: str = "USD") -> pl.DataFrame:
    """The party table of a file, columns as `aml.domain.party.PARTIES`; `tenant`: the institution of rows without one.

    Turnover is decimal text in the reporting currency, and becomes its minor units. Raises AmlError naming file, line
    and field.
    """
    source = open_source(path)
    try:
        parts = [_typed(frame, place, source.shown, reporting_currency) for frame, place in _frames(source)]
    finally:
        source.close()
    whole = pl.concat(parts) if parts else pl.DataFrame(schema=PARTIES)
    return whole.with_columns(pl.col("institution").fill_null(tenant))


def parse_parties(lines: list[bytes], shown: str, tenant: str, reporting_currency: str) -> pl.DataFrame:
    """The party rows of JSON objects, as `read_parties`. Raises AmlError naming `shown`, the line and the field."""
    typed = _typed(*_objects(lines, 1, shown), shown, reporting_currency)
    return typed.with_columns(pl.col("institution").fill_null(tenant))


def _frames(source: Source) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Parts of the table under our names, with the line or row of each."""
    match source.format:
        case Format.NDJSON:
            for block in blocks(source, _CHUNK):
                yield _objects(block.lines, block.first, source.shown)
        case Format.CSV:
            names, mark = tabular.header_of(source.head, PLAIN, source.shown, set(PARTIES) | set(_AMLSIM))
            if "account" not in names and "acct_id" not in names:
                raise AmlError(f"{source.shown}:1: no column account; found {', '.join(names)}")
            for sheet in tabular.sheets(source, names, mark, "utf-8-sig", _CHUNK):
                if sheet.failed:
                    raise AmlError(f"{source.shown}:{sheet.failed[0].place}: {sheet.failed[0].detail}")
                yield _ours(sheet.frame), sheet.place
        case Format.PARQUET:
            assert source.path is not None
            names = columnar.schema_of(source.path).names()
            if not {"account", "nodeid"} & set(names):
                raise AmlError(f"{source.shown}: no column account; found {', '.join(names)}")
            for first, part in columnar.frames(source.path, _CHUNK):
                yield _ours(part), pl.int_range(first + 1, first + part.height + 1, eager=True)
        case Format.EMPTY:
            return


def _ours(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that we know; AMLSim's accounts under our names."""
    table = _AMLSIM if "acct_id" in frame.columns else _AMLSIM_NODES if "nodeid" in frame.columns else {}
    if table:
        known = {theirs: ours for theirs, ours in table.items() if theirs in frame.columns}
        frame = frame.select(list(known)).rename(known)
        if "opened" in frame.columns:
            frame = frame.with_columns(pl.col("opened").cast(pl.String).str.slice(0, 10))
        return frame.with_columns(pl.col("account").cast(pl.String))
    return frame.select([name for name in PARTIES if name in frame.columns])


def _objects(lines: list[bytes], first: int, shown: str) -> tuple[pl.DataFrame, pl.Series]:
    rows: list[dict[str, Any]] = []
    places = []
    for place, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            value = _decode(line)
        except (ValueError, RecursionError) as error:
            raise AmlError(f"{shown}:{place}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise AmlError(f"{shown}:{place}: not an object")
        rows.append(value)
        places.append(place)
    columns = {}
    for name in PARTIES:
        if any(name in row for row in rows):
            values = [_text(row.get(name), name, f"{shown}:{place}") for row, place in zip(rows, places, strict=True)]
            columns[name] = pl.Series(name, values, dtype=pl.String)
    return pl.DataFrame(columns, height=len(rows)), pl.Series(places, dtype=pl.Int64)


def _text(value: Any, name: str, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if name == "cash_intensive" and isinstance(value, bool):
        return "true" if value else "false"
    if name == _TURNOVER and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise AmlError(f"{where}: {name}: {value!r} has the wrong type")


def _typed(frame: pl.DataFrame, place: pl.Series, shown: str, reporting: str) -> pl.DataFrame:
    """The canonical parties frame of text or typed columns."""
    columns = []
    for name, kind in PARTIES.items():
        if name not in frame.columns:
            columns.append(pl.Series(name, [None], dtype=kind).new_from_index(0, frame.height).alias(name))
            continue
        values = frame.get_column(name)
        if values.dtype == pl.String:
            stripped = values.to_frame().select(pl.col(name).str.strip_chars())
            values = stripped.select(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name)).to_series()
        read = _column(name, values, reporting)
        bad = (read.is_null() & values.is_not_null()).arg_true()
        if len(bad):
            raise AmlError(f"{shown}:{place[bad[0]]}: {name}: {values[bad[0]]!r} is not {_wanted(name)}")
        columns.append(read.alias(name))
    typed = pl.DataFrame(columns, height=frame.height)
    lacking = typed.get_column("account").is_null().arg_true()
    if len(lacking):
        raise AmlError(f"{shown}:{place[lacking[0]]}: account: missing")
    return typed


def _column(name: str, values: pl.Series, reporting: str) -> pl.Series:
    """A column in its canonical type, null where that cannot be."""
    kind = PARTIES[name]
    if values.dtype == pl.Null:
        return values.cast(kind)
    if name == _TURNOVER:
        places = np.full(len(values), currencies()[reporting], np.int8)
        numbers = values.dtype.is_integer() or isinstance(values.dtype, pl.String | pl.Decimal)
        if not numbers:
            return pl.Series(name, [None], dtype=kind).new_from_index(0, len(values))
        return minor_column(values, places, signed=True)[0]
    if isinstance(kind, pl.Boolean) and values.dtype == pl.String:
        return values.str.to_lowercase().replace_strict(_TRUE, default=None, return_dtype=pl.Boolean)
    if isinstance(kind, pl.Date) and values.dtype == pl.String:
        return values.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(kind, pl.String):
        texts = isinstance(values.dtype, pl.String | pl.Categorical | pl.Enum)
        read = values.cast(pl.String) if texts else pl.Series([None], dtype=kind).new_from_index(0, len(values))
        if name == "kind":
            lower = read.str.to_lowercase()
            return lower.set(~lower.is_in([word.value for word in PartyKind]).fill_null(True), None)
        if name == "country":
            upper = read.str.to_uppercase()
            return upper.set(~upper.str.contains("^[A-Z]{2}$").fill_null(True), None)
        return read
    return values if values.dtype == kind else pl.Series([None], dtype=kind).new_from_index(0, len(values))


def _wanted(name: str) -> str:
    special = {
        "kind": "one of " + ", ".join(PartyKind),
        "country": "a country of two letters",
        _TURNOVER: "a decimal amount",
        "cash_intensive": "true or false",
    }
    return special.get(name, "a date like 2026-03-02" if isinstance(PARTIES[name], pl.Date) else "a text")
