"""Dated exchange rates, and the one conversion of amounts to the reporting currency: exact, rounded half to even."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.content import folder
from aml.domain.errors import AmlError
from aml.domain.money import ISO_4217, MOST_REPORTED
from aml.feed.texts import different

STALE: Final = 7  # days after which a rate no longer holds
_DIGITS: Final = 15
_EPOCH: Final = dt.date(1970, 1, 1)
_HEADER: Final = ["date", "currency", "rate"]
_SAFE: Final = float(1 << 62)

I64 = npt.NDArray[np.int64]
# A rate as coefficient × 10^-scale.
Rate = tuple[int, int]


@cache
def currencies(path: Path | None = None) -> dict[str, int]:
    """Decimals of every currency a feed may name: ISO 4217 and the codes of streams/currencies.csv.

    Raises AmlError where a line of that file cannot be read.
    """
    file = path or folder("streams") / "currencies.csv"
    known = dict(ISO_4217)
    for line, row in _rows(file, ["code", "decimals", "name"]):
        code, places, _ = row
        if not (len(code) == 3 and code.isascii() and code.isupper() and places.isdecimal() and int(places) <= 8):
            raise AmlError(f"{file}:{line}: must be a code of three capitals, decimals 0 to 8 and a name")
        known[code] = int(places)
    return known


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates by currency, by day (days since 1970-01-01): units of the reporting currency per unit."""

    days: dict[str, I64]
    values: dict[str, list[Rate]]

    @classmethod
    def of(cls, dated: Iterable[tuple[dt.date, str, Rate]]) -> Rates:
        """Rates from (date, currency, rate); of two of one date the later given counts."""
        table: dict[str, dict[int, Rate]] = {}
        for day, currency, rate in dated:
            table.setdefault(currency, {})[(day - _EPOCH).days] = rate
        days = {currency: np.array(sorted(by_day), np.int64) for currency, by_day in table.items()}
        return cls(days, {currency: [by_day[day] for day in sorted(by_day)] for currency, by_day in table.items()})


NO_RATES: Final = Rates({}, {})
# For records that are only handed on: what they are worth in the reporting currency is nobody's question.
UNVALUED: Final = Rates({}, {})


def load_rates(path: Path) -> Rates:
    """Rates of a CSV file `date,currency,rate`. Raises AmlError naming file, line and field."""
    return Rates.of(_dated(path))


def default_rates(kind: str, reporting: str) -> Rates:
    """The rates that ship for a public data set ("amlworld"), and for trying out ("sample"): approximate, in USD.

    For another reporting currency they are crossed through the dollar. They are samples: no bank's books.
    """
    dated = list(_dated(folder("streams") / "rates" / f"{kind}.csv"))
    if reporting == "USD":
        return Rates.of(dated)
    bases = {day: rate for day, currency, rate in dated if currency == reporting}
    crossed = [(day, c, _over(rate, bases[day])) for day, c, rate in dated if c != reporting and day in bases]
    return Rates.of([*crossed, *((day, "USD", _over((1, 0), base)) for day, base in bases.items())])


def _over(rate: Rate, base: Rate) -> Rate:
    """rate ÷ base to twelve decimals, half to even."""
    numerator, denominator = rate[0] * 10 ** (12 + base[1]), base[0] * 10 ** rate[1]
    return _rounded(numerator, denominator), 12


