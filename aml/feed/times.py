"""Columns of RFC 3339 texts to UTC microseconds, by columns of digits: strict, and quicker than a general parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import Precision
from aml.feed.gaps import filled

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
_EPOCHS: Final = {"epoch_s": SECOND, "epoch_ms": 1_000, "epoch_us": 1}
_LONGEST: Final = 64

Digits = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class Times:
    """UTC µs where `readable` and not `naive`; local µs where `naive`. `precision` as the text shows it."""

    at: I64
    readable: npt.NDArray[np.bool_]
    naive: npt.NDArray[np.bool_]
    precision: npt.NDArray[np.uint8]


def read_times(texts: pl.Series) -> Times:
    """Times of a text column: date, or date and hours:minutes[:seconds[.fraction]], with Z, ±hh:mm or no offset.

    Digits of a fraction beyond microseconds are dropped. A row without text is not readable.
    """
    n = len(texts)
    times = Times(np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.uint8))
    lengths = filled(texts.str.len_bytes(), 0)
    for length in np.unique(lengths).tolist():
        if length != 10 and not 16 <= length <= _LONGEST:
            continue
        rows = np.flatnonzero(lengths == length)
        same = texts if rows.size == n else texts.gather(rows)
        joined = same.str.join("").item().encode()
        signs = np.frombuffer(joined, np.uint8).reshape(rows.size, length)
        _same_length(signs, rows, times)
    return times


def _same_length(signs: npt.NDArray[np.uint8], rows: I64, times: Times) -> None:
    """Texts of one length; what stands at the end says where the offset begins."""
    length = signs.shape[1]
    if length == 10:
        _local(signs, rows, 10, np.zeros(rows.size, np.int64), True, times)
        return
    zulu = (signs[:, -1] | 32) == ord("z")
    shifted = np.isin(signs[:, -6], (ord("+"), ord("-"))) & (signs[:, -3] == ord(":")) & (length >= 22)
    for which, end in ((zulu, length - 1), (shifted & ~zulu, length - 6), (~zulu & ~shifted, length)):
        if not which.any():
            continue
        some, at = (signs, rows) if which.all() else (signs[which], rows[which])
        offset = _offset(some) if end == length - 6 else np.zeros(at.size, np.int64)
        _local(some, at, end, offset, end == length, times)


def _offset(signs: npt.NDArray[np.uint8]) -> I64:
    """Microseconds east of UTC of texts that end in ±hh:mm; far out of range where those are no digits."""
    digit = signs[:, [-5, -4, -2, -1]].astype(np.int64) - 48
    hours, minutes = digit[:, 0] * 10 + digit[:, 1], digit[:, 2] * 10 + digit[:, 3]
    good = ((digit >= 0) & (digit <= 9)).all(axis=1) & (hours < 24) & (minutes < 60)
    east = np.where(signs[:, -6] == ord("-"), -1, 1) * (hours * 3600 + minutes * 60) * SECOND
    return np.where(good, east, np.iinfo(np.int64).min)


def _local(signs: npt.NDArray[np.uint8], rows: I64, end: int, offset: I64, naive: bool, times: Times) -> None:
    """Fill in the rows whose first `end` signs are a date or a local time."""
    digit = signs[:, :end].astype(np.int64) - 48
    good = offset > np.iinfo(np.int64).min
    fixed = {4: "-", 7: "-", 13: ":", 16: ":", 19: "."}
    for place in range(end):
        if place == 10:
            good &= (signs[:, 10] == ord(" ")) | ((signs[:, 10] | 32) == ord("t"))
        elif place in fixed:
            good &= signs[:, place] == ord(fixed[place])
        else:
            good &= (digit[:, place] >= 0) & (digit[:, place] <= 9)
    if end in (11, 12, 13, 14, 15, 17, 18, 20):
        return
    month = digit[:, 5] * 10 + digit[:, 6]
    months = (digit[:, 0] * 1000 + digit[:, 1] * 100 + digit[:, 2] * 10 + digit[:, 3] - 1970) * 12 + month - 1
    day = digit[:, 8] * 10 + digit[:, 9]
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    size = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
    good &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= size)
    at = (first + day - 1) * DAY
    if end >= 16:
        hour, minute = digit[:, 11] * 10 + digit[:, 12], digit[:, 14] * 10 + digit[:, 15]
        good &= (hour < 24) & (minute < 60)
        at += (hour * 3600 + minute * 60) * SECOND
    if end >= 19:
        second = digit[:, 17] * 10 + digit[:, 18]
        good &= second <= 60  # a leap second is the next minute's first
        at += second * SECOND
    for place in range(20, min(end, 26)):
        at += digit[:, place] * 10 ** (25 - place)
    times.at[rows] = np.where(good, at - np.where(good, offset, 0), 0)
    times.readable[rows] = good
    times.naive[rows] = naive
    times.precision[rows] = Precision.DAY if end == 10 else Precision.MINUTE if end == 16 else Precision.INSTANT


def read_formats(texts: pl.Series, formats: Sequence[str]) -> Times:
    """Times in the formats that a mapping names, each text in the first that fits.

    A format is strftime's, or epoch_s, epoch_ms, epoch_us. One with %z has an offset, the others are local.
    """
    n = len(texts)
    times = Times(np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.uint8))
    for pattern in formats:
        shifted = "%z" in pattern or pattern in _EPOCHS
        if pattern in _EPOCHS:
            found = texts.cast(pl.Int64, strict=False) * _EPOCHS[pattern]
        else:
            # Polars wants hours; a format without them means the day's beginning.
            dated = "%H" not in pattern and "%I" not in pattern and "%T" not in pattern and "%R" not in pattern
            kind = pl.Date if dated else pl.Datetime("us")
            read = texts.str.strptime(kind, pattern, strict=False, exact=True)
            found = read.cast(pl.Datetime("us")).dt.replace_time_zone(None).to_physical()
        fresh = found.is_not_null().to_numpy() & ~times.readable
        times.at[fresh] = found.fill_null(0).to_numpy()[fresh]
        times.readable |= fresh
        times.naive[fresh] = not shifted
        times.precision[fresh] = _precision(pattern)
    return times


def _precision(pattern: str) -> Precision:
    if pattern in _EPOCHS or any(sign in pattern for sign in ("%S", "%T", "%s", "%X", "%c", "%r")):
        return Precision.INSTANT
    return Precision.MINUTE if any(sign in pattern for sign in ("%M", "%R")) else Precision.DAY


def localised(at: I64, zone: str) -> pl.Series:
    """UTC µs of local µs in a zone; the earlier of two, null for a local time that never was."""
    local = pl.Series(at).cast(pl.Datetime("us"))
    there = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return there.to_physical()


def read_instants(values: pl.Series, zone: str | None, formats: Sequence[str]) -> Times:
    """UTC µs of a text or Datetime column. Times without offset are local to `zone`; where that is None they stay as
    they are and are marked."""
    if isinstance(values.dtype, pl.Datetime):
        times = _typed(values, values.dtype)
    else:
        times = read_formats(values, formats) if formats else read_times(values)
    times.naive &= times.readable
    if zone is not None and times.naive.any():
        rows = np.flatnonzero(times.naive)
        moment = localised(times.at[rows], zone)
        times.at[rows], times.readable[rows] = moment.fill_null(0).to_numpy(), moment.is_not_null().to_numpy()
        times.naive[:] = False
    return times


def _typed(values: pl.Series, kind: pl.Datetime) -> Times:
    """Times of a Datetime column; without a zone they are local."""
    at = values.dt.cast_time_unit("us")
    at = at.dt.replace_time_zone(None) if kind.time_zone is None else at.dt.convert_time_zone("UTC")
    readable = values.is_not_null().to_numpy(writable=True)
    naive = np.full(len(values), kind.time_zone is None)
    moment = at.to_physical().fill_null(0).to_numpy(writable=True)
    return Times(moment, readable, naive, np.zeros(len(values), np.uint8))


def read_dates(values: pl.Series, formats: Sequence[str]) -> pl.Series:
    """Dates of a text column, in the first format that fits (default 2026-03-02), null where none does."""
    first, *others = formats or ("%Y-%m-%d",)
    read = values.str.to_date(first, strict=False)
    for pattern in others:
        read = read.fill_null(values.str.to_date(pattern, strict=False))
    return read.alias(values.name)
