"""The feeds of a run: looked at first, read in order or as they come, every record and its own bytes accounted for."""

from __future__ import annotations

import io
import json
import random
from functools import partial
from types import SimpleNamespace

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.feed.originals import originals
from aml.feed.read import read_feed
from aml.pipeline import feeds as feeds_module
from aml.pipeline.feeds import Feeds, FeedTerms
from aml.pipeline.letters import Letters
from aml.pipeline.ordering import OutOfOrder, in_order
from tests.factories import NOW, csv, ndjson, txn, written


def feeds(*paths, **given):
    terms = {"institution": None, "reporting_currency": "USD", "ingest_time_us": NOW} | given
    return Feeds(FeedTerms(tuple(map(str, paths)), **terms))


def at(minute, **fields):
    hours, minutes = divmod(minute, 60)
    days, hours = divmod(hours, 24)
    when = f"2026-03-{1 + days:02d}T{hours:02d}:{minutes:02d}:00Z"
    return txn(transaction_id=f"T{minute}", executed_at=when, **fields)


def ids(parts):
    return [name for part in parts if part.frame.height for name in part.frame["transaction_id"]]


@pytest.fixture
def small(monkeypatch):
    """Batches and window of a few records."""
    monkeypatch.setattr(feeds_module, "BATCH", 10)
    monkeypatch.setattr(feeds_module, "in_order", partial(in_order, window=15))


def test_every_record_is_read_in_order_and_noted(tmp_path, small):
    lines = [at(n) for n in range(60)]
    lines[3], lines[9] = lines[9], lines[3]
    path = ndjson(tmp_path / "a.ndjson", [*lines[:30], b"nonsense", *lines[30:], at(70, amount="0")])
    parts = list(feeds(path).parts())
    assert ids(parts) == [f"T{n}" for n in range(60)]
    assert sum(part.noted.read for part in parts) == 62
    rejects = [(institution, str(r.code), r.place) for part in parts for institution, r in part.noted.rejects]
    assert sorted(rejects) == [("main", "amount_zero", 62), ("main", "not_json", 31)]
    assert all(part.frame.height <= 10 for part in parts)
    assert set(pl.concat([part.frame for part in parts if part.frame.height])["file"]) == {str(path)}
    shares = [part.share for part in parts]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_feed_in_disorder_begins_again_and_is_held(tmp_path, small):
    lines = [at(n) for n in range(100)]
    random.Random(1).shuffle(lines)
    read = feeds(ndjson(tmp_path / "a.ndjson", lines))
    with pytest.raises(OutOfOrder):
        list(read.parts())
    parts = list(read.parts(hold=True))
    assert ids(parts) == [f"T{n}" for n in range(100)]
    assert sum(part.noted.read for part in parts) == 100


def test_several_files_are_merged(tmp_path, small):
    odd = ndjson(tmp_path / "odd.ndjson", [at(n) for n in range(1, 80, 2)])
    even = csv(tmp_path / "even.csv", [at(n) for n in range(0, 80, 2)])
    assert ids(feeds(odd, even).parts()) == [f"T{n}" for n in range(80)]


def test_as_they_come_is_as_they_come(tmp_path, small):
    lines = [at(n) for n in random.Random(2).sample(range(50), 50)]
    path = ndjson(tmp_path / "a.ndjson", lines)
    assert ids(feeds(path, as_arrived=True).parts()) == [line["transaction_id"] for line in lines]


def test_standard_input_is_taken_as_it_comes_and_read_once(tmp_path, monkeypatch, small):
    lines = [at(n) for n in (5, 3, 9)]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))
    read = feeds("-")
    assert read.as_arrived
    parts = list(read.parts())
    assert ids(parts) == ["T5", "T3", "T9"]
    assert parts[0].share is None
    with pytest.raises(AmlError, match="name - once"):
        feeds("-", "-")


def test_whose_records_they_are(tmp_path):
    path = ndjson(tmp_path / "a.ndjson", [at(1), at(2, institution="theirs")])
    for given, own in ((None, "main"), ("BANK", "BANK")):
        read = feeds(path, institution=given)
        assert read.institution_of(str(path)) == own
        assert list(next(iter(read.parts())).frame["institution"]) == [own, "theirs"]


