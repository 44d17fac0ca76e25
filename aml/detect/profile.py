"""A jurisdiction's numbers and days: what cash is reported, in which unit, and which day a payment belongs to."""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml import content
from aml.domain.errors import USAGE, AmlError
from aml.domain.money import decimals

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
BOOKED_BEFORE: Final = 1  # days that a plausible booking date may lie before and after the local day
BOOKED_AFTER: Final = 5
_KEYS: Final = {"id", "title", "country", "currency", "zone", "cash_report", "calendar"}
_REPORT_KEYS: Final = {"valid_from", "amount", "comparison", "aggregation", "directions", "source"}
_CALENDAR_KEYS: Final = {"roll", "cut_off", "holidays", "source"}


@dataclass(frozen=True, slots=True)
class Profile:
    """One jurisdiction. Amounts are minor units of `currency`, which is the reporting currency.

    due_at: a report is due at the threshold, not only above it; unit_is_leg: every transaction is a unit of its own;
    out_reported: cash paid out is reported too; roll: weekends and holidays count for the next business day.
    """

    name: str
    title: str
    zone: str
    country: str
    currency: str
    digits: int
    threshold: int
    due_at: bool
    unit_is_leg: bool
    out_reported: bool
    roll: bool
    cut_off: dt.time | None
    holidays: frozenset[dt.date]
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def local_day(self, at: I64) -> I32:
        """Local calendar day (days since 1970-01-01) of instants in UTC µs."""
        return self._local(at).dt.date().cast(pl.Int32).to_numpy()

    def unit_day(self, at: I64, booking: I32) -> I32:
        """Unit day of instants in UTC µs and booking dates (days since 1970-01-01; the least int32: none).

        The booking date where it is plausible, else the local day after the cut-off, rolled to a business day.
        """
        local = self._local(at)
        day = local.dt.date().cast(pl.Int32).to_numpy()
        unit = day
        if self.cut_off is not None:
            unit = day + (local.dt.time() >= self.cut_off).to_numpy().astype(np.int32)
        if self.roll:
            unit = self._rolled(unit)
        plausible = (booking >= day - BOOKED_BEFORE) & (booking <= day + BOOKED_AFTER)
        return np.where(plausible, booking, unit).astype(np.int32)

    def _local(self, at: I64) -> pl.Series:
        return pl.Series(at).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(self.zone)

    def _rolled(self, day: I32) -> I32:
        """The first business day on or after each day."""
        if day.size == 0:
            return day
        first, last = int(day.min()), int(day.max())
        return _business_days(first, last, self.holidays)[day - first]


def _business_days(first: int, last: int, holidays: frozenset[dt.date]) -> I32:
    """For each day first … last the first business day on or after it."""
    epoch = dt.date(1970, 1, 1)
    closed = {(day - epoch).days for day in holidays}
    table = np.empty(last - first + 1, np.int32)
    upcoming = last + 1
    while not _opens(upcoming, closed):
        upcoming += 1
    for day in range(last, first - 1, -1):
        if _opens(day, closed):
            upcoming = day
        table[day - first] = upcoming
    return table


def _opens(day: int, closed: set[int]) -> bool:
    return (day + 3) % 7 < 5 and day not in closed


def load_profile(name: str) -> Profile:
    """The profile `name` of rules/profiles.

    Raises AmlError that names the profiles there are, or the key at fault.
    """
    places = content.folder("rules") / "profiles"
    path = places / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in places.glob("*.toml")))
        raise AmlError(f"profile {name!r} does not exist: give one of {known}", USAGE)
    return read_profile(path.read_text(encoding="utf-8"), path)


def read_profile(text: str, path: Path) -> Profile:
    """Read a profile file. Raises AmlError that names the file, the key and what it must be."""
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{path}: not valid TOML: {error}") from error
    return _Reader(path, table).profile(text)


class _Reader:
    def __init__(self, path: Path, table: Mapping[str, Any]) -> None:
        self.path, self.table = path, table

    def profile(self, text: str) -> Profile:
        self._only(self.table, _KEYS, "")
        report = self._report()
        calendar = self.table.get("calendar", {})
        self._only(calendar, _CALENDAR_KEYS, "calendar.")
        currency = self._text("currency")
        digits = decimals(currency)
        if self._text("id") != self.path.stem:
            raise self._error("id", f"must be the file's name, {self.path.stem!r}")
        return Profile(
            name=self.path.stem, title=self._text("title"), zone=self._text("zone"), country=self._text("country"),
            currency=currency, digits=digits, threshold=int(Decimal(report["amount"]).scaleb(digits)),
            due_at=self._one_of(report, "comparison", ("above", "at_or_above")) == "at_or_above",
            unit_is_leg=self._one_of(report, "aggregation", ("business_day", "day", "transaction")) == "transaction",
            out_reported="out" in report.get("directions", ()), roll=bool(calendar.get("roll", False)),
            cut_off=self._cut_off(calendar), holidays=frozenset(calendar.get("holidays", ())), text=text,
        )  # fmt: skip

    def _report(self) -> Mapping[str, Any]:
        """The newest of the dated rows."""
        rows = self.table.get("cash_report")
        if not rows:
            raise self._error("cash_report", "missing: give at least one dated row")
        for row in rows:
            self._only(row, _REPORT_KEYS, "cash_report.")
            if not isinstance(row.get("valid_from"), dt.date) or not isinstance(row.get("amount"), int | Decimal):
                raise self._error("cash_report", "needs valid_from (a date) and amount (a number)")
        newest: Mapping[str, Any] = max(rows, key=lambda row: row["valid_from"])
        return newest

    def _cut_off(self, calendar: Mapping[str, Any]) -> dt.time | None:
        text = calendar.get("cut_off")
        if not text:
            return None
        try:
            return dt.time.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise self._error("calendar.cut_off", 'must be a time of day, as in "17:00"') from error

    def _text(self, key: str) -> str:
        value = self.table.get(key)
        if not isinstance(value, str) or not value:
            raise self._error(key, "must be a text")
        return value

    def _one_of(self, table: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
        value = table.get(key)
        if value not in allowed:
            raise self._error(f"cash_report.{key}", f"must be one of {', '.join(allowed)}")
        return str(value)

    def _only(self, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
        for key in table:
            if key not in allowed:
                raise self._error(where + key, f"unknown key; allowed: {', '.join(sorted(allowed))}")

    def _error(self, key: str, what: str) -> AmlError:
        return AmlError(f"{self.path}: {key}: {what}")
