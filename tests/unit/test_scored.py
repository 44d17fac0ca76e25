"""From the engine's legs to anomalies that depend on the legs that stand, not on how they came."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from aml.engine.engine import LegRows
from aml.pipeline.scored import ScoreBook, legs_for_models
from tests.learn_factory import random_legs, trained


@pytest.fixture(scope="module")
def models():
    return trained()


@pytest.fixture(scope="module")
def seen():
    return random_legs(600, seed=4, strange=5)


def rows_of(legs, at):
    return LegRows(
        legs.x[at], legs.transaction[at].astype(np.int32), legs.direction[at], legs.sender[at], legs.receiver[at]
    )


def instruments(legs):
    codes = np.full(int(legs.transaction.max()) + 1, 255, np.uint8)
    codes[legs.transaction] = legs.instrument.view(np.uint8)
    return codes


def test_rows_become_the_same_legs(seen):
    at = np.random.default_rng(1).permutation(seen.size)
    legs = legs_for_models(rows_of(seen, at), instruments(seen))
    wanted = seen.take(at)
    for name in ("x", "direction", "instrument", "sender", "receiver", "scored", "transaction"):
        assert (getattr(legs, name) == getattr(wanted, name)).all(), name
    assert legs.x.flags.c_contiguous


def test_anomalies_are_those_of_the_whole_however_the_legs_come(models, seen):
    raw = models.legs(seen)
    wanted = models.transactions(raw, seen.transaction, 300)
    for size in (600, 7):
        book = ScoreBook(models)
        for at in np.array_split(np.random.default_rng(size).permutation(600), 600 // size):
            surprise = book.take(rows_of(seen, at), instruments(seen))
            assert surprise == pytest.approx(models.leg_surprise(raw[at]))
        assert book.surprise(np.arange(300)) == pytest.approx(wanted, abs=1e-4)


def test_a_leg_that_ran_again_counts_as_it_is_now(models, seen):
    book, codes = ScoreBook(models), instruments(seen)
    older = seen.take(np.arange(seen.size))
    older.x[:] = 9.0
    book.take(rows_of(older, np.arange(600)), codes)
    strange = book.surprise(np.arange(300)).copy()
    # Within one batch a leg may stand twice; the later row counts.
    then, now = rows_of(older, np.arange(4)), rows_of(seen, np.arange(4))
    both = LegRows(*(np.concatenate(pair) for pair in zip(then, now, strict=True)))
    book.take(both, codes)
    book.take(rows_of(seen, np.arange(4, 600)), codes)
    fresh = ScoreBook(models)
    fresh.take(rows_of(seen, np.arange(600)), codes)
    assert (book.surprise(np.arange(300)) == fresh.surprise(np.arange(300))).all()
    assert strange.max() > fresh.surprise(np.arange(6, 300)).max()


def test_what_left_has_no_anomaly(models, seen):
    book = ScoreBook(models)
    book.take(rows_of(seen, np.arange(600)), instruments(seen))
    book.drop(np.array([3, 5, 4_000], np.int32))
    found = book.surprise(np.arange(302))
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 5, 300, 301]


def step_of(legs, at, leave=()):
    """A step in which these legs ran; its new movements are the ten that their legs belong to."""
    moved = np.unique(legs.transaction[at])
    arrivals = SimpleNamespace(columns={"instrument": instruments(legs)[moved]}, leave=np.array(leave, np.int32))
    return SimpleNamespace(arrivals=arrivals, applied=SimpleNamespace(rows=rows_of(legs, at)))


def test_steps_are_followed(models, seen):
    book, plain = ScoreBook(models), ScoreBook(models)
    for k in range(30):
        at = np.arange(20 * k, 20 * k + 20)
        surprise = book.step(step_of(seen, at, leave=[3, 250] if k == 25 else []))
        assert (surprise == plain.take(rows_of(seen, at), instruments(seen))).all()
    found, wanted = book.surprise(np.arange(300)), plain.surprise(np.arange(300))
    # 250 left before its legs of that step came.
    assert np.flatnonzero(found != wanted).tolist() == [3] and np.isnan(found[3])
    assert (book.instruments.all == instruments(seen)).all()


def test_the_state_is_all_there_is(models, seen):
    book = ScoreBook(models)
    book.take(rows_of(seen, np.arange(600)), instruments(seen))
    other = ScoreBook(models)
    other.restore(book.state())
    assert (other.surprise(np.arange(300)) == book.surprise(np.arange(300))).all()
