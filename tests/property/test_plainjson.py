"""What the quick reader takes it reads as the patient one would, and what is odd it leaves to him."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.domain.transaction import CANONICAL, ENDS
from aml.feed.fields import END_FIELDS, FIELDS
from aml.feed.lines import Block
from aml.feed.ndjson import NdjsonReader, read_lines
from aml.feed.plainjson import read_plain
from aml.feed.rates import default_rates
from aml.feed.raw import Raw
from aml.feed.validate import Terms, validate
from tests.factories import NOW, txn
from tests.unit.test_feed_poison import POISON

TERMS = Terms("feed", "main", NOW, "USD", default_rates("sample", "USD"))
SIGNS = st.sampled_from([*list('abc 019.,:;{}[]"\\/\n\t\x00é\ue000'), "null", '":', '": "', '":null', "true", "\u2028"])
TEXTS = st.lists(SIGNS, max_size=5).map("".join)
NUMBERS = st.sampled_from([0, 1, -1, -0.0, 1.0, 12.5, 1e30, 1e-7, 100.10, 2**70, True, False, None])
NAMES = st.sampled_from([*FIELDS, "unknown", "amount", "originator", "", "batch_lump", "revision", "void"])
Line = bytes


def values(depth: int = 1) -> st.SearchStrategy[Any]:
    plain = st.one_of(TEXTS, NUMBERS)
    if not depth:
        return plain
    return st.one_of(
        plain,
        st.dictionaries(st.sampled_from([*END_FIELDS, "odd"]), values(0), max_size=3),
        st.lists(TEXTS, max_size=2),
    )


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A good record with some fields changed, added, nested or taken away."""
    record: dict[str, Any] = txn(transaction_id=draw(st.sampled_from(["T1", "T2", "T3"])))
    for name in draw(st.lists(NAMES, max_size=3)):
        record[name] = draw(values())
    if draw(st.booleans()):
        record["amount"] = draw(st.sampled_from([12.5, 100, "7.10", 1e2]))
    if draw(st.integers(0, 3)) == 0:
        for end in ENDS:
            inner = {part: record.pop(f"{end}_{part}") for part in END_FIELDS if f"{end}_{part}" in record}
            if inner:
                record[end] = {**inner, **record.get(end, {})} if isinstance(record.get(end, {}), dict) else inner
    return record


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A record as somebody writes it, or a line of the poison corpus, or a line cut, doubled or spoilt."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from([bad for _, bad, _ in POISON if len(bad) < 1_000]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",\t", ":")]))
    record = draw(records())
    text = json.dumps(record, separators=separators, ensure_ascii=draw(st.booleans()))
    match draw(st.integers(0, 9)):
        case 0:  # the same key twice
            text = text[:-1] + f',"purpose":{json.dumps(draw(TEXTS))},"purpose":{json.dumps(draw(values()))}}}'
        case 1:
            place = draw(st.integers(0, len(text)))
            text = text[:place] + draw(SIGNS) + text[place:]
        case 2:
            text = text[: draw(st.integers(0, len(text)))]
        case 3:
            text = draw(st.sampled_from([" ", "\t", ""])) + text + draw(st.sampled_from(["\r", "  ", ",", ""]))
    line = text.encode(errors="surrogatepass").replace(b"\n", b" ")
    return line if draw(st.integers(0, 19)) else line.replace(b"T1", b"\xff")


def told(raw: Raw) -> tuple[Any, ...]:
    """All that a reader says of some lines, in a form that can be compared."""
    chunk = validate(raw, TERMS, None)
    frame = chunk.transactions.select(list(CANONICAL))
    rejects = sorted((r.place, r.code, r.detail, r.original) for r in chunk.rejects)
    return frame.rows(), rejects, chunk.warnings, chunk.read


def patient(block: Block) -> Raw:
    return read_lines(block.lines, np.arange(len(block.lines)) + block.first, "feed")