@pytest.mark.parametrize(("times", "known"), [([1, 2, 2, 3], True), ([1, 3, 2], False), ([], True)])
def test_a_parquet_file_in_order_is_known_beforehand(tmp_path, times, known):
    names = ("transaction_id", "amount", "currency", "originator_account")
    columns = {name: [txn()[name] for _ in times] for name in names}
    when = pl.Series("executed_at", times, pl.Int64).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String)).with_columns(when)
    frame.write_parquet(tmp_path / "a.parquet")
    assert feeds(tmp_path / "a.parquet").known_sorted is known


def test_of_text_nobody_knows_beforehand(tmp_path):
    assert not feeds(ndjson(tmp_path / "a.ndjson", [at(1)])).known_sorted
    assert feeds(written(tmp_path / "empty.csv", b"")).known_sorted


def test_what_is_wrong_with_a_file_is_said_before_any_is_read(tmp_path):
    good = ndjson(tmp_path / "a.ndjson", [at(1)])
    with pytest.raises(AmlError, match=r"gone\.csv: cannot be read: No such file"):
        feeds(good, tmp_path / "gone.csv")
    with pytest.raises(AmlError, match="no column executed_at"):
        feeds(good, written(tmp_path / "b.csv", b"transaction_id,amount\nT1,1\n"))


QUOTED = """transaction_id,executed_at,amount,currency,originator_account,purpose
T1,2026-03-02T09:30:00Z,1,USD,A,"two
lines"
T2,2026-03-02T09:30:00Z,1,USD,A,x
"""


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.csv.gz", "a.parquet"])
def test_the_bytes_of_a_record_are_fetched_again_by_its_place(tmp_path, name):
    path = tmp_path / name
    if name.startswith("a.ndjson"):
        ndjson(path, [at(n) for n in range(9)])
    elif name.startswith("a.csv"):
        written(path, QUOTED.encode())
    else:
        pl.DataFrame([at(n) for n in range(9)]).write_parquet(path)
    terms = {"institution": "main", "ingest_time_us": NOW, "reporting_currency": "USD"}
    places = {row: place for chunk in read_feed(path, **terms)
              for row, place in chunk.transactions.select("transaction_id", "place").rows()}
    found = originals(str(path), places.values())
    assert found.keys() == set(places.values())
    if name.startswith("a.csv"):
        assert found[places["T1"]] == b'T1,2026-03-02T09:30:00Z,1,USD,A,"two\nlines"'
        assert found[places["T2"]] == b"T2,2026-03-02T09:30:00Z,1,USD,A,x"
    else:
        assert {name: json.loads(found[place])["transaction_id"] for name, place in places.items()} == {
            name: name for name in places
        }
    assert originals(str(path), []) == originals("-", [1]) == {}


def refused(path, record, code):
    terms = {"institution": "main", "ingest_time_us": NOW, "reporting_currency": "USD"}
    frame = pl.concat([chunk.transactions for chunk in read_feed(path, **terms)])
    return frame.filter(pl.col("transaction_id") == record).with_columns(
        pl.lit(str(path)).alias("file"), pl.lit(code).alias("code")
    )


def test_what_acceptance_turned_away_is_kept_with_its_own_bytes(tmp_path):
    path = ndjson(tmp_path / "a.ndjson", [at(1), at(2), at(3)])
    letters = Letters(None)
    letters.add_refused(refused(path, "T2", "conflict"))
    letters.add_refused(refused(path, "T3", "too_late"))
    kept = letters.take()
    assert [(letter.institution, letter.source, letter.place, letter.code) for letter in kept] == [
        ("main", "a.ndjson", 2, "conflict"), ("main", "a.ndjson", 3, "too_late"),
    ]  # fmt: skip
    assert [letter.original for letter in kept] == path.read_bytes().splitlines()[1:]
    assert kept[0].detail == "transaction_id: 'T2' was there before with other content, which stands"
    assert "2026-03-01T00:03:00Z lies more than the lateness behind" in kept[1].detail
    assert letters.take() == []


def test_what_cannot_be_fetched_again_is_kept_as_it_was_understood(tmp_path):
    path = ndjson(tmp_path / "a.ndjson", [at(1)])
    letters = Letters(None)
    letters.add_refused(refused(path, "T1", "conflict").with_columns(pl.lit("-").alias("file")))
    (letter,) = letters.take()
    assert (letter.source, json.loads(letter.original)["transaction_id"]) == ("stdin", "T1")
