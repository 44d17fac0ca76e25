"""A flush: what its heads say of the source partitions, where rows and rejects go, and the dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from aml.detect.profile import load_profile
from aml.engine.keys import order_key
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.resolved import resolve
from aml.stream import intake as module
from aml.stream.block import Block, unpack_block
from aml.stream.decode import Decoder, Message
from aml.stream.forms import LARGEST_MESSAGE
from aml.stream.intake import Assigned, IntakeCore
from tests.factories import NOW, txn

TOPIC = "aml.transactions.v1"
SHARDS = 4
PROFILE = load_profile("us")
ONE = {(TOPIC, 0): Assigned(1, False)}


def core(**positions: int) -> IntakeCore:
    decoder = Decoder(Terms(TOPIC, "main", 0, "USD", NO_RATES))
    made = IntakeCore("intake-0", SHARDS, decoder, lambda frame: resolve(frame, PROFILE, None, SHARDS))
    made.assign({(TOPIC, int(p[1:])): offset for p, offset in (positions or {"p0": 0}).items()})
    return made


def message(offset, value=None, partition=0, at=NOW, key=b"k", headers=()) -> Message:
    value = json.dumps(txn(transaction_id=f"T{offset}")).encode() if value is None else value
    return Message(TOPIC, partition, offset, at, key, value, headers)


def blocks(done) -> list[Block]:
    return [unpack_block(block) for block in done.blocks]


def highest(messages: Sequence[Message]) -> dict[str, list[tuple[int, int]]]:
    intake = core()
    intake.take(messages)
    return dict(blocks(intake.flush(NOW, ONE))[0].head.ranges[0].highest)


def test_an_empty_flush_tells_every_shard_where_the_partitions_stand():
    intake = core(p0=7, p1=3)
    assigned = {(TOPIC, 0): Assigned(2, True), (TOPIC, 1): Assigned(2, False)}
    done = intake.flush(NOW, assigned)
    assert [b.head.shard for b in blocks(done)] == [0, 1, 2, 3]
    for block in blocks(done):
        told = [(r.partition, r.first, r.next, r.partitions, r.ended_at > 0, r.reached_at) for r in block.head.ranges]
        assert told == [(0, 7, 7, 2, True, 0), (1, 3, 3, 2, False, 0)]
        assert (block.head.intake, block.head.shards, block.head.at, block.rows.n) == ("intake-0", 4, NOW, 0)
    assert done.offsets == {(TOPIC, 0): 7, (TOPIC, 1): 3}
    assert (done.rows, done.dead, done.event_time) == (0, [], {})


def test_a_range_reaches_over_holes_in_the_offsets_and_the_next_begins_where_it_ended():
    intake = core(p0=5)
    intake.take([message(8), message(11, at=NOW + 5)])
    (first, *_) = blocks(intake.flush(NOW, ONE))[0].head.ranges
    assert (first.first, first.next, first.reached_at) == (5, 12, NOW + 5)
    intake.take([message(20, at=NOW - 9)])
    (second, *_) = blocks(intake.flush(NOW, ONE))[0].head.ranges
    assert (second.first, second.next, second.reached_at) == (12, 21, NOW - 9)


def test_what_is_left_for_the_next_flush_is_neither_covered_nor_the_end():
    intake = core()
    intake.take([message(n) for n in range(5)])
    size = len(message(0).value or b"")
    ended = {(TOPIC, 0): Assigned(1, True)}
    spans = []
    while intake.held:
        r = blocks(intake.flush(NOW, ended, most=2 * size))[0].head.ranges[0]
        spans.append((r.first, r.next, r.ended_at > 0))
    assert spans == [(0, 2, False), (2, 4, False), (4, 5, True)]


def test_after_a_rebalance_nothing_is_left_of_what_was_held():
    intake = core()
    intake.take([message(0), message(1)])
    intake.assign({(TOPIC, 1): 40})
    assert (intake.held, intake.waiting) == (0, 0)
    done = intake.flush(NOW, {(TOPIC, 1): Assigned(2, False)})
    assert done.offsets == {(TOPIC, 1): 40}


def test_a_record_goes_to_one_shard_and_what_acts_on_others_to_all():
    intake = core()
    intake.take([message(n, json.dumps(txn(transaction_id=f"T{n}", originator_account=f"A{n}")).encode())
                 for n in range(40)])  # fmt: skip
    intake.take([message(40, json.dumps(txn(transaction_id="T1", void=True)).encode()),
                 message(41, json.dumps(txn(transaction_id="T2", revision=2)).encode())])  # fmt: skip
    made = blocks(intake.flush(NOW, ONE))
    offsets = [b.rows["offset"].tolist() for b in made]
    assert all(found == sorted(found) and found[-2:] == [40, 41] for found in offsets)
    assert sorted(n for found in offsets for n in found[:-2]) == list(range(40))
    assert sum(len(found) > 2 for found in offsets) > 1


def test_the_hundred_highest_times_are_told_and_a_record_that_came_twice_once():
    times = [f"2026-03-02T09:{n // 60:02d}:{n % 60:02d}Z" for n in range(130)]
    values = [json.dumps(txn(transaction_id=f"T{n}", executed_at=at)) for n, at in enumerate(times)]
    messages = [message(n, value.encode()) for n, value in enumerate([*values, *values[-40:]])]
    rows = Decoder(Terms(TOPIC, "main", 0, "USD", NO_RATES)).decode(messages).rows
    every = set(zip(rows["executed_at"].to_list(), order_key(rows)[1].tolist(), strict=True))
    assert highest(messages) == {"main": sorted(every, reverse=True)[:100]}
    assert len(every) == 130


def test_institutions_progress_apart_and_what_has_no_time_says_nothing():
    other = json.dumps(txn(institution="other", executed_at="2026-03-05T00:00:00Z")).encode()
    void = json.dumps({"transaction_id": "V", "void": True, "institution": "third"}).encode()
    found = highest([message(0), message(1, other), message(2, void), message(3, b"{}")])
    assert {name: len(pairs) for name, pairs in found.items()} == {"main": 1, "other": 1}


def test_a_reject_rides_to_the_shard_of_its_partition_with_its_own_bytes():
    intake = core(p0=0, p6=0)
    assigned = {(TOPIC, 0): Assigned(7, False), (TOPIC, 6): Assigned(7, False)}
    intake.take([message(0, b"x"), message(0, b'[{"a":1},' + (message(1).value or b"") + b"]", partition=6)])
    made = blocks(intake.flush(NOW, assigned))
    found = [[(r.partition, r.offset, r.index, r.code, r.original) for r in b.head.rejects] for b in made]
    assert found == [[(0, 0, 0, "not_json", b"x")], [], [(6, 0, 0, "field_missing", b'{"a":1}')], []]


def test_a_message_with_faults_makes_one_dead_letter_as_it_came():
    intake = core()
    value = b'[{"a":1},' + (message(0).value or b"") + b",7]"
    intake.take([message(3, value, key=None, headers=(("h", b"\xff"),)), message(4), message(5, b"x", key=b"K")])
    done = intake.flush(NOW, ONE)
    assert (done.rows, dict(done.rejected)) == (2, {"field_missing": 1, "not_an_object": 1, "not_json": 1})
    first, second = done.dead
    assert (first.topic, first.key, first.value) == (f"{TOPIC}.dlq", None, value)
    assert first.headers[0] == ("h", b"\xff")
    told = dict(first.headers[1:])
    assert {name: told[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset", "stage")} == {
        "topic": TOPIC.encode(), "partition": b"0", "offset": b"3", "stage": b"VALUE_CONVERTER",
    }  # fmt: skip
    assert (told["aml.error.code"], told["aml.error.index"]) == (b"field_missing,not_an_object", b"0,2")
    assert (told["aml.error.attempts"], told["aml.first_seen"]) == (b"1", str(NOW).encode())
    assert (second.key, second.value) == (b"K", b"x")


@pytest.mark.parametrize("n", [1, 3])
def test_event_time_is_the_median_that_a_mistyped_date_does_not_move(n):
    intake = core()
    times = ["2026-03-02T00:00:00Z"] * (2 * n) + ["1990-01-02T00:00:00Z"] * (n - 1)
    intake.take([message(k, json.dumps(txn(executed_at=at)).encode()) for k, at in enumerate(times)])
    assert intake.flush(NOW, ONE).event_time == {(TOPIC, 0): 1_772_409_600_000_000}


def test_messages_whose_blocks_would_be_too_large_go_by_halves(monkeypatch):
    """Of many tiny ones comes a hundred times as much: brokers must take it all the same, and in order."""
    monkeypatch.setattr(module, "LARGEST_BLOCK", 3_000)
    intake = core()
    intake.take([message(n, b"1") for n in range(100)])
    flushed = []
    while intake.held:
        flushed.append(intake.flush(NOW, ONE))
        assert max(map(len, flushed[-1].blocks)) <= 3_000
    assert [done.offsets[TOPIC, 0] for done in flushed] == sorted({done.offsets[TOPIC, 0] for done in flushed})
    assert flushed[-1].offsets == {(TOPIC, 0): 100}
    found = [reject.offset for done in flushed for block in blocks(done) for reject in block.head.rejects]
    assert found == list(range(100))
    assert intake.waiting == 0


def test_a_message_alone_goes_whatever_comes_of_it(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_BLOCK", 10)
    intake = core()
    intake.take([message(0, b"1"), message(1)])
    assert [intake.flush(NOW, ONE).offsets[TOPIC, 0], intake.flush(NOW, ONE).offsets[TOPIC, 0]] == [1, 2]


@pytest.mark.parametrize(
    "element",
    [
        lambda n: b'{"transaction_id":"%054x","void":true}' % n,  # goes to every shard
        lambda n: b'{"transaction_id":"%x","institution":"%045x"}' % (n, n),  # rejected, each of its own
        lambda n: b"%082x" % n,
    ],
)
def test_the_largest_message_makes_a_block_that_brokers_take(element):
    """Topics of blocks take 64 MiB packed; the client counts unpacked."""
    lines = [element(n) for n in range(99_999)]
    value = b"\n".join(lines)[:LARGEST_MESSAGE]
    intake = core()
    intake.take([message(0, value)])
    done = intake.flush(NOW, ONE)
    assert done.rows + sum(done.rejected.values()) > 80_000
    assert max(map(len, done.blocks)) < 48 << 20
    assert all(len(m.value) + 5_000 < 64 << 20 for m in done.dead)


def test_a_message_that_is_larger_unpacked_is_one_reject_and_its_dead_letter_is_cut():
    large = b"[" + b"1," * (30 << 20) + b"1]"
    intake = core()
    intake.take(
        [message(0), message(1, large, headers=[("h", b"x")]), message(2, b"{" + b" " * LARGEST_MESSAGE + b"}")]
    )
    intake.take([message(3)])
    done = [intake.flush(NOW, ONE)]
    while intake.held:
        done.append(intake.flush(NOW, ONE))
    assert sum(one.rows for one in done) == 2
    assert sum((one.rejected for one in done), start=type(done[0].rejected)()) == {"not_an_object": 2}
    cut, whole = [letter for one in done for letter in one.dead]
    assert cut.value == large[: 64 << 10] and dict(cut.headers)["aml.error.cut"] == str(len(large) + 3).encode()
    assert dict(cut.headers)["__connect.errors.offset"] == b"1"
    assert len(whole.value) == LARGEST_MESSAGE + 2
    rejects = [reject for one in done for block in blocks(one) for reject in block.head.rejects]
    assert [len(reject.original) for reject in rejects] == [64 << 10, 64 << 10]
