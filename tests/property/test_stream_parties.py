"""A record is resolved by the party rows that came before it, whatever else is flushed with it and whenever they are
read."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.detect.profile import load_profile
from aml.engine.columns import Flag
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.carried import carry
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import resolve
from aml.stream.decode import Decoder, Message
from aml.stream.partyfeed import PartyFeed
from tests.canonical import parties as table_of
from tests.factories import NOW, txn

TOPIC, PARTIES = "aml.transactions.v1", "aml.parties.v1"
PROFILE = load_profile("us")
accounts, customers = st.sampled_from(["A", "B", "C"]), st.sampled_from([None, "P", "Q", "R"])
party = st.builds(
    lambda account, customer, role, since, kind: {
        name: value
        for name, value in zip(
            ("account", "customer", "role", "valid_from", "kind"), (account, customer, role, since, kind), strict=True
        )
        if value is not None
    },
    accounts, customers, st.sampled_from([None, "joint", "signatory"]),
    st.sampled_from([None, "2026-03-01", "2026-03-04"]), st.sampled_from([None, "person", "business"]),
)  # fmt: skip
payment = st.builds(
    lambda a, b, c, d, day: txn(originator_account=a, beneficiary_account=b, originator_customer=c, conductor=d,
                                executed_at=f"2026-03-0{day}T00:00:00Z"),
    accounts, accounts, customers, customers, st.integers(1, 6),
)  # fmt: skip
times = st.integers(0, 6).map(lambda n: NOW + n)


class Log:
    """A topic of party rows, read in pieces."""

    def __init__(self, messages, pieces) -> None:
        self.messages, self.left = messages, pieces

    def read(self) -> list[Message]:
        n = self.left.pop(0) if self.left else len(self.messages)
        some, self.messages = self.messages[:n], self.messages[n:]
        return some


@st.composite
def party_logs(draw) -> list[Message]:
    rows = draw(st.lists(st.tuples(times, st.one_of(party, st.none()), st.integers(0, 4)), max_size=8))
    rows.sort(key=lambda row: row[0])
    return [Message(PARTIES, 0, n, at, b"%d" % key, None if row is None else json.dumps(row).encode())
            for n, (at, row, key) in enumerate(rows)]  # fmt: skip


def naive(log: list[Message], at: int) -> Parties | None:
    """The table as the log told it up to a time: the last message of every key."""
    seen = [m for m in log if m.at <= at]
    if not seen:
        return None
    last = {m.key: m for m in seen}
    rows = [json.loads(m.value) for m in sorted(last.values()) if m.value]
    for row in rows:
        if "valid_from" in row:
            row["valid_from"] = dt.date.fromisoformat(row["valid_from"])
    return Parties(table_of(rows), PartyRows())


def told(frame: pl.DataFrame) -> list[dict[str, object]]:
    """What was fixed about each record; of a holder of whom nothing is known, nothing."""
    unknown = {name: values[0] for name, values in PartyRows().facts(pl.Series([-1]).to_numpy()).items()}
    made = []
    for row in frame.iter_rows(named=True):
        facts = {name: value for name, value in row.items() if name.startswith("_") and value is not None}
        for side in ("debit", "credit"):
            facts = {n: v for n, v in facts.items() if v != unknown.get(n.removeprefix(f"_{side}_"), facts)}
        if not facts["_flags"] & Flag.CONDUCTED:
            facts = {n: v for n, v in facts.items() if not n.startswith("_conductor")}
        made.append(facts)
    return made


paid = st.lists(st.tuples(times, payment), min_size=1, max_size=8)


@given(party_logs(), paid, st.lists(st.integers(0, 3), max_size=3))
def test_a_record_is_resolved_by_what_was_known_when_it_came(log, payments, pieces):
    payments.sort(key=lambda one: one[0])
    messages = [Message(TOPIC, 0, n, at, None, json.dumps(row).encode()) for n, (at, row) in enumerate(payments)]
    frame = Decoder(Terms(TOPIC, "main", 0, "USD", NO_RATES)).decode(messages).rows
    feed = PartyFeed(Log(log, [*pieces]), "main", "USD")
    for _ in range(len(pieces) + 1):
        feed.refresh()
    together = feed.resolve(frame, lambda some, table: resolve(some, PROFILE, table, 3))
    alone = [resolve(frame[n : n + 1], PROFILE, naive(log, m.at), 3) for n, m in enumerate(messages)]
    assert told(together) == [row for one in alone for row in told(one)]
    carry(together).facts("debit")
    assert feed.refused == 0
