"""What the intake makes of a message depends on that message alone, and every element is counted once."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.detect.profile import load_profile
from aml.domain.transaction import CANONICAL
from aml.engine.columns import Flag
from aml.engine.intern import Texts
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.carried import NUMBERS, TEXTS, Carried, carry
from aml.pipeline.resolved import EVERYWHERE, SHARD, resolve
from aml.stream.block import Block, unpack_block
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from tests.factories import NOW, txn
from tests.unit.test_feed_poison import POISON

TOPIC = "aml.transactions.v1"
DAY = 86_400_000_000
TERMS = Terms(TOPIC, "main", 0, "USD", NO_RATES)
NOBODY = ("_conductor_hi", "_conductor_lo")  # of a record without conductor they mean nothing
SAID = [name for name in CANONICAL if name != "place"]  # that is a line's
PROFILE = load_profile("us")


def record(n, at, odd) -> bytes:
    """A payment; odd ones have other columns, times that only some clocks know, or act on others."""
    extra = [
        {}, {"executed_at": "2026-08-30T10:00:00Z"}, {"institution": "other"}, {"source": "own"}, {"memo": {"a": 1}},
        {"revision": 2}, {"void": True}, {"originator": {"account": "N1"}, "originator_account": None},
        {"amount": "12.5", "purpose": "é\\u0000 line\nend"}, {"channel": "telex"}, {"source_sequence": n},
        {"originator_account": None}, {"originator_customer": f"C{n % 7}"}, {"conductor": "Q"},
    ]  # fmt: skip
    base = txn(transaction_id=f"T{n}", originator_account=f"A{n % 13}", beneficiary_account=f"B{n % 5}")
    made = {name: value for name, value in (base | extra[odd]).items() if value is not None}
    return json.dumps(made, ensure_ascii=n % 2 == 0).encode()


elements = st.builds(record, st.integers(0, 99), st.just(0), st.integers(0, 13))
poison = st.sampled_from([bad for _, bad, _ in POISON if len(bad) < 10_000])


def enveloped(value: bytes) -> bytes:
    event = {"specversion": "1.0", "source": "/core", "data_base64": base64.b64encode(value).decode()}
    return json.dumps(event).encode()


values = st.one_of(
    elements, elements, elements, poison, st.just(b""), st.none(), st.binary(max_size=30),
    st.lists(elements, max_size=4).map(lambda some: b"[" + b",".join(some) + b"]"),
    st.lists(st.one_of(elements, poison), max_size=4).map(lambda some: b"[" + b",\n".join(some) + b"]"),
    st.lists(st.one_of(elements, poison), max_size=4).map(b"\n".join),
    elements.map(enveloped), st.lists(elements, max_size=3).map(lambda some: enveloped(b"\n".join(some))),
    elements.map(lambda one: json.dumps(json.loads(one), indent=1).encode()),
    elements.map(lambda one: b"\0\0\0\0\1" + one),
)  # fmt: skip
headers = st.sampled_from([(), (), (("ce_source", b"/cards"),), (("content-type", b"application/cloudevents+json"),)])


@st.composite
def logs(draw) -> list[Message]:
    """Messages of three partitions; a partition's offsets ascend, with holes; its clock may jump years."""
    drawn = draw(st.lists(st.tuples(st.integers(0, 2), values, headers, st.integers(0, 3)), max_size=25))
    clocks = [NOW, NOW + DAY, NOW - 3 * DAY, NOW - 400 * DAY]
    ends: Counter[int] = Counter()
    made = []
    for partition, value, head, clock in drawn:
        ends[partition] += 1 + clock // 3
        made.append(Message(TOPIC, partition, ends[partition], clocks[clock] + len(made), b"k", value, head))
    return made


def plain(rows: pl.DataFrame) -> list[dict[str, object]]:
    """Rows by name, what was not sent or is null left out, in the order of their coordinates; `place` is a line's."""
    told = []
    for row in rows.iter_rows(named=True):
        without = ("place",) if row.get("_flags", 0) & Flag.CONDUCTED else ("place", *NOBODY)
        told.append({name: value for name, value in row.items() if value is not None and name not in without})
    return sorted(told, key=lambda row: (row["_partition"], row["_offset"], row["_index"]))


@given(logs())
def test_a_message_is_read_alike_alone_and_among_others(messages):
    together = Decoder(TERMS).decode(messages)
    alone = [Decoder(TERMS).decode([message]) for message in messages]
    assert plain(together.rows) == sorted(
        (row for one in alone for row in plain(one.rows)), key=lambda r: (r["_partition"], r["_offset"], r["_index"])
    )
    assert together.rejects == [reject for one in alone for reject in one.rejects]
    assert set(together.rows.columns) == {*CANONICAL, "_partition", "_offset", "_index", "_received"}


