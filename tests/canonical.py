"""Canonical frames for tests: rows with the few fields a test speaks of, the rest absent or at their defaults."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.party import PARTIES
from aml.domain.transaction import CANONICAL

DEFAULTS: dict[str, Any] = {
    "institution": "main", "revision": 1, "void": False, "batch_lump": False, "currency": "USD", "status": 0,
    "initiated_by": 0, "entry_side": 0, "time_precision": 0, "instrument": 1,
}  # fmt: skip


def txn(transaction_id: str = "t1", at: int | None = 0, amount: int | None = 10_000, **fields: Any) -> dict[str, Any]:
    """One record: a wire of 100.00 from account a to account b at `at` (UTC µs), unless told otherwise."""
    ends = {"originator_account": "a", "beneficiary_account": "b"}
    values = {"debit_value": amount, "credit_value": amount}
    row = DEFAULTS | ends | values | {"transaction_id": transaction_id, "executed_at": at, "amount": amount}
    return row | fields


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The canonical frame of the rows; `place` counts from 1 where a row has none."""
    placed = [{"place": i + 1} | r for i, r in enumerate(rows)]
    return pl.DataFrame(placed, schema=CANONICAL)


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
