"""Which records stand: duplicates, conflicts, revisions, voids, reversals, in any order and at any age."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from aml.engine.identity import REVERSED, SUPERSEDED, VOIDED, Outcome
from aml.pipeline.accept import HORIZON, Acceptor, Arrivals
from aml.pipeline.older import MERGE_AT, Older, identity
from tests.canonical import UtcDays, frame, txn

HOUR = 3_600_000_000
LATENESS = 10 * HOUR
Row = dict[str, Any]


def void(transaction_id: str, revision: int = 1, **fields: Any) -> Row:
    """What a void needs and nothing else."""
    nothing = dict.fromkeys(("amount", "currency", "originator_account", "beneficiary_account", "instrument"))
    return txn(transaction_id, None, **{"revision": revision, "void": True, **nothing, **fields})


def reversal(transaction_id: str, of: str, at: int, amount: int = 10_000, **fields: Any) -> Row:
    ends = {"originator_account": "b", "beneficiary_account": "a"}
    return txn(transaction_id, at, amount, **{"relation": 0, "relates_to": of, **ends, **fields})


def crowd(at: int, institution: str = "main") -> list[Row]:
    """A hundred records that take a tenant's watermark to `at`."""
    return [txn(f"crowd-{at}-{i}", at, institution=institution, originator_account=f"x{i}") for i in range(100)]


class Feed:
    """An acceptor and what stands after what it was given."""

    def __init__(self, folder: Any = None) -> None:
        self.acceptor = Acceptor(UtcDays(), lateness=LATENESS, folder=folder)
        self.names: dict[int, tuple[str, int]] = {}
        self.standing: set[int] = set()

    def take(self, *rows: Row) -> Arrivals:
        arrivals = self.acceptor.accept(frame(rows))
        for row, number in zip(arrivals.accepted.rows(named=True), arrivals.transaction.tolist(), strict=True):
            self.names[number] = (row["transaction_id"], row["revision"])
        self.standing = (self.standing | set(arrivals.enter.tolist())) - set(arrivals.leave.tolist())
        return arrivals

    def stands(self) -> set[tuple[str, int]]:
        return {self.names[number] for number in self.standing}


def after(*rows: Row) -> set[tuple[str, int]]:
    """What stands after the rows, in one batch and one by one."""
    whole, single = Feed(), Feed()
    whole.take(*rows)
    for row in rows:
        single.take(row)
    assert whole.stands() == single.stands()
    return whole.stands()


ONE = txn("t", 5 * HOUR)
TWO = txn("t", 6 * HOUR, 20_000, revision=2)
THREE = txn("t", 4 * HOUR, 30_000, revision=3, status=4)  # cancelled: it moves nothing


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ((ONE, TWO), {("t", 2)}),
        ((ONE, TWO, THREE), set()),
        ((ONE, void("t")), set()),
        ((ONE, TWO, void("t")), {("t", 2)}),
        ((ONE, TWO, void("t", 2)), set()),
        ((ONE, TWO, void("t", 9)), set()),
        ((ONE, void("u")), {("t", 1)}),
        ((ONE, void("t", institution="other")), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR)), set()),
        ((ONE, reversal("r", "t", 5 * HOUR)), set()),
        ((ONE, reversal("r", "t", 15 * HOUR)), set()),
        ((ONE, reversal("r", "t", 15 * HOUR + 1)), {("t", 1)}),
        ((ONE, reversal("r", "t", 5 * HOUR - 1)), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR, amount=9_999)), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR, currency="EUR")), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR, status=2)), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR), void("r")), {("t", 1)}),
        ((ONE, reversal("r", "t", 6 * HOUR), reversal("r", "u", 6 * HOUR, revision=2)), {("t", 1)}),
        ((ONE, TWO, reversal("r", "t", 7 * HOUR)), {("t", 2)}),  # it fits what no longer stands
        ((ONE, TWO, reversal("r", "t", 7 * HOUR, amount=20_000)), set()),
    ],
)
def test_acts_count_in_any_order(rows: tuple[Row, ...], left: set[tuple[str, int]]) -> None:
    for order in permutations(rows):
        assert after(*order) == left


@pytest.mark.parametrize("relation", [1, 2, 3, 4])
def test_money_back_that_is_no_reversal_is_a_movement(relation: int) -> None:
    assert after(ONE, reversal("r", "t", 6 * HOUR, relation=relation)) == {("t", 1), ("r", 1)}