@given(st.lists(st.lists(lines(), min_size=1, max_size=12), min_size=1, max_size=3))
def test_the_quick_reader_says_what_the_patient_one_says(blocks: list[list[Line]]) -> None:
    reader, first = NdjsonReader("feed"), 1
    for held in blocks:
        block = Block(first, held, 0)
        assert told(reader.read(block)) == told(patient(block))
        first += len(held)


def test_the_whole_poison_corpus_among_good_lines() -> None:
    good = json.dumps(txn()).encode()
    held = [line for _, bad, _ in POISON for line in (good, bad, good)]
    assert told(NdjsonReader("feed").read(Block(1, held, 0))) == told(patient(Block(1, held, 0)))


def test_plain_lines_are_taken_by_the_quick_reader() -> None:
    """Otherwise the tests above compare the patient reader with itself."""
    nested = {**txn(originator_account=None), "originator": {"account": "A1", "customer": None}}
    plain = [txn(), txn(amount=12.5), txn(void=True, revision=2), {**txn(), "purpose": None}, nested]
    odd = [txn(purpose='"'), txn(purpose=5), {**txn(), "unknown": "x"}, {**nested, "originator_account": "A1"}]
    for separators in ((",", ":"), (", ", ": ")):
        held = [json.dumps(record, separators=separators).encode() for record in [*plain, *odd]]
        found = read_plain(Block(1, held, 0))
        frame = found.frame
        assert found.lines.tolist() == [True] * len(plain) + [False] * len(odd)
        assert frame.height == len(plain)
        assert frame["amount"].to_list()[:2] == ["100.00", "12.5"]
        assert frame.schema == dict.fromkeys(frame.columns, pl.String)


def test_numbers_keep_every_digit() -> None:
    line = json.dumps(txn(amount="@")).replace('"@"', "123456789012345.67").encode()
    assert validate(NdjsonReader("feed").read(Block(1, [line], 0)), TERMS, None).rejects[0].detail.startswith("amount")
    line = json.dumps(txn(amount="@")).replace('"@"', "12345678901.23").encode()
    chunk = validate(NdjsonReader("feed").read(Block(1, [line], 0)), TERMS, None)
    assert chunk.transactions["amount"].to_list() == [1_234_567_890_123]


def test_fields_that_come_later_are_read_too() -> None:
    reader = NdjsonReader("feed")
    for number, more in enumerate(({}, {"branch": "B1"}, {"branch": "B2"}, {"branch": "B3"})):
        block = Block(number + 1, [json.dumps(txn(**more)).encode()], 0)
        chunk = validate(reader.read(block), TERMS, None)
        assert chunk.transactions["branch"].to_list() == [more.get("branch")]


def test_what_a_table_of_texts_could_take_for_its_own_marks_is_content() -> None:
    """A byte order mark before the first value, rows without any, quotes' neighbours and ends of objects."""
    held = [
        '{"transaction_id":"\ufeffT1"}', '{"transaction_id":null}', '{"originator":{},"beneficiary":null}',
        '{"purpose":"#"}', '{"purpose":null}',
    ]  # fmt: skip
    for lines in (held, held[::-1], held[1:3], held[4:]):
        block = Block(1, [line.encode() for line in lines], 0)
        found = read_plain(block)
        assert found.lines.all()
        assert found.frame.height == len(lines)
        assert told(NdjsonReader("feed").read(block)) == told(patient(block))
        names = found.frame.columns
        wanted = [tuple(json.loads(line).get(name) for name in names) for line in lines]
        assert (found.frame.rows() if names else [()] * len(lines)) == wanted


def test_only_columns_with_blanks_are_looked_through() -> None:
    held = [txn(purpose="a b", device=" x", ip="x\u00a0", branch="\u00a0x"), txn(merchant="x ", teller="Zo\u00eb")]
    block = Block(1, [json.dumps(record, ensure_ascii=False).encode() for record in held], 0)
    assert read_plain(block).padded == {"device", "ip", "branch", "merchant", "teller"}
