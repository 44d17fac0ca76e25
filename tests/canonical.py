"""Canonical frames for tests: rows with the few fields a test speaks of, the rest absent or at their defaults."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

_TEXT = (
    "intermediaries branch terminal teller conductor conductor_name on_behalf_of merchant merchant_category device ip "
    "relates_to batch_id purpose end_to_end_id uetr extra transaction_id institution source currency credit_currency"
).split()
_INTEGER = "source_sequence executed_at amount credit_amount debit_value credit_value place".split()
_CODE = "time_precision instrument channel initiated_by status relation entry_side".split()

SCHEMA: dict[str, Any] = {
    **dict.fromkeys(_TEXT, pl.String),
    **dict.fromkeys(_INTEGER, pl.Int64),
    **dict.fromkeys(_CODE, pl.UInt8),
    "revision": pl.Int32,
    "void": pl.Boolean,
    "batch_lump": pl.Boolean,
    "booking_date": pl.Date,
    "value_date": pl.Date,
}
for _end in ("originator", "beneficiary"):
    for _what in ("account", "customer", "name", "country", "institution", "ultimate"):
        SCHEMA[f"{_end}_{_what}"] = pl.String
    SCHEMA[f"{_end}_method"] = pl.UInt8
    SCHEMA[f"{_end}_balance_after"] = pl.Int64

DEFAULTS: dict[str, Any] = {
    "institution": "main", "revision": 1, "void": False, "batch_lump": False, "currency": "USD", "status": 0,
    "initiated_by": 0, "entry_side": 0, "time_precision": 0, "instrument": 1,
}  # fmt: skip

PARTIES: dict[str, Any] = {
    **dict.fromkeys(
        "institution party_institution account customer role kind risk country replaced_by".split(), pl.String
    ),
    "cash_intensive": pl.Boolean,
    "opened": pl.Date,
    "expected_monthly_turnover": pl.Int64,
    "valid_from": pl.Date,
}


def txn(transaction_id: str = "t1", at: int | None = 0, amount: int | None = 10_000, **fields: Any) -> dict[str, Any]:
    """One record: a wire of 100.00 from account a to account b at `at` (UTC µs), unless told otherwise."""
    ends = {"originator_account": "a", "beneficiary_account": "b"}
    values = {"debit_value": amount, "credit_value": amount}
    row = DEFAULTS | ends | values | {"transaction_id": transaction_id, "executed_at": at, "amount": amount}
    return row | fields


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The canonical frame of the rows; `place` counts from 1 where a row has none."""
    placed = [{"place": i + 1} | r for i, r in enumerate(rows)]
    return pl.DataFrame(placed, schema=SCHEMA)


def parties(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """A parties frame; the institution defaults to main."""
    return pl.DataFrame([{"institution": "main"} | r for r in rows], schema=PARTIES)


class UtcDays:
    """A calendar of UTC days, unit day = booking date, else the day."""

    country = "US"

    def local_day(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Days since 1970-01-01."""
        return (at // 86_400_000_000).astype(np.int32)

    def unit_day(self, at: npt.NDArray[np.int64], booking: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The booking date where there is one, else the local day."""
        return np.where(booking > -(1 << 31), booking, self.local_day(at)).astype(np.int32)


def micros(text: str, zone: str = "UTC") -> int:
    """UTC µs of a local time."""
    local = dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return int(local.timestamp()) * 1_000_000
