"""The engine is its slow twin, and its answer depends on the set of transactions, not on how they came."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aml.engine.engine import Engine
from tests.naive.book import DAY, open_book
from tests.naive.evaluate import alternatives_in, leg_floor_of
from tests.naive.evaluate import findings as twin_findings
from tests.naive.fast import Fast, compiled, twin_profile, twin_rules
from tests.naive.features import leg_features
from tests.naive.identity import content, identity, record, standing
from tests.naive.keys import engine_key
from tests.naive.path import Limits, hops_of, kept_trails
from tests.strategies import Stream, long_streams, streams

LATE = 6 * DAY
VARIANTS = {"aggregate": "over", "path": "shape", "fan": "shape"}
Rows = Sequence[dict[str, Any]]
seeds = st.integers(0, 10**6)


def one_content(stream: Stream) -> Stream:
    """The stream without conflicts: which side of one came first is arrival history."""
    held: dict[Any, Any] = {}
    kept = []
    for row in stream.rows:
        full = record(row)
        if held.setdefault(identity(full), content(full)) == content(full):
            kept.append(row)
    return replace(stream, rows=kept)


def taken(stream: Stream, rows: Rows, batch: int = 1_000_000, **options: Any) -> tuple[Fast, Any]:
    """The rows through the fast path in batches, and the features that it told."""
    fast = Fast.open(stream.profile, stream.parties, **options)
    return fast, fast.features(fast.take(rows, batch))


def told(fast: Fast) -> tuple[Any, ...]:
    """All current findings and hits, in a form to compare."""
    findings = {
        key: (f.transaction_ids, f.opens, f.crossed_at, f.points, f.opened_at, f.hits, f.networks, f.total, f.path,
              {name: str(value) for name, value in f.measured.items()})
        for key, f in fast.findings().items()
    }  # fmt: skip
    return findings, sorted((k, tuple(map(repr, f.values())), rest) for k, f, rest in fast.hits())


def unlike(one: dict[Any, dict[str, float]], other: dict[Any, dict[str, float]]) -> list[Any]:
    """Legs and features that differ."""
    wrong: list[Any] = sorted(one.keys() ^ other.keys())
    for leg in one.keys() & other.keys():
        a, b = one[leg], other[leg]
        wrong += [(leg, n, a[n], b[n]) for n in a if not math.isclose(a[n], b[n], rel_tol=1e-9, abs_tol=1e-9)]
    return wrong


def same(a: Any, b: Any) -> bool:
    """Equal numbers; unknown is NaN or None."""
    a, b = (math.nan if value is None else float(value) for value in (a, b))
    return (math.isnan(a) and math.isnan(b)) or a == b or math.isclose(a, b, rel_tol=1e-12)


@given(streams())
def test_hits_findings_and_features_are_the_slow_twins(stream):
    stream = one_content(stream)
    rules = twin_rules(stream.profile)
    stand, _, _ = standing(stream.rows)
    book = open_book(stand, stream.parties, twin_profile(stream.profile), None, engine_key)
    twin = alternatives_in(book, rules)
    fast, features = taken(stream, stream.rows)
    by_id = {rule.id: rule for rule in rules}
    expected: dict[Any, list[Any]] = {}
    for hit in twin:
        one = by_id[hit.rule].detect[hit.alternative]
        kind = one["kind"] + (f".{one[VARIANTS[one['kind']]]}" if one["kind"] in VARIANTS else "")
        expected.setdefault((hit.rule, hit.subject, hit.transaction_id, kind), []).append(hit)
    found: dict[Any, list[Any]] = {}
    for key, facts, rest in fast.hits():
        found.setdefault(key, []).append((facts, rest))
    assert {k: len(v) for k, v in found.items()} == {k: len(v) for k, v in expected.items()}
    for key, hits in expected.items():
        for hit, (facts, rest) in zip(sorted(hits, key=lambda h: h.alternative), found[key], strict=True):
            wrong = {n: (hit.facts[n], f) for n, f in facts.items() if n in hit.facts and not same(hit.facts[n], f)}
            assert wrong == {}
            assert rest == (hit.steps, hit.opens)
    ours = fast.ours()
    about = [h for h in twin if h.subject in ours or by_id[h.rule].detect[h.alternative].get("over") == "conducted"]
    want = {
        (rule, subject, week): (f.transaction_ids, f.opens, f.crossed_at)
        for (rule, _, subject, week), f in twin_findings(about, rules).items()
    }  # fmt: skip
    assert {k: (f.transaction_ids, f.opens, f.crossed_at) for k, f in fast.findings().items()} == want
    floor = leg_floor_of(rules)
    kept, _ = kept_trails(hops_of(book, floor), Limits(leg_floor=floor))
    slow = {(leg.tx["transaction_id"], 0 if leg.credit else 1): f for leg, f in leg_features(book, kept)}
    assert unlike(slow, features) == []


@given(streams(), seeds)
def test_order_batches_and_shards_change_nothing(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    base, features = taken(stream, stream.rows)
    order = sorted(range(len(stream.rows)), key=lambda i: stream.rows[i]["executed_at"] + chance.randrange(LATE))
    shuffled = [stream.rows[i] for i in order]
    for rows, options in (
        (stream.rows, {"batch": 1}), (shuffled, {"batch": chance.choice((1, 2, 7))}), (shuffled, {}),
        (shuffled, {"batch": chance.choice((1, 4, 1000)), "shards": 3}), (stream.rows, {"batch": 5, "shards": 8}),
    ):  # fmt: skip
        fast, again = taken(stream, rows, **options)
        assert told(fast) == told(base)
        assert unlike(features, again) == []


@given(streams(), seeds)
def test_each_record_once_or_five_times_is_once(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    base, features = taken(stream, stream.rows)
    copies = [row for row in stream.rows for _ in range(chance.randint(1, 5))]
    order = sorted(range(len(copies)), key=lambda i: copies[i]["executed_at"] + chance.randrange(LATE))
    fast, again = taken(stream, [copies[i] for i in order], batch=chance.choice((1, 3, 1000)))
    assert told(fast) == told(base)
    assert unlike(features, again) == []


@given(streams(), seeds)
def test_one_file_after_another_is_both_together(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    second = [row for row in stream.rows if chance.random() < 0.4]
    first = [row for row in stream.rows if row not in second]
    fast, _ = taken(stream, [*first, *second])
    assert told(fast) == told(taken(stream, stream.rows)[0])


@given(streams(), seeds)
def test_restored_anywhere_it_never_stopped(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    fast = Fast.open(stream.profile, stream.parties)
    for row in stream.rows:
        fast.take([row])
        if chance.random() < 0.3:
            state = {name: held.copy() for name, held in fast.detection.engine.state().items()}
            fast.detection.engine = Engine.from_state(fast.detection.compiled.program, state)
    assert told(fast) == told(taken(stream, stream.rows)[0])


@given(streams(acts=False), seeds)
def test_what_is_voided_was_never_booked(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    gone = [row for row in stream.rows if chance.random() < 0.3]
    voids = [{**row, "void": True} for row in gone]
    fast, features = taken(stream, [*stream.rows, *voids], batch=chance.choice((1, 4, 1000)))
    base, left = taken(stream, [row for row in stream.rows if row not in gone])
    assert told(fast) == told(base)
    assert unlike(left, features) == []


@given(streams())
def test_a_filter_never_stops_what_the_condition_lets_pass(stream):
    held = compiled(stream.profile)
    filters = held.program.filters.copy()
    for name in ("bounds", "ratio", "month_ratio"):
        filters[name] = 0
    filters["segments"] = (1 << 8) - 1
    open_ = replace(held, program=replace(held.program, filters=filters))
    assert told(taken(stream, stream.rows, rules=open_)[0]) == told(taken(stream, stream.rows)[0])


def in_time(stream: Stream) -> Stream:
    return replace(stream, rows=sorted(stream.rows, key=lambda row: row["executed_at"]))


@given(long_streams((20, 40, 90, 150, 230)).map(in_time), seeds)
def test_dropping_what_nothing_can_read_changes_no_later_answer(stream, seed):
    stream, chance = one_content(stream), random.Random(seed)
    base, _ = taken(stream, stream.rows)
    fast, steps, settled = Fast.open(stream.profile, stream.parties), [], 0
    size = chance.choice((1, 2, 5))
    for k in range(0, len(stream.rows), size):
        steps += fast.take(stream.rows[k : k + size])
        if chance.random() < 0.5 and k + size < len(stream.rows):
            settled = stream.rows[k + size]["executed_at"]
            fast.detection.engine.evict(settled, 0.0)
    monday = (date(1970, 1, 1) + timedelta(days=settled // DAY - 14)).isoformat()

    def later(found: Iterable[Any]) -> Any:
        return {key: value for key, value in told(found)[0].items() if key[2] >= monday}

    assert later(fast) == later(base)
    latest = {
        (number, side): x.tolist()
        for step in steps
        for x, number, side in zip(*(getattr(step.applied.rows, n) for n in ("x", "tx", "side")), strict=True)
    }
    whole = Fast.open(stream.profile, stream.parties)
    for step in whole.take(stream.rows):
        rows = step.applied.rows
        for x, number, side in zip(rows.x, rows.tx, rows.side, strict=True):
            assert np.allclose(latest[number, side], x, rtol=1e-9, atol=1e-9)
