"""Another number of shards changes nothing: not what was found, not what is known again, not what comes later."""

from __future__ import annotations

import os
import random
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings

from aml.domain.errors import AmlError
from aml.stream.block import unpack_block
from aml.stream.frozen import freeze
from aml.stream.intake import Assigned, IntakeCore
from aml.stream.mail import RECORD, Head, pack_letter, unpack_letters
from aml.stream.takeover import LEGS, take_over
from aml.stream.wire import pack_bundle
from tests.naive.make import Feed
from tests.property.test_engine import one_content, seeds
from tests.strategies import streams
from tests.stream_world import NOW, TOPIC, World, arrivals, judged

SEEDS = int(os.environ.get("AML_SIMULATION_SEEDS", "100" if os.environ.get("AML_TEST_ALL") == "1" else "15"))


@settings(max_examples=SEEDS)
@given(streams(), seeds)
def test_a_resized_stream_goes_on_as_if_it_had_been_so_from_the_beginning(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    expected, rows = judged(stream), arrivals(stream, chance)
    cut = sorted(chance.randint(0, len(rows)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        world = World(stream.profile, stream.parties, rows, chance, Path(folder))
        for first, last in ((0, cut[0]), (cut[0], cut[1])):
            world.run(range(first, last))
            made = world.resize(chance.choice((1, 2, 3, 4, 7)), chance.choice((1, 7, 1000)))
            assert made.outcomes["scored"] == world.store.counts["scored"]
            standing = {id_: finding for id_, change in made.changes.items() if (finding := change.finding) is not None}
            assert standing == world.store.findings
        world.run(range(cut[1], len(rows)))
    assert world.found() == expected
    counts = world.store.counts
    assert counts["consumed"] == len(rows) + world.poisoned
    assert counts["rejected:not_json"] == world.poisoned
    assert counts["scored"] == len({repr(sorted(row.items())) for row in rows})
    assert counts["consumed"] == counts["scored"] + counts["duplicate"] + counts["rejected:not_json"]
    named = {name for f in expected.values() for name in f.transaction_ids}
    assert named <= world.store.evidence


def test_what_came_too_late_to_be_undone_stays(tmp_path):
    feed = Feed()
    deposits = [feed.cash_in(24 * day, "A", 9_500) for day in range(6)]
    for k in range(300):
        feed.pay(24 * 40 + k / 10, "B", "C", 10)
    rows = [*feed.rows, *({**row, "void": True} for row in deposits)]
    world = World("us", [], rows, random.Random(3), tmp_path)
    for some in (range(6), range(6, 306), range(306, 312)):
        world.run(some)
        found = dict(world.store.findings)
    assert found
    made = world.resize(3, 1000)
    assert {id_: change.finding for id_, change in made.changes.items() if change.finding is not None} == found


def snapshots(world: World) -> set[Path]:
    """A snapshot of every shard as it stands, and no other."""
    for path in world.folder.rglob("snapshot-*"):
        path.unlink()
    for row in world.store.rows:
        taken = take_over(world.terms(row.shard), "sim", world.store.own, world.topics, NOW, world.said.append)
        freeze(taken).write("sim")
    world.rest({}, ())
    return {*world.folder.rglob("snapshot-*")}


def test_of_two_that_conflict_the_first_in_the_log_stays(tmp_path):
    feed = Feed()
    deposits = [feed.cash_in(24 * day, "A", 9_500) for day in range(6)]
    world = World("us", [], [*deposits, *({**row, "amount": 1} for row in deposits)], random.Random(4), tmp_path)
    world.partitions, world.source, world.group = 2, [[], []], [0, 0]
    world.publish = partial(world.publish_to, 1)
    world.run(range(6))
    kept = snapshots(world)
    world.publish = partial(world.publish_to, 0)
    world.run(range(6, 12))
    assert kept <= {*tmp_path.rglob("snapshot-*")}
    for path in {*tmp_path.rglob("snapshot-*")} - kept:
        path.unlink()
    found = dict(world.store.findings)
    assert found
    assert world.store.counts["rejected:conflict"] == 6
    made = world.resize(3, 1000)
    assert {id_: change.finding for id_, change in made.changes.items() if change.finding is not None} == found
    assert made.outcomes == {"scored": 6}


def resized(tmp_path: Path) -> World:
    """A world that goes on with three shards."""
    feed = Feed()
    deposits = [feed.cash_in(24 * day, name, 9_500) for day in range(6) for name in "ABCDEFG"]
    world = World("us", [], deposits, random.Random(3), tmp_path)
    world.run()
    world.resize(3, 1000)
    return world


def test_a_shard_that_lost_what_it_was_made_with_does_not_begin_with_nothing(tmp_path):
    world = resized(tmp_path)
    world.generation += 1  # another folder
    with pytest.raises(AmlError, match=r"no snapshot in .* let AML_STATE name the folder of that `aml shards resize`"):
        take_over(world.terms(1), "sim", world.store.own, world.topics, NOW, world.said.append)


def test_what_a_former_generation_still_sends_is_not_heard(tmp_path, caplog):
    world = resized(tmp_path)
    zombie = IntakeCore("zombie", 4, world.decoder, world.resolve)
    zombie.assign({(TOPIC, p): at for p, at in enumerate(world.group)})
    world.publish(b"0")
    zombie.take(world.source[-1][-1:])
    flushed = zombie.flush(NOW, {(TOPIC, p): Assigned(world.partitions, True) for p in range(world.partitions)})
    for shard, block in enumerate(flushed.blocks[:3]):
        world.topics.send(LEGS, shard, block)
    epoch = world.store.rows[0].epoch
    shard = take_over(world.terms(0), "sim", world.store.own, world.topics, NOW, world.said.append)
    covered = dict(shard.covered)
    shard.step([(0, unpack_block(flushed.blocks[0]))], [], NOW)
    assert shard.covered == covered
    assert "packs for 4 shards, not 3" in caplog.text
    old = unpack_letters(pack_bundle([pack_letter(Head(1, epoch - 1, 0, RECORD, NOW), {})]))
    assert shard._letters([(shard.at[1], old)]) == []
