"""Watermarks over source partitions: an idle one holds nobody up, one that was only looked at too early does."""

from __future__ import annotations

import numpy as np

from aml.engine.identity import NO_TIME
from aml.pipeline.watermark import RANK
from aml.stream.progress import HOUR, SourceProgress

DAY = 24 * HOUR


def reach(progress: SourceProgress, source: int, at: int, *, sent: int, ended_at: int = 0) -> int:
    """A hundred records of a partition at one time; the watermark after it."""
    times = np.full(RANK, at, np.int64)
    keys = np.arange(RANK, dtype=np.uint64) + np.uint64(1000 * source + at)
    progress.reach(source, np.zeros(RANK, np.int32), times, keys, sent, ended_at)
    return int(progress.marks[0])


def idle(progress: SourceProgress, source: int, ended_at: int) -> int:
    """An empty range of a partition at its end."""
    progress.reach(source, np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint64), 0, ended_at)
    return int(progress.marks[0])


def two() -> SourceProgress:
    progress = SourceProgress()
    progress.expect(2)
    reach(progress, 0, DAY, sent=10)
    assert reach(progress, 1, DAY, sent=11) == DAY
    return progress


def test_a_partition_that_has_nothing_more_holds_nobody_up_for_an_hour():
    progress = two()
    assert idle(progress, 1, ended_at=20) == DAY
    assert reach(progress, 0, DAY + HOUR, sent=30) == DAY + HOUR
    assert reach(progress, 0, DAY + HOUR + 1, sent=31) == DAY + HOUR
    assert idle(progress, 1, ended_at=40) == DAY + HOUR + 1


def test_what_the_others_had_after_the_end_was_seen_does_not_count():
    """A burst of months to both partitions: the first is read whole, the second was looked at just before."""
    progress = two()
    assert reach(progress, 0, 90 * DAY, sent=50) == DAY
    assert idle(progress, 1, ended_at=20) == DAY, "its end was seen before the burst: the burst may hold more of it"
    assert reach(progress, 1, 60 * DAY, sent=51) == 60 * DAY
    assert idle(progress, 1, ended_at=51) == 90 * DAY


def test_a_partition_that_said_nothing_yet_holds_everybody_up():
    progress = SourceProgress()
    progress.expect(2)
    assert reach(progress, 0, DAY, sent=10) == NO_TIME
    assert idle(progress, 1, ended_at=5) == NO_TIME
    assert idle(progress, 1, ended_at=10) == DAY


def test_a_state_is_the_same_again():
    progress = two()
    idle(progress, 1, ended_at=20)
    again = SourceProgress.from_state(progress.state())
    for one in (progress, again):
        reach(one, 0, DAY + HOUR, sent=30)
    assert again.marks.tolist() == progress.marks.tolist() == [DAY + HOUR]


def test_a_tenant_of_whom_no_time_is_known_takes_nobodys_place():
    first = SourceProgress()
    t, keys = np.arange(RANK, dtype=np.int64) + HOUR, np.arange(RANK, dtype=np.uint64)
    for tenant in (0, 2):
        first.reach(0, np.full(RANK, tenant, np.int32), t, keys, 0, 0)
    moved = SourceProgress.moved(first.state(), np.array([1, -1, 0]))
    assert moved.marks.tolist() == [HOUR, HOUR]
    assert moved.state()["counts"].tolist() == [[RANK, RANK]]