@given(logs())
def test_every_message_gives_an_element_and_each_has_a_place_of_its_own(messages):
    found = Decoder(TERMS).decode(messages)
    places = [*found.rows.select("_partition", "_offset", "_index").rows()]
    places += [(r.partition, r.offset, r.index) for r in found.rejects]
    assert len(places) == len(set(places))
    assert {place[:2] for place in places} == {(m.partition, m.offset) for m in messages}
    by_message: dict[tuple[int, int], set[int]] = {}
    for partition, offset, index in places:
        by_message.setdefault((partition, offset), set()).add(index)
    assert all(found == set(range(len(found))) for found in by_message.values())


def core(shards: int) -> IntakeCore:
    return IntakeCore("i", shards, Decoder(TERMS), lambda frame: resolve(frame, PROFILE, None, shards))


def flushed(messages, cuts, shards, most) -> list[list[Block]]:
    """The blocks of every flush by shard, the messages taken in so many pieces."""
    intake = core(shards)
    intake.assign({(TOPIC, partition): 0 for partition in range(3)})
    assigned = {(TOPIC, partition): Assigned(3, True) for partition in range(3)}
    bounds = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    made = []
    for first, last in pairwise(bounds):
        intake.take(messages[first:last])
        while True:
            made.append([unpack_block(block) for block in intake.flush(NOW, assigned, most).blocks])
            if not intake.held:
                break
        assert intake.waiting == 0
    made.append([unpack_block(block) for block in intake.flush(NOW, assigned).blocks])
    return made


def traveled(rows: Carried, records: pl.DataFrame) -> list[tuple[object, ...]]:
    """Every record with all that stands beside it, words and texts as they are."""
    codes = {"institution", "source", "currency", "debit_institution", "credit_institution"}
    numbers = [[rows.words[c] for c in rows[n].tolist()] if n in codes else rows[n].tolist() for n in sorted(NUMBERS)]
    texts = []
    for name in TEXTS:
        held = Texts((name,))
        held.add(*rows.text(name))
        texts.append([held.row(k)[0] for k in range(rows.n)])
    return [(*fields, record) for *fields, record in zip(*numbers, *texts, records.rows(), strict=True)]


@given(logs(), st.lists(st.integers(0, 25)), st.sampled_from([1, 3]), st.sampled_from([1, 300, 1 << 40]))
def test_flushes_cover_everything_once_however_they_are_cut(messages, cuts, shards, most):
    made = flushed(messages, cuts, shards, most)
    whole_rows = resolve(Decoder(TERMS).decode(messages).rows, PROFILE, None, shards)
    for shard in range(shards):
        got = [row for flush in made for row in traveled(flush[shard].rows, flush[shard].frame().select(SAID))]
        mine = whole_rows.filter((pl.col(SHARD) == shard) | pl.col(EVERYWHERE))
        wanted = traveled(carry(mine), mine.select(SAID)) if mine.height else []
        assert sorted(map(repr, got)) == sorted(map(repr, wanted))
        rejects = [reject for flush in made for reject in flush[shard].head.rejects]
        wanted = [r for r in Decoder(TERMS).decode(messages).rejects if r.partition % shards == shard]
        assert sorted(rejects, key=lambda r: (r.partition, r.offset, r.index)) == sorted(
            wanted, key=lambda r: (r.partition, r.offset, r.index)
        )
    reach = dict.fromkeys(range(3), 0)
    for flush in made:
        for block in flush:
            assert block.head.ranges == flush[0].head.ranges
        for r in flush[0].head.ranges:
            assert r.first == reach[r.partition] <= r.next
            reach[r.partition] = r.next
    assert reach == {p: max((m.offset + 1 for m in messages if m.partition == p), default=0) for p in range(3)}


@given(logs(), st.sampled_from([1, 3]))
def test_what_is_consumed_is_what_was_read_and_what_was_not(messages, shards):
    made = flushed(messages, [5, 11], shards, 1 << 40)
    consumed: Counter[tuple[int, str, str, str]] = Counter()
    for flush in made:
        for r in flush[0].head.ranges:
            for c in r.consumed:
                consumed[r.partition, c.institution, c.source, c.day] += c.elements()
    found = Decoder(TERMS).decode(messages)
    by_offset = {(m.partition, m.offset): m for m in messages}
    wanted: Counter[tuple[int, str, str, str]] = Counter(
        (r.partition, r.institution, r.source, r.day) for r in found.rejects
    )
    for row in found.rows.iter_rows(named=True):
        day = str(pl.from_epoch(pl.Series([by_offset[row["_partition"], row["_offset"]].at]), "us").dt.date()[0])
        wanted[row["_partition"], row["institution"], row["source"], day] += 1
    assert consumed == wanted
