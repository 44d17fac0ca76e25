"""Which fields the records of the last day lack; for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL

I64 = npt.NDArray[np.int64]
HOURS: Final = 24
# What no record is expected to have, or every one has: its ratio would say nothing.
_UNTOLD: Final = frozenset({"transaction_id", "institution", "extra", "place", "debit_value", "credit_value"})
FIELDS: Final = tuple(name for name in CANONICAL if name not in _UNTOLD)


def nulls(rows: pl.DataFrame) -> dict[str, int]:
    """How many of the records lack each field that some lack."""
    counts = {column.name: column.null_count() for column in rows}
    return {name: n for name in CANONICAL if (n := counts.get(name, rows.height))}


class Window:
    """Sums of whole numbers over the last day, kept by the hour. clock: seconds."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = size, clock
        self._hours: dict[int, I64] = {}

    def add(self, counts: npt.NDArray[Any]) -> None:
        """Add [size] counts to those of this hour."""
        hour = int(self._clock() // 3600)
        self._hours = {at: held for at, held in self._hours.items() if at > hour - HOURS}
        self._hours[hour] = self._hours.get(hour, np.zeros(self._size, np.int64)) + counts

    def sum(self) -> I64:
        """[size] counts of the last day, to the hour."""
        past = int(self._clock() // 3600) - HOURS
        return sum((held for at, held in self._hours.items() if at > past), np.zeros(self._size, np.int64))


class Missing:
    """The share of a day's records that lack each field."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = Window(1 + len(FIELDS), clock)

    def add(self, rows: int, missing: Mapping[str, int]) -> None:
        """Count so many records, of which so many lack a field."""
        if rows:
            self._window.add(np.array([rows, *(missing.get(name, 0) for name in FIELDS)]))

    def ratios(self) -> dict[str, float]:
        """0 to 1 by field; nothing where no record came in a day."""
        rows, *lacking = self._window.sum().tolist()
        return {name: n / rows for name, n in zip(FIELDS, lacking, strict=True)} if rows else {}
