"""Profiles: what is due at exactly the threshold, and which day a payment belongs to."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from aml.detect.compile import compile_rules
from aml.detect.profile import load_profile, read_profile
from aml.domain.errors import AmlError
from aml.engine.walk import is_due
from tests.naive.book import open_book, unit_day_of
from tests.naive.identity import record
from tests.naive.make import PROFILES

ROOT = Path(__file__).parents[2]
NO_BOOKING = -(1 << 31)
EPOCH = dt.date(1970, 1, 1).toordinal()


def micros(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("profile", "amount", "due"),
    [("us", 10_000_00, False), ("us", 10_000_01, True), ("ca", 10_000_00, True), ("au", 10_000_00, True),
     ("ca", 9_999_99, False), ("au", 9_999_99, False)],
)  # fmt: skip
def test_exactly_the_threshold_is_due_in_canada_and_australia_but_not_in_the_united_states(profile, amount, due):
    knobs = compile_rules([], load_profile(profile)).program.knobs
    assert bool(is_due.py_func(knobs, amount)) == due


@pytest.mark.parametrize("name", ["us", "ca", "au"])
def test_the_files_say_what_the_slow_twin_says(name):
    profile, twin = load_profile(name), PROFILES[name]
    assert (profile.zone, profile.country, profile.threshold) == (twin.zone, twin.country, twin.threshold)
    assert (profile.due_at, profile.unit_is_leg) == (twin.reportable_at_threshold, not twin.unit_is_day)
    assert (profile.out_reported, profile.roll) == (twin.out_reported, twin.roll)


@pytest.mark.parametrize(
    ("at", "booking", "unit"),
    [
        ("2026-03-02T09:00:00-05:00", None, "2026-03-02"),
        ("2026-03-02T23:59:59-05:00", None, "2026-03-02"),
        ("2026-03-07T12:00:00-05:00", None, "2026-03-09"),  # Saturday
        ("2026-07-03T12:00:00-04:00", None, "2026-07-03"),  # a Saturday holiday is not kept on Friday
        ("2026-11-26T12:00:00-05:00", None, "2026-11-27"),  # Thanksgiving
        ("2027-07-04T12:00:00-04:00", None, "2027-07-06"),  # a Sunday holiday is kept on Monday
        ("2026-03-02T09:00:00-05:00", "2026-03-04", "2026-03-04"),
        ("2026-03-02T09:00:00-05:00", "2026-03-01", "2026-03-01"),
        ("2026-03-02T09:00:00-05:00", "2026-02-28", "2026-03-02"),  # too long before: a mistake
        ("2026-03-02T09:00:00-05:00", "2026-03-08", "2026-03-02"),  # too long after
    ],
)
def test_unit_days_of_the_united_states(at, booking, unit):
    booked = NO_BOOKING if booking is None else dt.date.fromisoformat(booking).toordinal() - EPOCH
    found = load_profile("us").unit_day(np.array([micros(at)]), np.array([booked], np.int32))
    assert dt.date.fromordinal(EPOCH + int(found[0])) == dt.date.fromisoformat(unit)


@pytest.mark.parametrize("name", ["us", "ca", "au"])
def test_days_over_two_years_equal_the_slow_twins(name):
    profile, twin = load_profile(name), PROFILES[name]
    book = open_book([], profile=twin)
    at = np.arange(micros("2026-01-01T00:30:00+00:00"), micros("2027-12-31T00:00:00+00:00"), 7 * 3_600_000_000)
    days = profile.local_day(at)
    units = profile.unit_day(at, np.full(at.size, NO_BOOKING, np.int32))
    closed = {day for day in profile.holidays}
    for t, day, unit in zip(at.tolist(), days.tolist(), units.tolist(), strict=True):
        assert EPOCH + day == book.day_of(t)
        plain = unit_day_of(book, record({"transaction_id": "t", "executed_at": t}), EPOCH + day) - EPOCH
        while profile.roll and (dt.date.fromordinal(EPOCH + plain) in closed or (plain + 3) % 7 > 4):
            plain += 1
        assert unit == plain


def test_a_cut_off_moves_the_evening_to_the_next_day():
    text = (ROOT / "rules/profiles/us.toml").read_text()
    profile = read_profile(text.replace("roll     = true", 'roll = true\ncut_off = "17:00"'), Path("us.toml"))
    at = np.array([micros("2026-03-02T16:59:59-05:00"), micros("2026-03-02T17:00:00-05:00")])
    none = np.full(2, NO_BOOKING, np.int32)
    assert (profile.unit_day(at, none) - profile.local_day(at)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('comparison  = "above"', 'comparison = "over"', "cash_report.comparison: must be one of above, at_or_above"),
        ("roll     = true", "rol = true", "calendar.rol: unknown key; allowed: cut_off, holidays, roll, source"),
        ('id       = "us"', 'id = "usa"', "id: must be the file's name, 'us'"),
    ],
)
def test_an_error_names_file_key_and_mend(old, new, message):
    text = (ROOT / "rules/profiles/us.toml").read_text()
    assert old in text
    with pytest.raises(AmlError, match=f"^us.toml: {message}$".replace("[", r"\[")):
        read_profile(text.replace(old, new), Path("us.toml"))


def test_an_unknown_profile_is_told_the_known_ones():
    with pytest.raises(AmlError, match="profile 'xx' does not exist: give one of au, ca, us"):
        load_profile("xx")


def test_the_newest_dated_row_is_in_force():
    text = (ROOT / "rules/profiles/us.toml").read_text()
    later = '[[cash_report]]\nvalid_from = 2030-01-01\namount = 30_000\ncomparison = "above"\n' \
            'aggregation = "business_day"\ndirections = ["in", "out"]\n\n[calendar]'
    assert read_profile(text.replace("[calendar]", later), Path("us.toml")).threshold == 30_000_00
