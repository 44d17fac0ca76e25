"""What is published is read back as the very records that the feed held."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from aml.domain.transaction import CANONICAL, WORDS, words
from aml.feed.lines import Block
from aml.feed.ndjson import NdjsonReader
from aml.feed.rates import NO_RATES
from aml.feed.raw import Chunk
from aml.feed.validate import Terms, validate
from aml.stream.decode import Decoder, Message
from aml.stream.publishing import Manifests, messages

NOW = 1_800_000_000_000_000
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)
MONEY = [("12.30", "USD"), ("0.01", "EUR"), ("9500", "JPY"), ("1.250", "KWD"), ("900719925474.11", "USD")]
OTHER = {"extra", "intermediaries", "credit_currency", "originator_country", "beneficiary_country"}
TEXTS = sorted(name for name, kind in CANONICAL.items() if kind == pl.String() and name not in OTHER)
money = st.sampled_from(MONEY)
words_of = {name: st.sampled_from(words(kind)) for name, kind in WORDS.items() if "." not in name}


@st.composite
def records(draw):
    amount, currency = draw(money)
    record = {
        "transaction_id": draw(text), "amount": amount, "currency": currency,
        "executed_at": draw(st.sampled_from(["2026-03-02T09:30:00Z", "2026-03-02T09:30:00.123456+02:00"])),
        "originator_account": draw(text),
    }  # fmt: skip
    for name in draw(st.sets(st.sampled_from(TEXTS), max_size=6)):
        record.setdefault(name, draw(text))
    for name in draw(st.sets(st.sampled_from(sorted(words_of)), max_size=4)):
        record[name] = draw(words_of[name])
    if draw(st.booleans()):
        record["credit_amount"], record["credit_currency"] = draw(money)
    if draw(st.booleans()):
        record["originator_balance_after"] = draw(st.sampled_from(["-3.00", "0", "12"]))
        record["booking_date"] = "2026-03-03"
        record["revision"] = draw(st.integers(1, 9))
        record["source_sequence"] = draw(st.integers(0, 1 << 40))
    if draw(st.booleans()):
        record["intermediaries"] = [{"institution": draw(text)}]
        record["own field"] = draw(st.one_of(text, st.integers(), st.none(), st.lists(text, max_size=2)))
    return record


def read(lines: list[bytes]) -> Chunk:
    raw = NdjsonReader("core.ndjson").read(Block(1, lines, 0))
    return validate(raw, Terms("core.ndjson", "main", NOW, "USD", NO_RATES), None)


@given(st.lists(records(), min_size=1, max_size=6), st.sampled_from([1, 2, 500]))
def test_every_record_comes_back_as_it_was(rows, batch):
    chunk = read([json.dumps(row).encode() for row in rows] + [b"no json at all"])
    assert chunk.transactions.height + len(chunk.rejects) == len(rows) + 1
    sent = list(messages(chunk, batch, "account"))
    assert sum(message.records for message in sent) == len(rows) + 1
    decoder = Decoder(Terms("topic", "main", 0, "USD", NO_RATES))
    came = [Message("topic", 0, n, NOW, m.key, m.value) for n, m in enumerate(sent)]
    decoded = decoder.decode(came)
    names = [name for name in CANONICAL if name != "place"]

    def whole(frame):
        missing = [pl.lit(None, CANONICAL[n]).alias(n) for n in names if n not in frame.columns]
        return frame.with_columns(missing).select(pl.col(n).cast(CANONICAL[n]) for n in names)

    assert_frame_equal(whole(decoded.rows), whole(chunk.transactions))
    assert len(decoded.rejects) == len(chunk.rejects)
    assert [r.original for r in decoded.rejects] == [r.original for r in chunk.rejects]


@given(st.lists(records(), min_size=1, max_size=8), st.integers(1, 4), st.booleans())
def test_a_manifest_adds_up_whatever_the_chunks(rows, size, hourly):
    lines = [json.dumps(row).encode() for row in rows]
    sums = Manifests("feed", hourly)
    sent = pl.concat([read(lines).transactions])
    for part in sent.iter_slices(size):
        sums.take(part)
    told = sums.told("2026-03-02T00:00:00Z")
    assert sum(one.records for one in told) == sent.height
    totals: Counter[str] = Counter()
    for one in told:
        totals.update(one.sums)
    expected = sent.group_by("currency").agg(pl.col("amount").sum())
    assert totals == Counter(dict(expected.iter_rows()))
