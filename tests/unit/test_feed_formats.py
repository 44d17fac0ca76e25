"""One content in every format gives one answer: what a feed is is found by looking, and damage is said in one line."""

from __future__ import annotations

import gzip
import io
import sys
from types import SimpleNamespace

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.domain.transaction import CANONICAL
from aml.feed.formats import Format
from aml.feed.read import inspect_feed, read_feed
from tests.factories import csv, ndjson, read, transactions, txn, written

RECORDS = [
    txn(),
    txn(transaction_id="T2", amount="7", originator_customer="C1", branch="ny-001", revision=2),
    txn(transaction_id="T3", void=True, originator_account=None, beneficiary_account=None, amount=None, currency=None),
    txn(transaction_id="T4", executed_at="2026-03-02T09:30:00.123456+02:00", instrument="CASH", channel="atm"),
    txn(transaction_id="Ü5", purpose="Größe, mit Komma", beneficiary_name='A "B" C', value_date="2026-03-03"),
    txn(transaction_id="T6", status="pending", relation="refund", relates_to="T1", batch_lump=False),
]


def parquet(path, records):
    pl.DataFrame(records, infer_schema_length=None).write_parquet(path)
    return path


def plain(frame):
    """A frame without where its records stood."""
    return frame.drop("source", "place")


@pytest.fixture
def wanted(tmp_path):
    return plain(transactions(ndjson(tmp_path / "wanted.ndjson", RECORDS)))


@pytest.mark.parametrize(
    "name", ["feed.ndjson", "feed.csv", "feed.parquet", "feed.json.gz", "feed.csv.gz", "feed", "x.dat"]
)
def test_every_format_says_the_same_whatever_the_name(tmp_path, wanted, name):
    make = {"feed.parquet": parquet, "feed.csv": csv, "feed.csv.gz": csv, "x.dat": csv}.get(name, ndjson)
    found = transactions(make(tmp_path / name, RECORDS))
    assert plain(found).rows() == wanted.rows()
    assert found["source"].unique().to_list() == [name]
    assert found.schema == pl.Schema(CANONICAL)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
@pytest.mark.parametrize("make", [ndjson, csv, parquet])
def test_the_size_of_a_chunk_decides_nothing(tmp_path, wanted, make, chunk):
    path = make(tmp_path / "feed", RECORDS)
    chunks = read(path, chunk=chunk)
    assert plain(pl.concat([c.transactions for c in chunks])).rows() == wanted.rows()
    assert sum(c.read for c in chunks) == len(RECORDS)
    whole = pl.concat([c.transactions for c in chunks])
    assert whole["place"].to_list() == [number + (2 if make is csv else 1) for number in range(len(RECORDS))]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("make", [ndjson, csv])
def test_standard_input_is_read_and_looked_at_without_taking_anything(tmp_path, wanted, make, packed, monkeypatch):
    data = make(tmp_path / "feed", RECORDS).read_bytes()
    stream = io.BufferedReader(io.BytesIO(gzip.compress(data) if packed else data))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    info = inspect_feed("-")
    assert (info.format, info.rows) == (Format.CSV if make is csv else Format.NDJSON, None)
    assert plain(transactions("-")).rows() == wanted.rows()


