"""Columns of texts cleaned: no blanks around a value, an empty one absent; what repeats is looked at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import polars as pl

from aml.feed.fields import FIELDS, Kind

_FEW: Final = 1 << 10  # rows for which a dictionary is asked row by row: a question to a column costs more


def cleaned(frame: pl.DataFrame, padded: Collection[str] | None = None) -> pl.DataFrame:
    """Texts without blanks around them; an empty one is absent. padded: where there may be any; None: everywhere."""
    texts = [n for n, kind in frame.schema.items() if kind == pl.String and (padded is None or n in padded)]
    repeated = [name for name in texts if _repeats(name)]
    changed = [by_value(frame.get_column(name), _stripped) for name in repeated]
    others = [name for name in texts if name not in set(repeated)]
    changed += [_strip(frame.get_column(name)) for name in _with_blanks(frame, others)]
    return frame.with_columns(changed) if changed else frame


def _repeats(name: str) -> bool:
    """Whether the field has few different values."""
    return FIELDS.get(name) is Kind.WORD or name.endswith(("_country", "currency"))


def _stripped(text: str) -> str | None:
    return text.strip() or None


def _strip(values: pl.Series) -> pl.Series:
    text = pl.col(values.name).str.strip_chars()
    return values.to_frame().select(pl.when(text != "").then(text).alias(values.name)).to_series()


def _with_blanks(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """The columns in which some value has blanks around it or is empty; the others need no copy."""
    if not names or not frame.height:
        return []
    looked = []
    for place, name in enumerate(names):
        text = pl.col(name)
        shorter = text.str.strip_chars().str.len_bytes()
        looked.append((shorter.sum() != text.str.len_bytes().sum()).alias(f"{place}b"))
        looked.append((shorter.min() == 0).fill_null(False).alias(f"{place}e"))
    found = (frame.select_seq if frame.height <= _FEW else frame.select)(looked).row(0)
    return [name for place, name in enumerate(names) if found[2 * place] or found[2 * place + 1]]


def by_value(values: pl.Series, change: Callable[[str], str | None]) -> pl.Series:
    """Each text changed; for columns in which the same texts come again and again."""
    table = {text: change(text) for text in different(values)}
    if all(before == after for before, after in table.items()):
        return values
    return _replaced(values, table, pl.String)


def coded(values: pl.Series, codes: Mapping[str, int]) -> pl.Series:
    """The code of each text whatever its letters' case, null where it has none."""
    found = {text: codes.get(text.lower()) for text in different(values)}
    if not found:
        return pl.Series(values.name, [None], dtype=pl.UInt8).new_from_index(0, len(values)).alias(values.name)
    return _replaced(values, found, pl.UInt8)


def different(values: pl.Series) -> set[str]:
    """The texts of a column, once each."""
    return set(values.to_list() if len(values) <= _FEW else values.unique().to_list()) - {None}


def _replaced(values: pl.Series, table: Mapping[str, Any], kind: Any) -> pl.Series:
    if len(values) <= _FEW:
        return pl.Series(values.name, [table.get(text) for text in values.to_list()], dtype=kind)
    return values.replace_strict(table, default=None, return_dtype=kind).alias(values.name)
