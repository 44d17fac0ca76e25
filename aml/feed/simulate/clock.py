"""Local days and hours of a simulated bank: working days, months, rhythms of the week and of the day."""

from __future__ import annotations

import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.places import Place

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]

PAST: Final = 500  # days before the start that still have a date: sleeping accounts moved then
FUTURE: Final = 62

_HOURS: Final[dict[str, dict[range, float]]] = {
    "online": {range(7, 9): 1.0, range(9, 18): 1.6, range(18, 23): 1.9, range(23, 24): 0.5, range(6): 0.1},
    "office": {range(8, 9): 0.6, range(9, 12): 2.0, range(12, 13): 1.0, range(13, 17): 1.8, range(17, 19): 0.5},
    "branch": {range(9, 12): 1.5, range(12, 14): 1.2, range(14, 16): 1.4, range(16, 17): 0.9},
    "batch": {range(2, 6): 2.0, range(21, 23): 0.6},
    "shop": {range(8, 11): 1.0, range(11, 14): 1.6, range(14, 17): 1.3, range(17, 20): 2.2, range(20, 23): 0.8},
    "evening": {range(18, 20): 1.0, range(20, 24): 1.6},
}


def _profile(parts: dict[range, float]) -> F64:
    weights = np.zeros(24)
    for hours, weight in parts.items():
        weights[list(hours)] += weight
    return np.asarray(np.cumsum(weights) / weights.sum())


_PROFILES: Final = {name: _profile(parts) for name, parts in _HOURS.items()}
# Monday first.
EVERY_DAY: Final = np.array([1.0, 0.95, 0.95, 1.0, 1.25, 1.35, 1.0])
WORKING: Final = np.array([1.1, 1.0, 1.0, 1.0, 1.15, 0.0, 0.0])


class Clock:
    """The calendar of one simulation; days are numbered from its start, 0 … days − 1 (negative before)."""

    def __init__(self, start: datetime.date, days: int, place: Place) -> None:
        self.start, self.days = start, days
        dates = [start + datetime.timedelta(n) for n in range(-PAST, days + FUTURE)]
        midnights = [datetime.datetime.combine(date, datetime.time(), place.tz).timestamp() for date in dates]
        self._midnight: I64 = np.array(midnights, dtype=np.int64) * 1_000_000
        self._weekday = np.array([date.weekday() for date in dates])
        working = np.array([place.works(date) for date in dates])
        ahead = np.where(working, np.arange(len(dates)), len(dates) - 1)
        self._working, self._next = working, np.minimum.accumulate(ahead[::-1])[::-1] - PAST
        self.months = sorted({(d.year, d.month) for d in dates[PAST : PAST + days]})

    def date(self, day: int) -> datetime.date:
        """The date of a day number."""
        return self.start + datetime.timedelta(int(day))

    def works(self, day: Days) -> npt.NDArray[np.bool_]:
        """Whether each is a working day."""
        return np.asarray(self._working[day + PAST])

    def roll(self, day: Days) -> Days:
        """Each day, or the next working day after it."""
        return np.asarray(self._next[day + PAST])

    def at(self, day: Days, second: F64 | I64) -> I64:
        """UTC µs, in whole milliseconds, of the given second of each local day."""
        return self._midnight[day + PAST] + (np.asarray(second) * 1_000).astype(np.int64) * 1_000

    def times(self, rng: np.random.Generator, day: Days, profile: str) -> I64:
        """UTC µs: a random moment of each day in the rhythm of `profile`."""
        hour = np.searchsorted(_PROFILES[profile], rng.random(day.size), side="right")
        return self.at(day, hour * 3_600.0 + rng.random(day.size) * 3_600.0)

    def spread(self, rng: np.random.Generator, n: int, week: F64 = EVERY_DAY) -> Days:
        """`n` random days, weighted by the day of the week."""
        weights = week[self._weekday[PAST : PAST + self.days]]
        total = np.cumsum(weights) / weights.sum()
        return np.minimum(np.searchsorted(total, rng.random(n), side="right"), self.days - 1)

    def monthly(self, day_of_month: Days) -> tuple[I64, Days]:
        """Every month's occurrence of each day of month, rolled to a working day: (index, day), month by month."""
        return self._kept([self._month(month) + day_of_month - 1 for month in self.months])

    def every(self, step: int, first: Days, last: int | None = None) -> tuple[I64, Days]:
        """Every `step` days from each first day on (rolled to a working day): (index, day), step by step."""
        end = self.days if last is None else last
        return self._kept([first + k for k in range(0, end, step)])

    def _month(self, month: tuple[int, int]) -> int:
        return (datetime.date(*month, 1) - self.start).days

    def _kept(self, rows: list[Days]) -> tuple[I64, Days]:
        day = np.concatenate([self.roll(np.clip(row, -PAST, self.days + FUTURE - 8)) for row in rows])
        index = np.tile(np.arange(rows[0].size), len(rows))
        kept = (day >= 0) & (day < self.days)
        return index[kept], day[kept]
