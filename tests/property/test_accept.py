"""Acceptance is its slow twin, and what stands does not depend on the order of arrival."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aml.pipeline.accept import HORIZON, Acceptor, Counts
from tests import naive
from tests.canonical import UtcDays, frame, txn
from tests.naive_accept import NaiveAcceptance, first_account

HOUR = 3_600_000_000
LATENESS = 10 * HOUR
Row = dict[str, Any]


def crowd(at: int) -> list[Row]:
    """A hundred records that take the watermark to `at`."""
    return [txn(f"crowd-{at}-{i}", at, originator_account=f"x{i}", beneficiary_account="y") for i in range(100)]


@st.composite
def records(draw: st.DrawFn, latest: int) -> Row:
    """A small world: few ids, times, amounts and accounts, so that acts meet."""
    at = draw(st.integers(0, latest)) * HOUR
    kind = draw(st.sampled_from(["plain", "plain", "revision", "void", "reversal", "pending"]))
    fields: Row = {
        "transaction_id": f"t{draw(st.integers(0, 2))}",
        "at": at,
        "amount": draw(st.sampled_from([100, 200])),
        "originator_account": draw(st.sampled_from(["a", "a", "c"])),
        "beneficiary_account": draw(st.sampled_from(["b", "b", "a"])),
    }
    if kind == "revision":
        fields |= {"revision": draw(st.integers(1, 3)), "status": draw(st.sampled_from([0, 0, 4]))}
    if kind == "void":
        absent: Row = {"originator_account": None, "beneficiary_account": None, "amount": None, "currency": None}
        fields |= {"void": True, "revision": draw(st.integers(1, 3)), **absent}
        fields["at"] = draw(st.sampled_from([None, at]))
    if kind == "reversal":
        fields |= {"relation": 0, "relates_to": f"t{draw(st.integers(0, 2))}"}
        fields["transaction_id"] = draw(st.sampled_from(["r0", "r1", fields["transaction_id"]]))
        fields["revision"] = draw(st.integers(1, 2))
    if kind == "pending":
        fields["status"] = 2
    return txn(**fields)


class Watched:
    """An acceptor whose standing set is kept from what it says enters and leaves."""

    def __init__(self, folder: Path | None = None) -> None:
        self.acceptor = Acceptor(UtcDays(), lateness=LATENESS, folder=folder)
        self.who: dict[int, tuple[Any, ...]] = {}
        self.standing: set[int] = set()
        self.outcomes: list[str] = []
        self.counts = Counts()

    def take(self, rows: list[Row]) -> None:
        arrivals = self.acceptor.accept(frame(rows))
        names = arrivals.accepted.rows(named=True)
        for row, index in zip(names, arrivals.transaction.tolist(), strict=True):
            if index >= 0:
                self.who[index] = (first_account(row), row["transaction_id"], row["revision"], row["void"])
        enter, leave = set(arrivals.enter.tolist()), set(arrivals.leave.tolist())
        assert not enter & leave
        assert not enter & self.standing
        assert leave <= self.standing
        self.standing = (self.standing | enter) - leave
        self.counts.add(arrivals.counts)
        c = arrivals.counts
        assert c.read == len(rows) == c.scored + c.duplicates + sum(c.rejected.values())

    def identities(self) -> set[tuple[Any, ...]]:
        return {self.who[i] for i in self.standing}

    def small_counts(self) -> dict[str, int]:
        names = ("scored", "voided", "superseded", "reversed", "idle_reversals")
        return {n: getattr(self.counts, n) for n in names}


@st.composite
def feeds(draw: st.DrawFn) -> list[list[Row]]:
    """Batches of records, now and then a crowd that moves the watermark."""
    batches: list[list[Row]] = []
    for _ in range(draw(st.integers(1, 5))):
        batch = draw(st.lists(records(60), max_size=6))
        if draw(st.booleans()):
            batch = batch + crowd(draw(st.integers(0, 60)) * HOUR) + draw(st.lists(records(60), max_size=4))
        batches.append(batch)
    return batches


@settings(max_examples=60)
@given(feeds(), st.booleans(), st.booleans())
def test_acceptance_is_its_slow_twin(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Row]], restart: bool, checkpoint: bool
) -> None:
    folder = tmp_path_factory.mktemp("older")
    watched, naive = Watched(folder), NaiveAcceptance(LATENESS)
    for batch in batches:
        if checkpoint:
            watched.acceptor.checkpoint()
            naive.checkpoint(HORIZON * LATENESS)
        if restart:
            held = watched.acceptor
            watched.acceptor = Acceptor(UtcDays(), lateness=LATENESS, folder=folder)
            watched.acceptor.restore(held.state(), held.older.names if held.older else [])
        watched.take(batch)
        for row in batch:
            naive.arrive(row)
        assert watched.identities() == naive.standing()
        assert watched.small_counts() == naive.counts()
        outcomes = Counter(naive.outcomes)
        assert watched.counts.duplicates == outcomes["duplicate"]
        assert watched.counts.rejected == Counter({k: outcomes[k] for k in ("conflict", "too_late") if outcomes[k]})


@settings(max_examples=60)
@given(st.data())
def test_what_stands_does_not_depend_on_arrival(data: st.DataObject) -> None:
    rows = data.draw(st.lists(records(10), max_size=9, unique_by=_identity))
    crowds = crowd(0)
    plain = Watched()
    plain.take(crowds + rows)
    again = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=9)) if rows else []))
    shuffled = Watched()
    shuffled.take(crowds)
    cut = data.draw(st.integers(0, len(again)))
    shuffled.take(again[:cut])
    shuffled.take(again[cut:])
    assert shuffled.identities() == plain.identities()
    assert shuffled.small_counts() == plain.small_counts()


@given(feeds())
def test_batches_of_one_say_the_same(batches: list[list[Row]]) -> None:
    rows = [row for batch in batches for row in batch]
    whole, single = Watched(), Watched()
    whole.take(rows)
    for row in rows[:3]:
        single.take([row])
    single.take(rows[3:])
    assert single.identities() == whole.identities()
    assert single.counts == whole.counts
    assert np.array_equal(single.acceptor.progress.marks, whole.acceptor.progress.marks)


def _identity(row: Row) -> tuple[Any, ...]:
    return first_account(row), row["transaction_id"], row["revision"], row["void"]


@settings(max_examples=20)
@given(feeds())
def test_the_twin_of_rules_judges_identity_as_acceptance_does(batches: list[list[Row]]) -> None:
    """The rules' naive engine reads a feed by a reading of its own; both must take the same records for standing."""
    rows = [row for batch in batches for row in batch]
    watched = Watched()
    watched.take(rows)
    stand, counts, rejects = naive.identity.standing(rows, LATENESS, judge_late=True)
    assert {(r["transaction_id"], r["revision"], r["originator_account"]) for r in stand if not _own(r)} == {
        (who[1], who[2], who[0][1]) for who in watched.identities()
    }
    assert counts["duplicates"] == watched.counts.duplicates
    assert Counter(code for _, code in rejects) == watched.counts.rejected


def _own(row: Row) -> bool:
    return row["originator_account"] == row["beneficiary_account"]
