"""Counts and numbers of a stream are those of the set of what came, whoever counted it, in whatever order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aml.store.completeness import load_counts, load_totals
from aml.store.database import open_database
from aml.store.sequences import BLOCK, joined, load_sequences
from aml.store.stream import CountKey, TotalKey
from aml.store.stream_tables import stream_sequences

# Numbers around the edges of blocks, whole runs of them, and far ones.
NEAR = st.integers(-2 * BLOCK - 3, 2 * BLOCK + 3)
RUNS = st.builds(lambda first, length: list(range(first, first + length)), NEAR, st.integers(1, 2 * BLOCK + 5))
NUMBERS = st.one_of(RUNS, st.lists(st.one_of(NEAR, st.integers(-(2**62), 2**62)), min_size=1, max_size=8))
WRITES = st.lists(st.tuples(st.integers(0, 2), NUMBERS, st.booleans()), min_size=1, max_size=6)


def naive_gaps(numbers):
    """The numbers that are missing between the least and the greatest, as ranges, the slow way."""
    ordered = sorted(numbers)
    return [(a + 1, b - 1) for a, b in pairwise(ordered) if b > a + 1]


@given(WRITES)
def test_gaps_are_those_of_the_set_of_numbers(writes):
    """Several shards write in any order, and full blocks are folded at any time."""
    database, came = open_database("sqlite://"), set()
    for shard, numbers, fold in writes:
        came |= set(numbers)
        with database.begin() as uow:
            uow.stream.sequences(shard, {("main", "core"): np.array(numbers, np.int64)})
            if fold:
                uow.stream.fold_sequences()
    with database.begin() as uow:
        uow.stream.fold_sequences()
        (found,) = load_sequences(uow.connection, 10**6)
        rows = uow.connection.execute(stream_sequences.select()).all()
    gaps = naive_gaps(came)
    assert (found.first, found.last) == (min(came), max(came))
    assert list(found.gaps) == gaps
    assert found.missing == sum(last - first + 1 for first, last in gaps)
    held = Counter(number // BLOCK for number in came)
    full = [(row.block, row.block + row.blocks) for row in rows if not row.seen]
    # Full blocks take no other room than their run, whosesoever row it is.
    assert all((held[block] == BLOCK) == any(a <= block < b for a, b in full) for block in held)
    assert not any(a <= row.block < b for row in rows if row.seen for a, b in full)
    assert len(full) == len({block for block in held if held[block] == BLOCK and held[block - 1] != BLOCK})
    database.close()


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 10)), max_size=12))
def test_joined_ranges_hold_the_same_numbers_and_touch_no_more(spans):
    firsts = np.array([first for first, _ in spans], np.int64)
    begins, ends = joined(firsts, firsts + np.array([length for _, length in spans], np.int64))
    numbers = {number for first, length in spans for number in range(first, first + length + 1)}
    assert sum((ends - begins + 1).tolist()) == len(numbers)
    assert {n for a, b in zip(begins.tolist(), ends.tolist(), strict=True) for n in range(a, b + 1)} == numbers
    assert np.all(begins[1:] > ends[:-1] + 1)


OUTCOMES = ("consumed", "scored", "duplicate", "late", "rejected:not_json", "rejected:too_late")
COUNT = st.tuples(
    st.integers(0, 2),  # shard
    st.builds(
        CountKey,
        st.sampled_from(["t", "u"]),
        st.integers(0, 1),
        st.sampled_from(["a", "b"]),
        st.just("core"),
        st.sampled_from(["2026-03-02", "2026-03-03"]),
        st.sampled_from(OUTCOMES),
    ),
    st.integers(0, 2**40),
)


@given(st.lists(COUNT, max_size=20), st.integers(1, 5))
def test_counts_are_sums_however_they_are_cut(counted, size):
    database, naive = open_database("sqlite://"), Counter()
    for start in range(0, len(counted), size):
        with database.begin() as uow:
            by_shard = {}
            for shard, key, value in counted[start : start + size]:
                naive[key] += value
                mine = by_shard.setdefault(shard, Counter())
                mine[key] += value
            for shard, mine in by_shard.items():
                uow.stream.count(shard, mine)
    with database.read() as connection:
        found = load_counts(connection)
    told = Counter()
    for c in found:
        place = (c.topic, c.partition, c.institution, c.source, c.day)
        told.update({CountKey(*place, "consumed"): c.tally.consumed, CountKey(*place, "scored"): c.tally.scored})
        told.update({CountKey(*place, "duplicate"): c.tally.duplicates, CountKey(*place, "late"): c.tally.late})
        told.update({CountKey(*place, f"rejected:{code}"): number for code, number in c.tally.rejected.items()})
    assert +told == +naive
    database.close()


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["USD", "IDR"]), st.integers(0, 2**63 - 1)), max_size=20))
def test_sums_of_amounts_are_exact_beyond_what_integers_hold(amounts):
    database, naive = open_database("sqlite://"), {}
    for shard, currency, amount in amounts:
        key = TotalKey("main", "core", "2026-03-02T14", currency)
        records, total = naive.get(key, (0, 0))
        naive[key] = (records + 1, total + amount)
        with database.begin() as uow:
            uow.stream.total(shard, {key: (1, amount)})
    with database.read() as connection:
        assert load_totals(connection) == naive
    database.close()
