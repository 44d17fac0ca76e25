"""Names that a bank sends may be of any length: none of them stops a shard at its database."""

from __future__ import annotations

import json
import random
import time

import pytest

from aml.feed.validate import LONGEST
from aml.pipeline.inforce import load_judgement
from aml.store.completeness import load_counts
from aml.stream.decode import Message
from tests.stream_host import TOPIC, Hosted


def name(length: int) -> str:
    """One that no database can make shorter, as its index would."""
    return random.Random(length).randbytes(length).hex()[:length]


def payment(**more) -> bytes:
    told = {
        "transaction_id": "T", "executed_at": "2026-03-02T10:00:00Z", "amount": "12.50", "currency": "USD",
        "originator_account": "A", "beneficiary_account": "B", **more,
    }  # fmt: skip
    return json.dumps(told).encode()


@pytest.mark.parametrize("field", ["transaction_id", "institution", "source"])
def test_a_name_that_is_too_long_is_a_reject_and_the_longest_is_not(database, tmp_path, field):
    hosted = Hosted(load_judgement("us", None), database, tmp_path / "s", 2, None, time.time_ns() // 1000)
    hosted.take([payment(**{field: name(8_000)}), payment(**{field: name(LONGEST)}), payment(transaction_id="U")], 2)
    hosted.take([payment(**{field: name(LONGEST + 1)}), payment(amount="x", institution=name(8_000))], 2)
    hosted.rest()
    with database.read() as connection:
        counts = {(c.institution, c.source): c.tally for c in load_counts(connection)}
    assert sum(tally.scored for tally in counts.values()) == 2
    assert sum(sum(tally.rejected.values()) for tally in counts.values()) == 3
    assert max(len(text) for key in counts for text in key) <= LONGEST
    assert all(tally.consumed == tally.accounted for tally in counts.values())


@pytest.mark.parametrize("form", ["binary", "structured"])
def test_an_event_whose_source_is_too_long_to_be_one_counts_for_its_topic(database, tmp_path, form):
    hosted = Hosted(load_judgement("us", None), database, tmp_path / "s", 1, None, time.time_ns() // 1000)
    headers = [("ce_source", name(8_000).encode())] if form == "binary" else []
    values = [payment(), b"{"]
    if form == "structured":
        event = {"specversion": "1.0", "id": "1", "type": "t", "source": name(8_000)}
        values = [
            json.dumps({**event, "data": json.loads(payment())}).encode(),
            json.dumps({**event, "data": 1}).encode(),
        ]
    hosted.core.take([Message(TOPIC, 0, n, hosted.now, None, value, headers) for n, value in enumerate(values)])
    hosted.take([], 1)
    hosted.rest()
    with database.read() as connection:
        counts = load_counts(connection)
    assert {c.source for c in counts} == {TOPIC}
    assert [(c.tally.scored, c.tally.consumed, c.tally.accounted) for c in counts] == [(1, 2, 2)]
