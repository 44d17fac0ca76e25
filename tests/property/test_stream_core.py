"""Shards that only exchange letters find what one process finds, whatever the order of delivery."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given

from tests.naive.fast import Fast
from tests.property.test_engine import LATE, one_content, seeds, unlike
from tests.strategies import Stream, streams
from tests.stream_cluster import Cluster, told


def in_one_process(stream: Stream) -> tuple[Fast, dict[tuple[str, int], dict[str, float]]]:
    """The whole stream at once, and what models read of its legs."""
    fast = Fast.open(stream.profile, stream.parties)
    steps = fast.take(stream.rows)
    latest = {}
    for step in steps:
        legs = step.applied.rows
        for k, (number, side) in enumerate(zip(legs.tx.tolist(), legs.side.tolist(), strict=True)):
            latest[fast.names(np.array([number]))[0], side] = told(legs, k)
    return fast, {leg: latest[leg] for leg in fast.features(steps)}


@given(streams(), seeds)
def test_letters_between_shards_change_nothing(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    base, features = in_one_process(stream)
    order = sorted(range(len(stream.rows)), key=lambda i: stream.rows[i]["executed_at"] + chance.randrange(LATE))
    rows = [stream.rows[i] for i in order]
    cluster = Cluster(stream.profile, stream.parties, chance.choice((1, 2, 3, 8)), chance)
    size = chance.choice((1, 2, 5, 1000))
    for k in range(0, len(rows), size):
        cluster.take(rows[k : k + size])
    cluster.settle()
    assert cluster.findings() == base.findings()
    assert unlike(features, cluster.features()) == []
