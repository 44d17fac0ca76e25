"""Records as the lines of JSON that the intake reads back to the same records, made by columns.

What a record does not say is left out, defaults too. What the fields of version 1 do not hold stands beside them, as
the feed had it; where a field could not be read, what stood there goes out again: the intake finds the same defect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from aml.domain.party import PARTIES
from aml.domain.transaction import CANONICAL, DEFAULTS, ENDS, WORDS, words
from aml.feed.fields import FIELDS, Kind
from aml.feed.rates import currencies

_ESCAPED: Final = r'["\\\x00-\x1f]'
_MONEY: Final = {
    "amount": "currency", "originator_balance_after": "currency",
    "credit_amount": "credit_currency", "beneficiary_balance_after": "credit_currency",
}  # fmt: skip
_OWN: Final = [name for name in CANONICAL if name in FIELDS]
# By what the record would be misread where it has a field of its own of that name: it goes out under another.
_MISREAD: Final = (*ENDS, "specversion", "source")
_BESIDE: Final = rf'"(?:{"|".join([*_OWN, *_MISREAD])})":'
_TURNOVER: Final = "expected_monthly_turnover"
PARTY_KEY: Final = ("institution", "account", "role", "customer", "valid_from")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def transaction_lines(frame: pl.DataFrame) -> pl.Series:
    """One JSON object a row of a canonical frame, by streams/schemas/transaction.v1.json; no line ends within."""
    if not frame.height:
        return pl.Series("line", [], pl.String)
    texts = [(name, value) for name in _OWN if (value := _value(frame, name)) is not None]
    return _with_extra(_objects(texts), frame)


def _objects(members: Iterable[tuple[str, pl.Series]]) -> pl.Series:
    """Objects of JSON values by name; null leaves a member out. The first is in every row."""
    parts: list[pl.Expr | pl.Series] = []
    lead = "{"
    for name, value in members:
        key = f'{lead}"{name}":'
        if value.null_count():
            parts.append(pl.select(pl.concat_str(pl.lit(key), value)).to_series())
        else:
            parts += [pl.lit(key), value]
        lead = ","
    columns = [part if isinstance(part, pl.Expr) else pl.lit(part) for part in (*parts, pl.lit("}"))]
    return pl.select(pl.concat_str(columns, ignore_nulls=True).alias("line")).to_series()


def _value(frame: pl.DataFrame, name: str) -> pl.Series | None:
    """A column's JSON values, null where a record does not say; None where none does."""
    column = frame.get_column(name)
    if name in DEFAULTS:
        column = column.set(column.cast(pl.Int64) == int(DEFAULTS[name]), None)
    if column.null_count() == frame.height:
        return None
    if name in _MONEY:
        return _quoted(_money(frame, name))
    if name in WORDS:
        table = {code: f'"{word}"' for code, word in enumerate(words(WORDS[name]))}
        return column.replace_strict(table, return_dtype=pl.String)
    match FIELDS[name]:
        case Kind.TIME:
            return _quoted(_times(column))
        case Kind.FLAG | Kind.INTEGER | Kind.LIST:
            return column.cast(pl.String)
        case Kind.DATE:
            return _quoted(column.cast(pl.String))
    return _text(column)


def _quoted(values: pl.Series) -> pl.Series:
    return pl.select(pl.concat_str(pl.lit('"'), values, pl.lit('"'))).to_series()


def _text(values: pl.Series) -> pl.Series:
    """Texts as JSON; those with a sign that must be escaped by the JSON writer itself."""
    quoted = _quoted(values)
    rows = values.str.contains(_ESCAPED).fill_null(False).arg_true()
    if not len(rows):
        return quoted
    return quoted.scatter(rows, [msgspec.json.encode(text).decode() for text in values.gather(rows).to_list()])


def _times(at: pl.Series) -> pl.Series:
    """RFC 3339 of UTC µs."""
    moment = at.cast(pl.Datetime("us")).to_frame("t").select(pl.col("t").dt.to_string("iso:strict"))
    whole = pl.col("t").str.strip_suffix(".000000")
    return moment.select(pl.concat_str(whole, pl.lit("Z"))).to_series()


