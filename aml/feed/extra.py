"""What the fields of version 1 do not hold, kept whole: one canonical JSON text a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from aml.feed.fields import encode

# Signs that JSON writes otherwise: a text that holds one is encoded by the JSON writer itself.
_ESCAPED: Final = r'["\\\x00-\x1f]'
Sparse = Mapping[int, Mapping[str, Any]]


def extra_column(columns: pl.DataFrame, sparse: Sparse, rows: int) -> pl.Series | None:
    """The JSON objects of all rows, null where there is nothing to keep; None where no row has anything.

    `columns` are whole columns without a name of ours (null and empty values are absent), `sparse` fields by row.
    """
    if not columns.width and not sparse:
        return None
    names = sorted(columns.columns)
    plain = [name for name in names if _is_plain(columns.schema[name])]
    texts, slow = _written(columns, plain) if plain else (_nothing(rows), np.zeros(rows, np.bool_))
    slow[list(sparse)] = True
    if len(plain) < len(names):
        slow[:] = True
    if slow.any():
        texts = texts.scatter(np.flatnonzero(slow), _encoded(columns, sparse, np.flatnonzero(slow).tolist()))
    return texts.alias("extra")


def _nothing(rows: int) -> pl.Series:
    return pl.Series("extra", [None], dtype=pl.String).new_from_index(0, rows)


def _is_plain(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.String | pl.Boolean | pl.Null) or kind.is_integer()


def _written(columns: pl.DataFrame, names: list[str]) -> tuple[pl.Series, np.ndarray]:
    """Objects by columns, and the rows that hold a sign which must be escaped."""
    members, escaped = [], []
    for name in names:
        key = encode(name).decode()
        value, text = pl.col(name), isinstance(columns.schema[name], pl.String)
        mark = '"' if text else ""
        member = pl.concat_str(pl.lit(f"{key}:{mark}"), value.cast(pl.String), pl.lit(f"{mark},"))
        members.append(pl.when(value != "").then(member) if text else member)
        if text:
            escaped.append(value.str.contains(_ESCAPED).fill_null(False))
    inner = pl.concat_str(members, ignore_nulls=True).str.strip_suffix(",")
    whole = pl.concat_str(pl.lit("{"), inner, pl.lit("}"))
    texts = columns.select(pl.when(inner != "").then(whole).alias("extra")).to_series()
    if not escaped:
        return texts, np.zeros(columns.height, np.bool_)
    return texts, columns.select(pl.any_horizontal(escaped)).to_series().to_numpy().copy()


def _encoded(columns: pl.DataFrame, sparse: Sparse, rows: list[int]) -> list[str | None]:
    """The objects of some rows, one by one."""
    found: list[str | None] = []
    held = columns[rows].rows(named=True) if columns.width else [{}] * len(rows)
    for row, values in zip(rows, held, strict=True):
        fields = {name: value for name, value in values.items() if value not in (None, "")}
        fields |= sparse.get(row, {})
        kept = {name: _simple(value) for name, value in fields.items()}
        found.append(encode(kept).decode() if kept else None)
    return found


def _simple(value: Any) -> Any:
    """A value that JSON can hold."""
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
