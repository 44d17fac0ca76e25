"""Times by columns of digits are those of the standard library's parser, and nothing else passes for one."""

from __future__ import annotations

import datetime as dt
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.domain.transaction import Precision
from aml.feed.times import read_dates, read_formats, read_instants, read_times

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHAPE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?)?", re.ASCII
)


def slowly(text):
    """UTC µs and whether there is an offset, by the standard library; None where it is no such time."""
    found = SHAPE.fullmatch(text)
    if found is None or (
        found[2] is not None and (int(found[2]) > 23 or int(found[3]) > 59 or int(found[4] or 0) > 60)
    ):
        return None
    try:
        day = dt.datetime.fromisoformat(found[1]).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    at = (day - EPOCH) // dt.timedelta(microseconds=1)
    if found[2] is not None:
        at += (int(found[2]) * 3_600 + int(found[3]) * 60 + int(found[4] or 0)) * 1_000_000
        at += int((found[5] or "").ljust(6, "0")[:6])
    offset = found[6]
    if offset and offset not in "Zz":
        east = int(offset[1:3]) * 60 + int(offset[4:6])
        at -= (east if offset[0] == "+" else -east) * 60_000_000
    return at, offset is None


NUMBERS = st.integers(0, 99).map("{:02}".format)
YEARS = st.sampled_from(["2026", "2024", "1900", "0001", "9999"])
ENDINGS = st.sampled_from(["Z", "z", "", "+01:00", "-23:59", "+24:00", ".5Z", ".1234567+00:00", ".", "Z ", "+1:00"])
TIMES = st.one_of(
    st.datetimes(timezones=st.just(dt.UTC)).map(dt.datetime.isoformat),
    st.builds("{}-{}-{}T{}:{}:{}{}".format, YEARS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, ENDINGS),
    st.builds("{}-0{}-1{} 0{}:3{}:5{}{}".format, YEARS, *[st.integers(0, 9)] * 5, ENDINGS),
    st.sampled_from(
        ["2026-03-02", "2026-03-02 09:30Z", "2026-03-02t09:30:00.000001-08:00", "2026-02-29", "2024-02-29"]
    ),
    st.text("0123456789-:T.Z+ x", min_size=8, max_size=30),
)


@given(st.lists(TIMES, min_size=1, max_size=20))
def test_times_are_those_of_a_slow_reader(texts):
    times = read_times(pl.Series(texts, dtype=pl.String))
    for row, text in enumerate(texts):
        wanted = slowly(text)
        assert bool(times.readable[row]) == (wanted is not None), text
        if wanted is not None:
            assert (int(times.at[row]), bool(times.naive[row])) == wanted, text


@pytest.mark.parametrize(("text", "precision"), [
    ("2026-03-02", Precision.DAY), ("2026-03-02T09:30Z", Precision.MINUTE), ("2026-03-02T09:30:00Z", Precision.INSTANT),
])  # fmt: skip
def test_what_a_text_shows_of_its_precision(text, precision):
    assert read_times(pl.Series([text])).precision.tolist() == [precision]


def test_absent_texts_are_no_times_and_no_defects():
    times = read_instants(pl.Series([None, "x", "2026-03-02"], dtype=pl.String), None, ())
    assert (times.readable.tolist(), times.naive.tolist()) == ([False, False, True], [False, False, True])


@pytest.mark.parametrize(("texts", "formats", "wanted"), [
    (["02.03.2026 09:30", "2026/03/02"], ["%d.%m.%Y %H:%M", "%Y/%m/%d"], ["2026-03-02T09:30", "2026-03-02T00:00"]),
    (["1772443800", "x"], ["epoch_s"], ["2026-03-02T09:30", None]),
    (["1772443800000"], ["epoch_ms"], ["2026-03-02T09:30"]),
    (["1772443800000000"], ["epoch_us"], ["2026-03-02T09:30"]),
    (["2026-03-02T09:30:00+0200"], ["%Y-%m-%dT%H:%M:%S%z"], ["2026-03-02T07:30"]),
])  # fmt: skip
def test_formats_that_a_mapping_names(texts, formats, wanted):
    times = read_formats(pl.Series(texts), formats)
    found = [
        (EPOCH + dt.timedelta(microseconds=int(at))).strftime("%Y-%m-%dT%H:%M") if good else None
        for at, good in zip(times.at, times.readable, strict=True)
    ]
    assert found == wanted
    assert times.naive[0] == (not ("%z" in formats[0] or "epoch" in formats[0]))


def test_columns_of_times_keep_their_zone_or_need_one():
    moment = dt.datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001
    aware = pl.Series([moment]).dt.replace_time_zone("Europe/Vienna").cast(pl.Datetime("ns", "Europe/Vienna"))
    times = read_instants(aware, None, ())
    utc = int((dt.datetime(2026, 3, 2, 8, 30, tzinfo=dt.UTC) - EPOCH) / dt.timedelta(microseconds=1))
    assert (times.at.tolist(), times.readable.all(), times.naive.any()) == ([utc], True, False)
    times = read_instants(pl.Series([moment]), "Europe/Vienna", ())
    assert (times.at.tolist(), times.readable.all(), times.naive.any()) == ([utc], True, False)
    assert read_instants(pl.Series([moment]), None, ()).naive.tolist() == [True]


def test_dates_are_read_in_the_formats_named():
    assert read_dates(pl.Series(["2026-03-02", "2.3.26"]), ()).to_list() == [dt.date(2026, 3, 2), None]
    assert read_dates(pl.Series(["02.03.2026"]), ("%d.%m.%Y",)).to_list() == [dt.date(2026, 3, 2)]
