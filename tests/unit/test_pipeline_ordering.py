"""The order of reading: by time through a window, several feeds merged, nothing lost, and disorder noticed."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time

import polars as pl
import pytest

from aml.pipeline.ordering import OutOfOrder, by_time, in_order, merged, sorted_whole
from aml.pipeline.threads import Ahead, Behind, hasty_threads


def frame(times, first=0):
    rows = {"executed_at": pl.Series(times, dtype=pl.Int64)}
    rows |= {"id": pl.Series(range(first, first + len(times)), dtype=pl.Int64)}
    return pl.DataFrame(rows)


def chunks(times, size=10):
    return [frame(times[at : at + size], at) for at in range(0, len(times), size)]


def rows(frames):
    return [row for one in frames for row in one.rows()]


def test_equal_times_stay_as_they_stood_and_timeless_rows_come_last():
    assert by_time(frame([3, None, 1, 3, 1, None])).rows() == [(1, 2), (1, 4), (3, 0), (3, 3), (None, 1), (None, 5)]


def test_what_is_in_order_is_handed_on_while_it_is_read():
    read = []

    def feed():
        for chunk in chunks(list(range(100))):
            read.append(chunk)
            yield chunk

    ready = in_order(feed(), window=10)
    first = next(ready)
    assert first.rows() == frame(range(10)).rows()
    assert len(read) == 2
    assert rows([first, *ready]) == frame(range(100)).rows()


@pytest.mark.parametrize("seed", range(5))
def test_disorder_within_the_window_is_sorted(seed):
    rng = random.Random(seed)
    times = [at // 3 + rng.randrange(3) for at in range(500)]
    parts = list(in_order(iter(chunks(times, rng.randrange(1, 40))), window=40))
    assert rows(parts) == by_time(frame(times)).rows()
    assert len(parts) > 3
    for one, two in itertools.pairwise(parts):
        assert one["executed_at"][-1] < two["executed_at"][0]


def test_disorder_beyond_the_window_is_noticed():
    times = [*range(100), 5]
    with pytest.raises(OutOfOrder):
        list(in_order(iter(chunks(times)), window=10))
    assert sorted_whole([chunks(times)]).rows() == by_time(frame(times)).rows()


def test_one_instant_is_never_torn():
    times = [1] * 50 + [2] * 50 + [3]
    parts = list(in_order(iter(chunks(times)), window=10))
    assert rows(parts) == frame(times).rows()
    assert [set(part["executed_at"]) for part in parts] == [{1}, {2, 3}]


@pytest.mark.parametrize("seed", range(5))
def test_several_feeds_are_merged_the_earlier_named_first_at_one_instant(seed):
    rng = random.Random(seed)
    feeds = [sorted(rng.randrange(200) for _ in range(rng.randrange(0, 150))) for _ in range(3)]
    framed = [[frame(part["executed_at"], 1000 * n + at * 7) for at, part in enumerate(chunks(f, 7))]
              for n, f in enumerate(feeds)]
    whole = rows(merged([in_order(iter(one), window=10) for one in framed]))
    assert whole == by_time(pl.concat([frame([]), *(part for one in framed for part in one)])).rows()


def test_a_feed_that_comes_before_all_others_is_handed_on_first():
    taken = []

    def late():
        for chunk in chunks(list(range(1000, 1100))):
            taken.append(chunk)
            yield chunk

    ready = merged([iter(chunks(list(range(100)))), late()])
    assert next(ready)["executed_at"][-1] < 100
    assert len(taken) == 1


def test_timeless_rows_of_several_feeds_come_last():
    both = merged([iter([frame([1, 2]), frame([None, 9], 2)]), iter([frame([5], 10), frame([None], 11)])])
    assert [row[0] for row in rows(both)] == [1, 2, 5, 9, None, None]


def test_nothing_gives_nothing():
    assert list(in_order(iter([]))) == []
    assert list(merged([iter([]), iter([])])) == []
    assert sorted_whole([[], [frame([])]]) is None


def never():
    return False


def test_reading_ahead_gives_the_same_items_and_only_so_many_ahead():
    made = []

    def items():
        for n in range(20):
            made.append(n)
            yield n

    with Ahead(items, 2) as ahead:
        ready = ahead.until(never)
        assert next(ready) == 0
        time.sleep(0.2)
        assert len(made) <= 4
        assert list(ready) == list(range(1, 20))


def test_an_error_comes_where_its_item_would_have_come():
    def items():
        yield 1
        raise ValueError("here")

    with Ahead(items, 2) as ahead:
        ready = ahead.until(never)
        assert next(ready) == 1
        with pytest.raises(ValueError, match="here"):
            next(ready)


def test_waiting_for_an_item_ends_when_asked():
    blocked = threading.Event()

    def items():
        blocked.wait(10)
        yield 1

    with Ahead(items, 1) as ahead:
        assert list(ahead.until(lambda: True)) == []
    blocked.set()


def test_work_behind_is_done_in_order():
    done = []
    with Behind(2) as behind:
        for n in range(50):
            behind.submit(lambda n=n: done.append(n))
        behind.drain()
        assert done == list(range(50))


def test_what_a_job_raises_is_raised_and_ends_the_work():
    done = []

    def fail():
        raise ValueError("there")

    def work():
        with Behind(4) as behind:
            behind.submit(fail)
            behind.submit(lambda: done.append(1))
            behind.drain()

    with pytest.raises(ValueError, match="there"):
        work()
    assert done == []


def test_threads_are_hasty_only_for_as_long_as_a_run_goes_on():
    usual = sys.getswitchinterval()
    with hasty_threads():
        assert sys.getswitchinterval() == pytest.approx(usual / 10)
    assert sys.getswitchinterval() == usual