def _money(frame: pl.DataFrame, name: str) -> pl.Series:
    """Decimal texts of a column of minor units."""
    currency = frame.get_column("currency")
    if _MONEY[name] != "currency":
        currency = frame.get_column(_MONEY[name]).fill_null(currency)
    values, known = frame.get_column(name), currencies()
    places = {code: known[code] for code in currency.unique().drop_nulls().to_list()}
    if len(set(places.values())) == 1:
        return _decimal(values, next(iter(places.values())))
    told = pl.Series(name, [None], dtype=pl.String).new_from_index(0, frame.height)
    decimal = currency.replace_strict(places, default=None, return_dtype=pl.Int8)
    for number in set(places.values()):
        rows = (decimal == number).arg_true()
        told = told.scatter(rows, _decimal(values.gather(rows), number))
    return told


def _decimal(minor: pl.Series, places: int) -> pl.Series:
    if not places:
        return minor.cast(pl.String)
    digits = minor.abs().cast(pl.String).str.zfill(places + 1).to_frame("d")
    sign = pl.lit(pl.select(pl.when(minor < 0).then(pl.lit("-")).otherwise(pl.lit(""))).to_series())
    cut = (sign, pl.col("d").str.head(-places), pl.lit("."), pl.col("d").str.tail(places))
    return digits.select(pl.concat_str(cut)).to_series()


def _with_extra(lines: pl.Series, frame: pl.DataFrame) -> pl.Series:
    """The lines, and in each what its record's `extra` holds."""
    extra = frame.get_column("extra")
    if extra.null_count() == frame.height:
        return lines
    table = pl.DataFrame({"line": lines, "extra": extra})
    more = pl.concat_str(pl.col("line").str.strip_suffix("}"), pl.lit(","), pl.col("extra").str.strip_prefix("{"))
    lines = table.select(pl.when(pl.col("extra").is_null()).then("line").otherwise(more).alias("line")).to_series()
    rows = extra.str.contains(_BESIDE).fill_null(False).to_numpy().nonzero()[0]
    if not rows.size:
        return lines
    own, beside = table.get_column("line").gather(rows), extra.gather(rows)
    return lines.scatter(rows.astype(np.uint32), [_merged(*pair) for pair in zip(own, beside, strict=True)])


def _merged(line: str, extra: str) -> str:
    """A record whose extra has names that are fields too: what stood there replaces what was made of it."""
    members: dict[str, Any] = _members(line)
    for name, value in _members(extra).items():
        whole = name in ENDS and bytes(value)[:1] == b"{"
        members[f"{name}_text" if name in _MISREAD and not whole else name] = value
    return msgspec.json.encode(members).decode()


def party_lines(frame: pl.DataFrame, reporting: str) -> list[tuple[str, str]]:
    """Each row of a parties frame as (key, JSON object). reporting: the currency of turnover.

    The key has the customer, too: two persons may hold a mandate on one account since the same day.
    """
    turnover = _decimal(frame.get_column(_TURNOVER), currencies()[reporting]).alias(_TURNOVER)
    dated = frame.select(list(PARTIES)).with_columns(turnover, pl.col("opened", "valid_from").cast(pl.String))
    keys = dated.select(pl.struct(pl.col(name).fill_null("") for name in PARTY_KEY).struct.json_encode()).to_series()
    return list(zip(keys.to_list(), texts_of(dated), strict=True))


def texts_of(frame: pl.DataFrame) -> list[str]:
    """Each row as a JSON object, absent fields left out, its keys sorted: what `store.encoding.to_json` writes."""
    present = sorted(name for name in frame.columns if frame.get_column(name).null_count() < frame.height)
    members = pl.concat_str([_member(name, frame.schema[name]) for name in present], separator=",", ignore_nulls=True)
    return frame.select(pl.concat_str([pl.lit("{"), members, pl.lit("}")])).to_series().to_list()


def _member(name: str, kind: pl.DataType) -> pl.Expr:
    """A field's name and value, null where it is absent. Only texts need to be escaped."""
    if isinstance(kind, pl.String):
        object_ = pl.struct(pl.col(name)).struct.json_encode()
        return pl.when(pl.col(name).is_not_null()).then(object_.str.slice(1).str.head(-1))
    mark = '"' if isinstance(kind, pl.Date) else ""
    return pl.concat_str([pl.lit(f'"{name}":{mark}'), pl.col(name).cast(pl.String), pl.lit(mark)])
