"""The engine's eighteen leg features and the peers' kinds equal their slow twins, whatever came in whatever order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aml.detect.rulefile import SEGMENTS
from aml.learn.features import FEATURES, NAMES
from tests import twins
from tests.naive import features as slow
from tests.naive import path
from tests.naive.book import Settings, open_book
from tests.naive.dozen import dozen
from tests.naive.evaluate import Paths, leg_floor_of
from tests.naive.identity import standing
from tests.naive.make import PROFILES, Feed
from tests.naive.windows import segment
from tests.strategies import streams

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # the streams are small already


def by_engine(rows, parties, profile, batches):
    """(order, credit) -> features and the kinds of both ends, of the legs that stand after all batches."""
    made = twins.detection(profile, parties)
    place, seen = {}, {}
    frame = twins.frame_of(rows)
    for at in batches:
        step = made.step(frame[np.asarray(at, np.uint32)])
        columns, found = step.arrivals.columns, step.applied.rows
        for k, order in enumerate(zip(columns["t"], columns["key_hi"], columns["key_lo"], strict=True)):
            place[step.arrivals.first_transaction + k] = tuple(map(int, order))
        for gone in step.arrivals.leave.tolist():
            for credit in (True, False):
                seen.pop((place.get(gone), credit), None)
        for x, tx, side, *kinds in zip(*found, strict=True):
            seen[place[int(tx)], not side] = (dict(zip(NAMES, x.tolist(), strict=True)), tuple(map(int, kinds)))
    return seen


def by_twin(rows, parties, profile):
    stand, _, _ = standing(rows)
    book = open_book(stand, parties, PROFILES[profile], Settings(), twins.key_of)
    paths = Paths(leg_floor_of(dozen(PROFILES[profile])), book.settings)
    limits = paths.limits({})
    kept, _ = path.kept_trails(path.hops_of(book, paths.leg_floor), limits)
    found = {}
    for leg, values in slow.leg_features(book, kept):
        ends = [-1 if end is None else SEGMENTS.index(segment(book, end)) for end in book.sides[id(leg.tx)]]
        found[leg.order, leg.credit] = (values, tuple(ends))
    return found


def compare(rows, parties, profile, batches):
    engine, twin = by_engine(rows, parties, profile, batches), by_twin(rows, parties, profile)
    assert engine.keys() == twin.keys()
    for key, (values, ends) in twin.items():
        found, kinds = engine[key]
        assert kinds == ends, key
        for name in NAMES:
            # The engine keeps features in single precision.
            assert found[name] == pytest.approx(values[name], rel=1e-6, abs=1e-6), (key, name)


def test_the_names_are_those_of_the_model_files():
    assert tuple(f.name for f in FEATURES) == slow.NAMES == NAMES


@settings(max_examples=60, deadline=None, phases=NO_SHRINKING)
@given(streams(), st.data())
def test_features_equal_their_twins(stream, data):
    n = len(stream.rows)
    size = data.draw(st.sampled_from([1, 5, max(1, n)]))
    batches = [range(i, min(i + size, n)) for i in range(0, n, size)]
    compare(stream.rows, stream.parties, stream.profile, batches)


@settings(max_examples=40, deadline=None, phases=NO_SHRINKING)
@given(streams(acts=False), st.randoms(use_true_random=False))
def test_features_do_not_depend_on_the_order_of_arrival(stream, random):
    turned = list(range(len(stream.rows)))
    random.shuffle(turned)
    half = len(turned) // 2
    compare(stream.rows, stream.parties, stream.profile, [turned[:half], turned[half:]])


def test_each_feature_is_more_than_nothing():
    """A busy little story in which every feature takes several values."""
    feed = Feed()
    for k in range(9):
        feed.pay(5 * k, f"P{k % 4}", "C1", 4_000 + 900 * k)
        feed.pay(5 * k + 2, "C1", f"Q{k % 3}", 3_900 + 900 * k)
        feed.pay(5 * k + 3, f"Q{k % 3}", "R", 3_800 + 900 * k)
        feed.pay(5 * k + 4, "R", "Q0", 500)
    found = by_twin(feed.rows, [], "us")
    for name in NAMES:
        assert len({values[name] for values, _ in found.values()}) > 1, name
    compare(feed.rows, [], "us", [range(len(feed.rows))])
