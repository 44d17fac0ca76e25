"""What is published comes back: any feed's records, as lines of JSON, are the same records at the intake."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import jsonschema
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.content import folder
from aml.domain.transaction import CANONICAL, ENDS, WORDS, words
from aml.feed.fields import END_FIELDS, FIELDS, Kind
from aml.feed.rates import NO_RATES, UNVALUED
from aml.feed.validate import Terms
from aml.stream.decode import Decoder, Message
from aml.stream.told import transaction_lines
from tests.factories import NOW, csv, ndjson, rejects, transactions, txn

TOPIC = "aml.transactions.v1"
TERMS = Terms(TOPIC, "main", 0, "USD", NO_RATES)
NASTY = [
    "A1", "é\u2028 x", 'say "no"', "back\\slash", "tab\tand\nline", "{[,]}", "\x7f", "null", "0", "🏦", '"specversion"',
]  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
times = st.sampled_from(
    ["2026-03-02T09:30:00Z", "2026-03-02T09:30:00.5+02:00", "2026-03-02T09:30Z", "1990-01-01T00:00:00.000001Z", "soon"]
)
money = st.sampled_from(["0.01", "12.5", "1000000.00", "99", "-7.25", "1e3", "much"])
currencies = st.sampled_from(["USD", "usd", "JPY", "EUR", "KWD"])
odd = st.sampled_from([7, True, "maybe", "2026-02-30"])


def values(name):
    """Mostly good values of a field, sometimes such as are left out with a warning, or reject the record."""
    kind = FIELDS[name]
    if name.endswith("currency"):
        return currencies
    if name.endswith("country"):
        return st.sampled_from(["US", "de", "Utopia"])
    if kind is Kind.WORD:
        return st.sampled_from([*words(WORDS[name]), words(WORDS[name])[0].upper(), "telex"])
    return {
        Kind.TEXT: texts, Kind.MONEY: money, Kind.TIME: times, Kind.DATE: st.sampled_from(["2026-03-02", "0007-01-01"]),
        Kind.FLAG: st.booleans(), Kind.INTEGER: st.integers(1, 2**31 - 1),
        Kind.LIST: st.lists(st.fixed_dictionaries({"institution": texts, "country": st.just("US")}), max_size=4),
    }[kind]  # fmt: skip


@st.composite
def records(draw):
    """A record with some optional fields, some of them odd, and fields that nobody knows."""
    record = txn(transaction_id=draw(texts))
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=8)):
        record[name] = draw(odd if draw(st.integers(0, 9)) == 0 else values(name))
    beside = st.one_of(texts, st.integers(), st.decimals("-9", "9", places=3).map(float), st.lists(texts, max_size=2))
    unknown = st.sampled_from(["memo", "specversion", "Origin ator", '"', "originators", "line_text"])
    record |= draw(st.dictionaries(unknown, beside, max_size=2))
    if draw(st.booleans()):
        end = draw(st.sampled_from(ENDS))
        inner = {part: record.pop(f"{end}_{part}") for part in END_FIELDS if f"{end}_{part}" in record}
        record[end] = inner | draw(st.dictionaries(st.sampled_from(["bic", "phone"]), texts, max_size=1))
    return record


def published(path: Path, batch: int) -> list[Message]:
    lines = transaction_lines(transactions(path, rates=UNVALUED, ingest_time_us=NOW)).to_list()
    values = ["\n".join(lines[n : n + batch]).encode() for n in range(0, len(lines), batch)]
    return [Message(TOPIC, 0, n, NOW, None, value) for n, value in enumerate(values)]


def check(path: Path, batch: int = 3) -> None:
    """Rows equal in every column but what is a line's; what the feed's own terms refuse, the intake refuses alike."""
    wanted, found = transactions(path), Decoder(TERMS).decode(published(path, batch))
    own = [name for name in CANONICAL if name != "place"]
    renamed = pl.col("extra").str.replace_all('"(specversion|source)":', '"${1}_text":')
    assert found.rows.select(own).rows() == wanted.with_columns(renamed).select(own).rows()
    late = {"no_rate", "amount_too_large"}
    assert [r.code for r in found.rejects] == [str(r.code) for r in rejects(path) if str(r.code) in late]


@given(st.lists(records(), min_size=1, max_size=8), st.integers(1, 5))
def test_lines_of_json_come_back_as_they_were(some, batch):
    with tempfile.TemporaryDirectory() as made:
        check(ndjson(Path(made) / "feed.ndjson", some), batch)


@given(st.lists(records(), min_size=1, max_size=8))
def test_tables_come_back_as_they_were(some):
    flat = [{name: value for name, value in one.items() if not isinstance(value, dict | list)} for one in some]
    with tempfile.TemporaryDirectory() as made:
        check(csv(Path(made) / "feed.csv", flat))


@cache
def schema():
    text = (folder("streams") / "schemas" / "transaction.v1.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


@given(st.lists(records(), min_size=1, max_size=8))
def test_every_line_keeps_the_contract_if_its_feed_did(some):
    kept = [one for one in some if schema().is_valid(one)]
    with tempfile.TemporaryDirectory() as made:
        read = transactions(ndjson(Path(made) / "feed.ndjson", kept), rates=UNVALUED)
    for line in transaction_lines(read):
        schema().validate(json.loads(line))


def test_a_table_with_a_column_named_as_an_end_is_read_all_the_same(tmp_path):
    path = csv(tmp_path / "feed.csv", [txn(originator="John", memo="x")])
    (message,) = published(path, 1)
    found = Decoder(TERMS).decode([message])
    assert not found.rejects
    assert found.rows["extra"].to_list() == ['{"memo":"x","originator_text":"John"}']


def test_what_a_record_does_not_say_is_left_out(tmp_path):
    (message,) = published(ndjson(tmp_path / "feed.ndjson", [txn()]), 1)
    assert json.loads(message.value or b"") == txn() | {"institution": "main", "source": "feed.ndjson"}
