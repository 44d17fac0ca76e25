"""The engine alone: in any order and batches, with leavers, it holds what the movements that stand say."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aml.detect.compile import Compiled, compile_rules
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.engine.evict import UNIT_DAYS
from tests.naive.book import DAY
from tests.naive.moves import Moves, Play
from tests.strategies import long_streams, streams

WEEK = 7 * DAY
seeds = st.integers(0, 10**6)
# Rules that read back a short, a middling and a long way: what is dropped, and when, differs.
SOME_RULES = (
    None, ("pass-through", "chain"), ("smurfing", "same-unit", "dormant"), ("pass-through", "round-trip", "scatter"),
    ("fan-", "gather", "withdrawals"), ("kept-under", "chain"),
)  # fmt: skip


@cache
def some_rules(profile: str, names: tuple[str, ...] | None) -> Compiled:
    rules = [rule for rule in load_rules(profile) if names is None or any(name in rule.id for name in names)]
    return compile_rules(rules, load_profile(profile))


def settled(moves: Moves, **options: Any) -> Play:
    """All that stands, let in at once."""
    play = Play.begin(moves, **options)
    play.apply(moves.stand)
    return play


def batches(items: list[int], chance: random.Random) -> list[list[int]]:
    size = chance.choice((1, 2, 3, 7, 1000))
    return [items[k : k + size] for k in range(0, len(items), size)]


@given(streams(), seeds)
def test_any_order_any_batches_any_shards(stream, seed):
    moves, chance = Moves.of(stream), random.Random(seed)
    base = settled(moves)
    for shards in (1, 3, 8):
        play = Play.begin(moves, chance, shards)
        order = moves.stand.tolist()
        chance.shuffle(order)
        for batch in batches(order, chance):
            play.apply(batch)
        assert play.findings() == base.findings()
        assert play.features == base.features


@given(streams(), seeds)
def test_what_left_was_never_there(stream, seed):
    moves, chance = Moves.of(stream), random.Random(seed)
    base = settled(moves)
    play = Play.begin(moves, chance, chance.choice((1, 2)))
    stand, held = set(moves.stand.tolist()), set()
    for _ in range(chance.choice((2, 5, 12))):
        removed = {x for x in held if chance.random() < 0.4}
        added: set[int] = set()
        for x in range(moves.size):
            if x not in held and chance.random() < 0.5 and not any(moves.clash(x, y) for y in (held - removed) | added):
                added.add(x)
        play.apply(sorted(added), sorted(removed))
        held = (held | added) - removed
        if chance.random() < 0.3:
            play.restart()
    play.apply(sorted(stand - held), sorted(held - stand))
    assert play.findings() == base.findings()
    assert play.features == base.features


@given(streams(), seeds)
def test_every_finding_that_changed_is_named(stream, seed):
    moves, chance = Moves.of(stream), random.Random(seed)
    play = Play.begin(moves, chance)
    order = moves.stand.tolist()
    chance.shuffle(order)
    before: dict[Any, Any] = {}
    for batch in batches(order, chance):
        applied = play.apply(batch)
        now = play.findings()
        differ = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        assert differ <= applied.findings
        before = now


@given(long_streams((10, 20, 40, 90, 150, 230)), seeds, st.sampled_from(SOME_RULES))
def test_dropping_what_nothing_can_read_changes_no_later_answer(stream, seed, names):
    moves, chance = Moves.of(stream, some_rules(stream.profile, names)), random.Random(seed)
    late = chance.choice((0, DAY, 7 * DAY))  # how far out of order they come
    t = moves.columns["t"]
    order = sorted(moves.stand.tolist(), key=lambda x: t[x] + chance.randint(0, late))
    whole, play, fixed = Play.begin(moves), Play.begin(moves, chance, chance.choice((1, 3))), -(1 << 62)
    parts = batches(order, chance)
    for k, batch in enumerate(parts):
        whole.apply(batch)
        play.apply(batch)
        left = [x for part in parts[k + 1 :] for x in part]
        if left and chance.random() < 0.5:
            fixed = int(t[left].min())
            play.engine.evict(fixed, 0.0)
        if chance.random() < 0.2:
            play.restart()
    week = ((fixed - UNIT_DAYS * DAY) // DAY + 3) // 7
    later = {key: value for key, value in whole.findings().items() if key[2] >= week}
    assert {key: value for key, value in play.findings().items() if key[2] >= week} == later
    assert play.features == whole.features


def test_memory_stays_bounded_over_a_long_life():
    """The same weeks over and over: what is held does not grow with them."""
    from hypothesis import find

    stream = find(streams(profiles=("us",), acts=False), lambda s: len(s.rows) > 25)
    rules = some_rules("us", ("pass-through", "chain", "round-trip"))
    rows = [
        {
            **row, "transaction_id": f"{turn}-{row['transaction_id']}", "booking_date": None,
            "executed_at": row["executed_at"] + turn * 4 * WEEK,
        }
        for turn in range(24) for row in stream.rows
    ]  # fmt: skip
    moves = Moves.of(replace(stream, rows=rows), rules)
    play, sizes = Play.begin(moves), []
    t = moves.columns["t"]
    order = moves.stand[np.argsort(t[moves.stand], kind="stable")]
    for part in np.array_split(order, 24):
        play.apply(part)
        play.engine.evict(int(t[part].max()) - WEEK, 0.0)
        ledger = play.engine.shards[0].ledger
        sizes.append((play.engine.hits.book.meter[0], play.engine.book_use.sum(), ledger.meter[0]))
    for early, last in zip(np.max(sizes[6:12], axis=0), sizes[-1], strict=True):
        assert last <= early
