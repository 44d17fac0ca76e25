"""The protocol under faults: crashes, overlaps and rebalances change neither counts nor the answer."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings

from tests.property.test_engine import one_content, seeds
from tests.strategies import streams
from tests.stream_world import World, arrivals, judged

SEEDS = int(os.environ.get("AML_SIMULATION_SEEDS", "200" if os.environ.get("AML_TEST_ALL") == "1" else "20"))


@settings(max_examples=SEEDS)
@given(streams(), seeds)
def test_nothing_is_lost_doubled_or_made_to_depend_on_arrival(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    expected, rows = judged(stream), arrivals(stream, chance)
    with tempfile.TemporaryDirectory() as folder:
        world = World(stream.profile, stream.parties, rows, chance, Path(folder))
        world.run()
    assert world.found() == expected
    counts = world.store.counts
    assert counts["consumed"] == len(rows) + world.poisoned
    assert counts["rejected:not_json"] == world.poisoned
    distinct = len(stream.rows) - counts["duplicate"] + len(rows) - len(stream.rows)
    assert counts["scored"] == distinct
    assert counts["consumed"] == counts["scored"] + counts["duplicate"] + counts["rejected:not_json"]
    named = {name for f in expected.values() for name in f.transaction_ids}
    assert named <= world.store.evidence