def test_the_same_record_again_is_a_duplicate_and_another_content_a_conflict() -> None:
    feed = Feed()
    arrivals = feed.take(ONE, ONE, ONE | {"purpose": "x"}, ONE | {"place": 99, "source": "again", "debit_value": 1})
    assert (arrivals.counts.scored, arrivals.counts.duplicates) == (1, 2)
    assert arrivals.counts.rejected == {"conflict": 1}
    assert arrivals.rejected.select("transaction_id", "purpose", "code").rows() == [("t", "x", "conflict")]
    again = feed.take(ONE, ONE | {"purpose": "x"})
    assert (again.counts.duplicates, again.counts.rejected) == (1, {"conflict": 1})


def test_one_id_at_two_first_accounts_are_two_records_of_one_family() -> None:
    other = ONE | {"originator_account": "c"}
    assert after(ONE, other) == {("t", 1)}
    feed = Feed()
    assert feed.take(ONE, other).counts.scored == 2
    assert after(ONE, other, void("t")) == set()


def test_a_party_table_doubles_nothing() -> None:
    from tests.canonical import parties

    feed = Feed()
    feed.take(ONE)
    feed.acceptor.use_parties(parties([{"account": "a", "customer": "C"}]))
    assert feed.take(ONE).counts.duplicates == 1


def test_tenants_do_not_meet() -> None:
    rows = [
        ONE,
        ONE | {"institution": "other"},
        void("t", institution="third"),
        reversal("r", "t", 6 * HOUR, institution="x"),
    ]
    feed = Feed()
    assert feed.take(*rows).counts.scored == 4
    assert feed.stands() == {("t", 1)} and len(feed.standing) == 2


def test_what_lies_beyond_the_lateness_is_too_late_and_kept_whole() -> None:
    feed = Feed()
    feed.take(*crowd(30 * HOUR))
    edge = [
        txn("on", 20 * HOUR),
        txn("late", 20 * HOUR - 1, purpose="whole"),
        txn("none", 30 * HOUR, institution="other"),
    ]
    arrivals = feed.take(*edge, txn("far", -400 * HOUR, institution="other"))
    assert arrivals.counts.rejected == {"too_late": 1}
    assert arrivals.counts.late == 1  # behind the watermark, in time to count
    assert arrivals.rejected.select("transaction_id", "purpose", "code").rows() == [("late", "whole", "too_late")]
    assert arrivals.accepted["transaction_id"].to_list() == ["on", "none", "far"]


def test_identity_is_judged_before_lateness() -> None:
    feed = Feed()
    feed.take(ONE, *crowd(300 * HOUR))
    arrivals = feed.take(ONE, ONE | {"purpose": "x"}, ONE | {"transaction_id": "new"})
    assert (arrivals.counts.duplicates, arrivals.counts.rejected) == (1, {"conflict": 1, "too_late": 1})


def test_each_act_of_a_revision_is_judged_alone() -> None:
    """It comes in time for itself and too late for what it replaces, or the other way round."""
    feed = Feed()
    feed.take(ONE, txn("u", 19 * HOUR), *crowd(25 * HOUR))
    arrivals = feed.take(txn("t", 24 * HOUR, 1, revision=2), txn("u", 5 * HOUR, 1, revision=2))
    assert arrivals.counts.rejected == {"too_late": 1}
    assert feed.stands() >= {("t", 1), ("t", 2)}
    assert not {("u", 1), ("u", 2)} & feed.stands()


def test_a_void_removes_only_what_is_not_too_late_to_change() -> None:
    feed = Feed()
    feed.take(txn("old", 14 * HOUR), txn("young", 15 * HOUR), *crowd(25 * HOUR))
    arrivals = feed.take(void("old"), void("young"))
    assert arrivals.counts.scored == 2
    assert ("old", 1) in feed.stands() and ("young", 1) not in feed.stands()