def test_parquet_cannot_come_by_standard_input(tmp_path, monkeypatch):
    stream = io.BufferedReader(io.BytesIO(parquet(tmp_path / "feed", RECORDS).read_bytes()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    with pytest.raises(AmlError, match="standard input: Parquet cannot come by standard input: name the file"):
        read("-")


@pytest.mark.parametrize("make", [ndjson, csv])
def test_a_byte_order_mark_and_windows_lines_are_simply_read(tmp_path, wanted, make):
    data = make(tmp_path / "plain", RECORDS).read_bytes().replace(b"\n", b"\r\n")
    for path in (
        written(tmp_path / "feed", b"\xef\xbb\xbf" + data),
        written(tmp_path / "feed.gz", b"\xef\xbb\xbf" + data),
    ):
        assert plain(transactions(path)).rows() == wanted.rows()


@pytest.mark.parametrize("data", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["feed", "feed.gz"])
def test_an_empty_feed_is_no_error(tmp_path, data, name):
    path = written(tmp_path / name, data)
    assert inspect_feed(path).format is Format.EMPTY
    assert read(path) == []


def test_a_table_without_rows_is_no_error(tmp_path):
    assert transactions(csv(tmp_path / "a.csv", RECORDS[:1])).height == 1
    header = (tmp_path / "a.csv").read_bytes().splitlines()[0]
    assert transactions(written(tmp_path / "b.csv", header)).height == 0
    assert transactions(written(tmp_path / "c.csv", header + b"\n")).height == 0
    assert transactions(parquet(tmp_path / "d", pl.DataFrame(RECORDS[:1]).clear())).height == 0


def test_blank_lines_count_for_nothing_but_keep_their_number(tmp_path):
    line = ndjson(tmp_path / "one", RECORDS[:1]).read_bytes()
    (chunk,) = read(written(tmp_path / "feed", b"\n \n" + line + b"\r\n" + line.replace(b'"T1"', b'"T2"') + b"\n"))
    assert (chunk.read, chunk.transactions["place"].to_list()) == (2, [3, 5])


def test_a_last_line_need_not_end(tmp_path):
    data = ndjson(tmp_path / "one", RECORDS).read_bytes()
    assert transactions(written(tmp_path / "feed", data.removesuffix(b"\n"))).height == len(RECORDS)


def test_progress_is_told_in_bytes_of_the_file(tmp_path):
    for path in (ndjson(tmp_path / "a.ndjson", RECORDS * 50), ndjson(tmp_path / "b.gz", RECORDS * 50)):
        chunks = read(path, chunk=60)
        done = [chunk.bytes_done for chunk in chunks]
        assert done == sorted(done) and done[-1] == chunks[0].bytes_total == path.stat().st_size


def test_about_how_many_records_there_are_is_known_beforehand(tmp_path):
    assert inspect_feed(ndjson(tmp_path / "a", RECORDS * 100)).rows == pytest.approx(600, rel=0.01)
    assert inspect_feed(parquet(tmp_path / "b", RECORDS * 100)).rows == 600
    assert inspect_feed(ndjson(tmp_path / "c.gz", RECORDS * 100)).rows is None


def damaged(tmp_path):
    line = ndjson(tmp_path / "good", RECORDS).read_bytes()
    packed = gzip.compress(line * 20_000)
    table = parquet(tmp_path / "table", RECORDS).read_bytes()
    return {
        "cut.gz": (packed[:-100], r"cut\.gz: the gzip stream is cut off: fetch the file again"),
        "spoilt.gz": (packed[:2000] + b"\xff" * 500 + packed[2500:], r"spoilt\.gz: the gzip stream is damaged"),
        "cut.parquet": (table[:-30], r"cut\.parquet: is no whole Parquet file .*: fetch the file again"),
        "packed.gz": (gzip.compress(table), r"packed\.gz: Parquet comes gzipped: unpack it first"),
        "wide.csv": (line.decode().encode("utf-16"), r"wide\.csv: is UTF-16 text: convert it to UTF-8"),
    }


@pytest.mark.parametrize("name", ["cut.gz", "spoilt.gz", "cut.parquet", "packed.gz", "wide.csv"])
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, name):
    data, said = damaged(tmp_path)[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AmlError, match=said) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for look in (read, inspect_feed):
        with pytest.raises(AmlError, match=r"nowhere: cannot be read: No such file or directory: check the path"):
            look(tmp_path / "nowhere")


def test_what_was_read_before_a_file_breaks_off_is_handed_on(tmp_path):
    data = b"".join(b'{"transaction_id":"T%d","amount":"1"}\n' % number for number in range(200_000))
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(data)[:-100])
    seen = []

    def counted():
        for chunk in read_feed(path, institution="main", ingest_time_us=0, reporting_currency="USD", chunk=50_000):
            seen.append(chunk.read)

    with pytest.raises(AmlError, match="cut off"):
        counted()
    assert sum(seen) >= 50_000
