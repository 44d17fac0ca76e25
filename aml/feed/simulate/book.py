"""Rows as they are written down: columns of integers, added in lots and joined once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.codes import NONE, Channel, Initiated, Instrument, Status

Columns = dict[str, npt.NDArray[Any]]

# Column -> type and what stands where a lot says nothing. at: UTC µs; amount: cents; the ends: account numbers.
COLUMNS: Final[dict[str, tuple[type[np.generic], int]]] = {
    "at": (np.int64, 0),
    "amount": (np.int64, 0),
    "originator": (np.int32, NONE),
    "beneficiary": (np.int32, NONE),
    "instrument": (np.int8, Instrument.ACH),
    "channel": (np.int8, Channel.ONLINE),
    "initiated_by": (np.int8, Initiated.CUSTOMER),
    "status": (np.int8, Status.BOOKED),
    "relation": (np.int8, NONE),
    "relates_to": (np.int32, NONE),  # row number in the book
    "conductor": (np.int32, NONE),  # place among the directory's people
    "branch": (np.int16, NONE),
    "terminal": (np.int32, NONE),
    "batch": (np.int32, NONE),
    "bought": (np.int8, 0),  # 1: a monetary instrument bought for cash, no account is touched
}


class Book:
    """A growing list of rows. Every number of `add` stands for all rows of the lot; arrays have one entry a row."""

    def __init__(self) -> None:
        self._lots: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in COLUMNS}

    def add(self, at: npt.ArrayLike, amount: npt.ArrayLike, **columns: npt.ArrayLike) -> None:
        """Write down rows: `at` in UTC µs, `amount` in cents, the other columns of COLUMNS by name."""
        given: dict[str, npt.ArrayLike] = {"at": at, "amount": amount, **columns}
        rows = np.asarray(at).size
        for name, (kind, default) in COLUMNS.items():
            lot = np.asarray(given.get(name, default), dtype=kind)
            self._lots[name].append(np.broadcast_to(lot, rows))

    def columns(self) -> Columns:
        """All rows so far, in the order in which they were added."""
        return {
            name: np.concatenate(lots) if lots else np.empty(0, dtype=COLUMNS[name][0])
            for name, lots in self._lots.items()
        }


def take(columns: Columns, rows: npt.NDArray[Any]) -> Columns:
    """The rows picked by a mask or by their numbers."""
    return {name: column[rows] for name, column in columns.items()}


def join(first: Columns, second: Columns) -> Columns:
    """The rows of both, one after the other."""
    return {name: np.concatenate([column, second[name]]) for name, column in first.items()}


def cents(rng: np.random.Generator, median: npt.ArrayLike, sigma: float, n: int) -> npt.NDArray[np.int64]:
    """`n` log-normal amounts in cents around a median in dollars, at least 1.00."""
    drawn = np.asarray(median) * np.exp(rng.normal(0.0, sigma, n))
    return np.maximum((drawn * 100).astype(np.int64), 100)


def rounded(amount: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
    """Amounts in cents brought to the nearest multiple of `step` dollars, at least one step."""
    unit = step * 100
    return np.maximum((amount + unit // 2) // unit, 1) * unit
