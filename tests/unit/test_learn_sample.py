"""Drawing the training legs from a stream: the same legs, however they come."""

from __future__ import annotations

import numpy as np
import pytest

from aml.learn.sample import Sampler, sample
from aml.learn.spec import Fit
from tests.learn_factory import random_legs, times_and_keys

FIT = Fit(1_000, 0.2)


@pytest.fixture(scope="module")
def stream():
    legs = random_legs(12_000)
    return legs, *times_and_keys(legs)


def drawn_in_batches(stream, size, fit=FIT):
    legs, t, key = stream
    sampler = Sampler(fit)
    for i in range(0, legs.size, size):
        rows = np.arange(i, min(i + size, legs.size))
        sampler.add(legs.take(rows), t[rows], key[rows])
    return sampler


def same(one, other):
    return (
        one.transactions == other.transactions and (one.t == other.t).all() and (one.legs.x == other.legs.x).all()
        and (one.legs.transaction == other.legs.transaction).all()
        and (one.legs.direction == other.legs.direction).all()
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 97, 1_000, 5_000, 12_000])
def test_batches_do_not_matter(stream, size):
    assert same(drawn_in_batches(stream, size).drawn(), sample(*stream, FIT))


def test_the_order_does_not_matter(stream):
    legs, t, key = stream
    turned = np.random.default_rng(5).permutation(legs.size)
    again = drawn_in_batches((legs.take(turned), t[turned], key[turned]), 700)
    assert same(again.drawn(), sample(*stream, FIT))


def test_it_is_whole_transactions_without_the_cold_start(stream):
    drawn = drawn_in_batches(stream, 500).drawn()
    assert 990 <= drawn.legs.size <= 1_000
    assert (np.bincount(drawn.legs.transaction) == 2).all()
    # The cold start is measured on the legs drawn before it is left out.
    assert drawn.t.min() == pytest.approx(np.quantile(stream[1], 0.2), rel=0.15)


def test_memory_is_bounded(stream):
    sampler = drawn_in_batches(stream, 250)
    assert sampler.seen == 12_000
    assert sum(part.t.size for part in sampler._parts) < 3_000


def test_a_leg_given_again_replaces_itself(stream):
    legs, t, key = stream
    older = legs.take(np.arange(legs.size))
    older.x[:] = 99.0
    sampler = Sampler(FIT)
    for given in (older, legs):
        for rows in np.array_split(np.arange(legs.size), 9):
            sampler.add(given.take(rows), t[rows], key[rows])
    assert same(sampler.drawn(), sample(*stream, FIT))


def test_what_left_is_not_learnt_from_until_it_stands_again(stream):
    legs, t, key = stream
    kept = sample(*stream, FIT)
    named = {int(k) for k in key[: legs.size // 2]}
    left = np.unique(legs.transaction[: legs.size // 2])
    sampler = Sampler(Fit(12_000, 0.0))
    sampler.add(legs, t, key)
    sampler.drop(left)
    assert sampler.drawn().legs.size == legs.size // 2
    assert not named & {int(k) for part in sampler._parts for k in part.key}
    sampler.add(legs.take(np.arange(legs.size // 2)), t[: legs.size // 2], key[: legs.size // 2])
    assert sampler.drawn().legs.size == legs.size
    assert kept.legs.size < 1_001


def test_silent_legs_are_not_drawn(stream):
    legs, t, key = stream
    legs = legs.take(np.arange(4_000))
    legs.scored[:2_000] = False
    assert sample(legs, t[:4_000], key[:4_000], Fit(12_000, 0.0)).legs.size == 2_000
