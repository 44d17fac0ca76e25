"""Small helpers over arrays say what NumPy's own say, only sooner."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aml.engine.arrays import distinct
from aml.stream.incoming import _first_of_each

NUMBERS = st.lists(st.integers(-5, 5))


@given(st.lists(NUMBERS, min_size=1, max_size=3))
def test_the_different_numbers_of_arrays(parts: list[list[int]]):
    arrays = [np.array(part, np.int64) for part in parts]
    assert distinct(*arrays).tolist() == np.unique(np.concatenate(arrays)).tolist()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2))))
def test_the_first_place_of_each_pair(pairs: list[tuple[int, int]]):
    hi, lo = np.array(pairs, np.uint64).reshape(-1, 2).T
    assert _first_of_each(hi, lo).tolist() == sorted({pair: pairs.index(pair) for pair in pairs}.values())
