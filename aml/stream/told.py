"""Records as the JSON of the contracts, by columns: what `aml publish` writes, and the intake reads back unchanged."""

from __future__ import annotations

from typing import Final

import polars as pl

from aml.domain.party import PARTIES
from aml.domain.transaction import CANONICAL, WORDS, words
from aml.feed.rates import currencies
from aml.pipeline.evidence import texts_of

_DERIVED: Final = ("debit_value", "credit_value", "place")
_MONEY: Final = {
    "amount": "currency", "credit_amount": "credit_currency", "originator_balance_after": "currency",
    "beneficiary_balance_after": "credit_currency",
}  # fmt: skip
_RAW: Final = ("intermediaries", "extra")  # JSON texts already
_TURNOVER: Final = "expected_monthly_turnover"
PARTY_KEY: Final = ("institution", "account", "role", "customer", "valid_from")


def transaction_lines(frame: pl.DataFrame) -> list[str]:
    """Each row of a canonical frame as one JSON object, absent fields left out."""
    names = [name for name in CANONICAL if name in frame.columns and name not in _DERIVED]
    told = frame.select(_column(name) for name in names if name not in _RAW)
    lines = texts_of(told)
    for name in _RAW:
        if name in frame.columns and frame.get_column(name).null_count() < frame.height:
            lines = _with_raw(lines, name, frame.get_column(name).to_list())
    return lines


def _with_raw(lines: list[str], name: str, raw: list[str | None]) -> list[str]:
    """The lines with a member that is JSON already; what a record says beyond our fields becomes members of its own."""
    def member(text: str) -> str:
        return text[1:-1] if name == "extra" else f'"{name}":{text}'

    return [
        line if text is None or text == "{}" else f"{line[:-1]},{member(text)}}}"
        for line, text in zip(lines, raw, strict=True)
    ]


def _column(name: str) -> pl.Expr:
    column = pl.col(name)
    if name in WORDS:
        return column.cast(pl.Int32).replace_strict(dict(enumerate(words(WORDS[name]))), return_dtype=pl.String)
    if name in _MONEY:
        currency = pl.col(_MONEY[name]) if name == "amount" else pl.coalesce(_MONEY[name], "currency")
        return _decimal(column, currency.replace_strict(currencies(), default=2, return_dtype=pl.Int64)).alias(name)
    if name == "executed_at":
        return pl.from_epoch(column, "us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias(name)
    return column


def _decimal(minor: pl.Expr, places: pl.Expr) -> pl.Expr:
    """Minor units as decimal text."""
    unit = pl.lit(10, pl.Int64).pow(places).cast(pl.Int64)
    sign = pl.when(minor < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    fraction = (minor.abs() % unit).cast(pl.String).str.zfill(places)
    whole = pl.concat_str(sign, (minor.abs() // unit).cast(pl.String))
    return pl.when(places > 0).then(pl.concat_str(whole, pl.lit("."), fraction)).otherwise(whole)


def party_lines(frame: pl.DataFrame, reporting: str) -> list[tuple[str, str]]:
    """Each row of a parties frame as (key, JSON object). reporting: the currency of turnover.

    The key has the customer, too: two persons may hold a mandate on one account since the same day.
    """
    places = pl.lit(currencies()[reporting], pl.Int64)
    told = frame.select(
        _decimal(pl.col(name), places).alias(name) if name == _TURNOVER else pl.col(name) for name in PARTIES
    )
    dated = told.with_columns(pl.col("opened", "valid_from").cast(pl.String))
    keys = dated.select(pl.struct(pl.col(name).fill_null("") for name in PARTY_KEY).struct.json_encode()).to_series()
    return list(zip(keys.to_list(), texts_of(dated), strict=True))
