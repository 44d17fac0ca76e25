"""Where a simulated bank can stand: country, currency, zone, regions and the days on which nobody works."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

# Where remittances, suppliers and, last, risky corridors lie; the first is whichever of the two is not home.
_ABROAD: Final = ("MX", "GB", "DE", "CN", "IN", "PH", "GT", "CO", "PL", "NG", "AE", "PA", "MM", "IR", "KP")


@dataclass(frozen=True, slots=True)
class Place:
    """A country in which the bank stands."""

    country: str
    currency: str
    zone: str
    regions: tuple[str, ...]
    holiday: Callable[[datetime.date], bool]

    @property
    def countries(self) -> tuple[str, ...]:
        """Home first, then the others; a country's place is its code in the directory."""
        return (self.country, "CA" if self.country == "US" else "US", *_ABROAD)

    @property
    def tz(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.zone)

    def works(self, date: datetime.date) -> bool:
        """No weekend and no bank holiday of a fixed rule."""
        return date.weekday() < 5 and not self.holiday(date)


def _american(date: datetime.date) -> bool:
    if (date.month, date.day) in {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}:
        return True
    nth = (date.day - 1) // 7 + 1
    if date.weekday() == 0:
        last_of_may = date.month == 5 and date.day > 24
        return (date.month, nth) in {(1, 3), (2, 3), (9, 1), (10, 2)} or last_of_may
    return date.weekday() == 3 and (date.month, nth) == (11, 4)


def _canadian(date: datetime.date) -> bool:
    first_mondays = date.weekday() == 0 and (date.month, (date.day - 1) // 7 + 1) in {(9, 1), (10, 2)}
    return first_mondays or (date.month, date.day) in {(1, 1), (7, 1), (11, 11), (12, 25), (12, 26)}


def _australian(date: datetime.date) -> bool:
    return (date.month, date.day) in {(1, 1), (1, 26), (4, 25), (12, 25), (12, 26)}


PLACES: Final[dict[str, Place]] = {
    "us": Place("US", "USD", "America/New_York", ("ny", "nj", "ct", "pa", "ma", "fl"), _american),
    "ca": Place("CA", "CAD", "America/Toronto", ("on", "qc", "bc", "ab", "mb", "ns"), _canadian),
    "au": Place("AU", "AUD", "Australia/Sydney", ("nsw", "vic", "qld", "wa", "sa", "tas"), _australian),
}