def test_counts_and_marks_say_what_became_of_each() -> None:
    feed = Feed()
    rows = [
        ONE,
        TWO,
        txn("v", HOUR),
        void("v"),
        txn("w", HOUR),
        reversal("r", "w", 2 * HOUR),
        reversal("idle", "x", HOUR),
    ]
    counts = feed.take(*rows).counts
    assert (counts.superseded, counts.voided, counts.reversed, counts.idle_reversals) == (1, 1, 1, 1)
    again = feed.take(txn("x", HOUR))
    assert (again.counts.reversed, again.counts.idle_reversals) == (1, -1)  # it reverses something now
    marks = dict(zip(again.marked_rows.tolist(), again.marks.tolist(), strict=True))
    assert marks[7] & REVERSED
    first = Feed().take(*rows)
    told = dict(zip(first.marked_rows.tolist(), first.marks.tolist(), strict=True))
    assert (told[0] & SUPERSEDED, told[2] & VOIDED, told[4] & REVERSED) == (SUPERSEDED, VOIDED, REVERSED)


def test_reading_reconciles_whatever_comes() -> None:
    rows = [
        ONE,
        ONE,
        TWO,
        ONE | {"purpose": "x"},
        void("t"),
        txn("p", HOUR, status=1),
        txn("own", HOUR, beneficiary_account="a"),
    ]
    counts = Feed().take(*rows, *crowd(90 * HOUR), txn("late", HOUR)).counts
    assert counts.read == counts.scored + counts.duplicates + sum(counts.rejected.values()) == len(rows) + 101
    assert (counts.not_booked, counts.own_account) == (1, 1)


def test_identities_leave_memory_and_are_known_at_any_age(tmp_path: Any) -> None:
    feed = Feed(tmp_path)
    feed.take(ONE, TWO, void("gone"), *crowd(10 * HOUR))
    held = feed.acceptor.registry.n
    feed.take(*crowd(10 * HOUR + HORIZON * LATENESS + HOUR))
    feed.acceptor.checkpoint()
    assert feed.acceptor.registry.n < held
    assert len(feed.acceptor.older.names) == 1
    arrivals = feed.take(ONE, TWO, ONE | {"purpose": "x"}, void("gone"), txn("t9", 5 * HOUR))
    assert (arrivals.counts.duplicates, arrivals.counts.rejected) == (3, {"conflict": 1, "too_late": 1})


def test_old_identities_are_found_after_a_restart_by_the_names_of_their_files(tmp_path: Any) -> None:
    feed = Feed(tmp_path)
    for step in range(4):
        feed.take(txn(f"t{step}", step * 40 * HOUR), *crowd(step * 40 * HOUR))
        feed.acceptor.checkpoint()
    assert len(feed.acceptor.older.names) == 3
    state, names = feed.acceptor.state(), feed.acceptor.older.names
    again = Acceptor(UtcDays(), lateness=LATENESS, folder=tmp_path)
    again.restore(state, names)
    rows = [txn(f"t{step}", step * 40 * HOUR) for step in range(4)]
    assert again.accept(frame(rows)).counts.duplicates == 4
    unknown = Acceptor(UtcDays(), lateness=LATENESS, folder=tmp_path)
    unknown.restore(state, names[:1])
    assert unknown.accept(frame(rows)).counts.duplicates < 4


def test_many_files_are_made_one_and_lose_nothing(tmp_path: Any) -> None:
    older, rng = Older(tmp_path), np.random.default_rng(3)
    keys = rng.integers(0, 2**63, (2, 400), np.uint64)
    keys[0, ::7] = keys[0, 0]  # half a key shared by many
    content = rng.integers(0, 2**63, (2, 400), np.uint64)
    for start in range(0, 400, 20):
        part = slice(start, start + 20)
        older.add((keys[0, part], keys[1, part]), (content[0, part], content[1, part]))
    assert len(older.names) <= MERGE_AT
    again = Older(tmp_path, older.names)
    other = content[0] ^ np.uint64(1)
    assert again.look((keys[0], keys[1]), (content[0], content[1])).tolist() == [Outcome.DUPLICATE] * 400
    assert again.look((keys[0], keys[1]), (other, content[1])).tolist() == [Outcome.CONFLICT] * 400
    assert again.look((keys[0], keys[1] ^ np.uint64(1)), (content[0], content[1])).tolist() == [Outcome.NEW] * 400
    assert again.look((keys[0][:0], keys[1][:0]), (content[0][:0], content[1][:0])).size == 0


def test_revision_and_void_are_part_of_an_identity() -> None:
    key = (np.full(4, 7, np.uint64), np.full(4, 9, np.uint64))
    hi, lo = identity(key, np.array([1, 1, 2, 2], np.int32), np.array([False, True, False, True]))
    assert len(set(zip(hi.tolist(), lo.tolist(), strict=True))) == 4
