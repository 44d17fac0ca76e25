"""A column of amounts becomes the minor units that its texts become one by one."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aml.domain.money import Defect, decimals, to_minor, to_text
from aml.feed.amounts import minor_column

TEXTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.builds("{}.{}".format, st.integers(0, 10**17), st.text("0123456789", max_size=20)),
    st.text("0123456789.-+eE, ", max_size=12),
    st.sampled_from(["1e18", "1e17", "999999999999999999", "0.10", "1.", ".5", "+7", "-0", "1_0", "1e-9", "Ⅷ", "0x1"]),
)


def one(text: str, places: int) -> int | Defect:
    return to_minor(text.strip(), places)


@given(st.lists(st.tuples(TEXTS, st.sampled_from([-1, 0, 2, 3, 8])), min_size=1, max_size=12))
@example([("123456789012345678", 0), ("12345678901234567.8", 2), ("1.005", 2), ("100.500", 0)])
def test_a_column_says_what_each_text_says(rows):
    places = np.array([place for _, place in rows], np.int8)
    minor, defects = minor_column(pl.Series([text for text, _ in rows]), places)
    for row, (text, place) in enumerate(rows):
        wanted = None if place < 0 else one(text, place)
        assert minor[row] == (wanted if isinstance(wanted, int) and not isinstance(wanted, Defect) else None), text
        assert defects.get(row) == (wanted if isinstance(wanted, Defect) else None), text


@given(st.lists(st.decimals("-1000000", "1000000", places=2), min_size=1, max_size=8))
def test_decimals_are_taken_as_they_are(values):
    column = pl.Series(values, dtype=pl.Decimal(18, 4))
    minor, defects = minor_column(column, np.full(len(values), 2, np.int8), signed=True)
    assert minor.to_list() == [int(value * 100) for value in values]
    assert defects == {}


def test_whole_numbers_are_units_of_the_currency_and_signed_ones_may_be_nothing():
    minor, defects = minor_column(pl.Series([7, 0, -3, None]), np.full(4, 2, np.int8))
    assert (minor.to_list(), defects) == ([700, None, None, None], {1: Defect.ZERO, 2: Defect.NEGATIVE})
    minor, defects = minor_column(pl.Series(["7", "0", "-3.5", "x"]), np.full(4, 2, np.int8), signed=True)
    assert (minor.to_list(), defects) == ([700, 0, -350, None], {3: Defect.NOT_DECIMAL})


@pytest.mark.parametrize(("currency", "text", "minor"), [
    ("USD", "1.50", 150), ("JPY", "100", 100), ("JPY", "100.00", 100), ("KWD", "1.005", 1_005),
    ("CLF", "1.0001", 10_001),
    ("XBT", "0.00000001", 1), ("USD", "1e2", 10_000), ("USD", "+1", 100), ("USD", "1.5000000000", 150),
])  # fmt: skip
def test_decimals_are_those_of_the_currency(currency, text, minor):
    assert to_minor(text, decimals(currency)) == minor
    assert Decimal(to_text(minor, decimals(currency))) == Decimal(text)


def test_amounts_are_written_as_they_are_read():
    assert [to_text(1234, 2), to_text(5, 2), to_text(-5, 3), to_text(7, 0)] == ["12.34", "0.05", "-0.005", "7"]
