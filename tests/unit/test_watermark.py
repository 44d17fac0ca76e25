"""The watermark: the 100th-highest time of each tenant and source, the least over sources, and it never falls."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aml.engine.identity import NO_TIME
from aml.pipeline.watermark import RANK, Progress

Record = tuple[int, int, int | None, int]  # source, tenant, time, key


def advance(progress: Progress, records: list[Record]) -> list[int | None]:
    """The watermark before each record, records handed over one source at a time."""
    told: list[int | None] = []
    start = 0
    while start < len(records):
        end = start
        while end < len(records) and records[end][0] == records[start][0]:
            end += 1
        some = records[start:end]
        tenant = np.array([who for _, who, _, _ in some], np.int32)
        t = np.array([NO_TIME if at is None else at for _, _, at, _ in some], np.int64)
        key = np.array([name for *_, name in some], np.uint64)
        told += [None if mark == NO_TIME else mark for mark in progress.advance(tenant, t, key, some[0][0]).tolist()]
        start = end
    return told


def slowly(records: list[Record], sources: int) -> list[int | None]:
    """The same by sorting everything each time."""
    times: dict[tuple[int, int], set[tuple[int, int]]] = {}
    marks: dict[int, int] = {}
    told: list[int | None] = []
    for source, tenant, at, key in records:
        told.append(marks.get(tenant))
        if at is None:
            continue
        times.setdefault((source, tenant), set()).add((at, key))
        reached = [sorted(times.get((s, tenant), ()), reverse=True)[RANK - 1 : RANK] for s in range(sources)]
        if all(reached):
            least = min(one[0][0] for one in reached)
            marks[tenant] = max(marks.get(tenant, least), least)
    return told


@st.composite
def feeds(draw: st.DrawFn) -> tuple[list[Record], int]:
    """Runs of records of one source, rising, falling or scattered, so that hundreds come together."""
    sources = draw(st.integers(1, 3))
    records: list[Record] = []
    for _ in range(draw(st.integers(1, 6))):
        source, tenant = draw(st.integers(0, sources - 1)), draw(st.integers(0, 1))
        first, step = draw(st.integers(0, 500)), draw(st.sampled_from([-3, 0, 1, 7]))
        name = draw(st.integers(0, 2)) * 10_000
        count = draw(st.sampled_from([1, 60, 99, 100, 130]))
        records += [(source, tenant, first + step * k, name + k) for k in range(count)]
        if draw(st.booleans()):
            records.append((source, tenant, draw(st.sampled_from([None, 10**6, -(10**6)])), 7))
        if draw(st.integers(0, 3)) == 0:  # all of it again
            records += records[-count:]
    return records, sources


@given(feeds(), st.booleans())
def test_the_watermark_is_its_slow_twins(feed: tuple[list[Record], int], restart: bool) -> None:
    records, sources = feed
    progress = Progress(sources)
    half = len(records) // 2 if restart else 0
    told = advance(progress, records[:half])
    if restart:
        progress = Progress.from_state(progress.state())
    assert told + advance(progress, records[half:]) == slowly(records, sources)


def test_under_a_hundred_records_there_is_none() -> None:
    progress = Progress()
    assert advance(progress, [(0, 0, k, k) for k in range(RANK)]) == [None] * RANK
    assert progress.marks.tolist() == [0]


def test_one_mistyped_date_moves_nothing() -> None:
    progress = Progress()
    advance(progress, [(0, 0, k, k) for k in range(2 * RANK)])
    before = progress.marks.tolist()
    advance(progress, [(0, 0, 10**15, 1)])
    assert progress.marks.tolist() == [before[0] + 1]


def test_a_source_that_has_not_begun_holds_the_watermark_back() -> None:
    progress = Progress(sources=2)
    advance(progress, [(0, 0, k, k) for k in range(3 * RANK)])
    assert progress.marks.tolist() == [NO_TIME]
    advance(progress, [(1, 0, k, k) for k in range(RANK)])
    assert progress.marks.tolist() == [0]


def test_a_feed_read_again_moves_nothing() -> None:
    progress = Progress()
    records = [(0, 0, k, k) for k in range(2 * RANK)]
    advance(progress, records)
    before = progress.marks.tolist()
    advance(progress, records)
    advance(progress, [(0, 0, 2 * RANK - 1, 2 * RANK - 1)] * RANK)
    assert progress.marks.tolist() == before
