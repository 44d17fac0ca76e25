"""What is asked of columns with gaps is what lists would answer, also where all is there or nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.feed.gaps import filled, lost, nullable, present

VALUES = st.lists(st.none() | st.integers(-9, 9), max_size=6)


@given(VALUES)
def test_gaps_are_found_filled_and_made_again(values: list[int | None]) -> None:
    column = pl.Series("n", values, dtype=pl.Int32)
    has = [value is not None for value in values]
    assert present(column).tolist() == has
    whole = filled(column, -1)
    assert whole.dtype == np.int32
    assert whole.tolist() == [-1 if value is None else value for value in values]
    assert nullable("n", whole, np.array(has, np.bool_)).to_list() == values


@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.booleans()), max_size=6))
def test_what_was_lost_was_there(pairs: list[tuple[int | None, bool]]) -> None:
    before = pl.Series("n", [value for value, _ in pairs], dtype=pl.Int32)
    after = pl.Series("n", [value if kept else None for value, kept in pairs], dtype=pl.Int32)
    assert lost(before, after).tolist() == [value is not None and not kept for value, kept in pairs]