def _rows(path: Path, header: list[str]) -> Iterable[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            if (found := next(reader, [])) != header:
                raise AmlError(f"{path}:1: the header must be {','.join(header)}, not {','.join(found)}")
            for row in reader:
                if row and len(row) != len(header):
                    raise AmlError(f"{path}:{reader.line_num}: {len(row)} cells instead of {len(header)}")
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise AmlError(f"{path}: cannot be read: {error.strerror}: check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise AmlError(f"{path}: is not UTF-8 CSV: {error}") from error


def _dated(path: Path) -> Iterable[tuple[dt.date, str, Rate]]:
    known = currencies()
    for line, (day, currency, rate) in _rows(path, _HEADER):
        where = f"{path}:{line}"
        try:
            date = dt.date.fromisoformat(day)
        except ValueError as error:
            raise AmlError(f"{where}: date: {day!r} is not a date: write 2026-03-02") from error
        if currency not in known:
            raise AmlError(f"{where}: currency: {currency!r} is unknown: write an ISO 4217 code")
        yield date, currency, _rate(rate, where)


def _rate(text: str, where: str) -> Rate:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise AmlError(f"{where}: rate: {text!r} is not a decimal: write 1.0850") from error
    if not value.is_finite() or value <= 0:
        raise AmlError(f"{where}: rate: {text!r} must be over 0")
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) > _DIGITS or not -_DIGITS <= exponent <= _DIGITS:
        raise AmlError(f"{where}: rate: {text!r} has more than {_DIGITS} digits")
    coefficient = int("".join(map(str, digits)))
    return (coefficient * 10**exponent, 0) if exponent > 0 else (coefficient, -exponent)


@dataclass(frozen=True, slots=True)
class Converted:
    """Values in reporting minor units; `no_rate` and `too_large` mark rows without one (their value is 0)."""

    value: I64
    no_rate: npt.NDArray[np.bool_]
    too_large: npt.NDArray[np.bool_]


def convert(
    amount: I64, currency: pl.Series, day: I64, wanted: npt.NDArray[np.bool_], rates: Rates, reporting: str
) -> Converted:
    """Reporting values of minor units on a day (days since 1970-01-01, UTC); only rows that are `wanted`.

    The last rate at or before the day counts, if it is at most seven days old.
    """
    places, n = currencies(), amount.size
    value, no_rate = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    large = np.zeros(n, np.bool_)
    codes = sorted(different(currency if wanted.all() else currency.filter(pl.Series(wanted))))
    for code in codes:
        rows = np.flatnonzero(wanted if len(codes) == 1 else wanted & (currency == code).fill_null(False).to_numpy())
        if code == reporting:
            value[rows] = amount[rows]
            continue
        known = rates.days.get(code, np.empty(0, np.int64))
        last = np.searchsorted(known, day[rows], side="right") - 1
        fresh = last >= 0
        if known.size:
            fresh &= day[rows] - known[np.maximum(last, 0)] <= STALE
        no_rate[rows[~fresh]] = True
        for place in np.unique(last[fresh]).tolist():
            some = rows[fresh & (last == place)]
            coefficient, scale = rates.values[code][place]
            value[some], large[some] = _times(amount[some], coefficient, scale + places[code] - places[reporting])
    large |= value >= MOST_REPORTED
    value[large] = 0
    return Converted(value, no_rate, large)


def _times(amount: I64, coefficient: int, scale: int) -> tuple[I64, npt.NDArray[np.bool_]]:
    """amount × coefficient ÷ 10^scale, half to even, and which are far too large to be reckoned in 64 bits."""
    up, down = coefficient * 10 ** max(-scale, 0), 10 ** max(scale, 0)
    estimate = amount.astype(np.float64) * float(up) / float(down)
    large = estimate >= 2.0 * MOST_REPORTED
    if up < _SAFE and down < _SAFE and float(amount.max(initial=0)) * up < _SAFE:
        product = amount * up
        quotient = product // down
        twice = (product - quotient * down) * 2 - down if down < _SAFE / 4 else None
        if twice is not None:
            quotient += (twice > 0) | ((twice == 0) & (quotient % 2 == 1))
            return np.where(large, 0, quotient), large
    exact = [0 if skip else _rounded(one * up, down) for one, skip in zip(amount.tolist(), large.tolist(), strict=True)]
    return np.array(exact, np.int64), large


def _rounded(numerator: int, denominator: int) -> int:
    """numerator ÷ denominator, half to even."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1))
