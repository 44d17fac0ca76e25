"""CSV read by columns says what the standard library's reader says, quotes, blank lines and odd rows included."""

from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.feed import tabular
from aml.feed.formats import Format, Source
from tests.factories import read, rejects, transactions, txn, written

NAMES = ["a", "b", "c"]
CELLS = st.text(st.sampled_from(list('x1 é.";\n,\t')), max_size=4)


def source(data: bytes) -> Source:
    stream = io.BytesIO(data)
    return Source("feed", "feed", None, Format.CSV, len(data), False, data[:100], stream, None)


def rows_of(data: bytes, delimiter: str = ",", size: int = 3):
    """All rows with their lines and bytes, and all rejects."""
    rows, failed = [], []
    for sheet in tabular.sheets(source(data), NAMES, delimiter, "utf-8", size):
        assert sheet.frame.height == len(sheet.lines) == sheet.place.len()
        cells = [[cell or "" for cell in row] for row in sheet.frame.rows()]
        rows += list(zip(sheet.place.to_list(), cells, sheet.lines, strict=True))
        failed += [(r.place, r.original) for r in sheet.failed]
    return rows, failed


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.integers(1, 9),
)
def test_what_the_standard_writer_wrote_is_read_back(rows, delimiter, size):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows([NAMES, *rows])
    data = out.getvalue().encode()
    found, failed = rows_of(data, delimiter, size)
    assert failed == []
    assert [cells for _, cells, _ in found] == rows
    lines = data.split(b"\n")
    for place, cells, own in found:
        assert own == b"\n".join(lines[place - 1 : place - 1 + own.count(b"\n") + 1])
        assert next(csv.reader(io.StringIO(own.decode()), delimiter=delimiter)) == cells


@given(st.lists(st.text(st.sampled_from(list('x",\r é')), max_size=9), max_size=10), st.integers(1, 6))
def test_every_line_is_a_row_part_of_one_or_refused(lines, size):
    """Whatever stands there: no line is lost, none is told twice, and good lines are read as they stand."""
    data = "\n".join(["a,b,c", "1,2,3", *lines, "4,5,6"]).encode()
    found, failed = rows_of(data, size=size)
    taken = [number for place, _, own in found for number in range(place, place + own.count(b"\n") + 1)]
    taken += [place for place, _ in failed]
    whole = data.split(b"\n")
    wanted = [number for number, line in enumerate(whole, 1) if number > 1 and line.strip()]
    assert set(wanted) <= set(taken)
    assert sorted(number for number in taken if number in wanted) == wanted
    assert found[0][:2] == (2, ["1", "2", "3"])
    for place, cells, own in found:
        if b'"' not in own:
            assert cells == [cell.replace("\r", "") for cell in whole[place - 1].decode().split(",")]


@pytest.mark.parametrize("size", [1, 2, 50])
def test_a_quoted_record_over_several_lines_holds_others_that_look_whole(size):
    data = b'a,b,c\n1,2,3\n4,"x\n7,8,9\ny",6\n1,2,3\n'
    found, failed = rows_of(data, size=size)
    assert [(place, cells) for place, cells, _ in found] == [
        (2, ["1", "2", "3"]), (3, ["4", "x\n7,8,9\ny", "6"]), (6, ["1", "2", "3"]),
    ]  # fmt: skip
    assert failed == []


def test_a_stray_quote_harms_its_own_line_only():
    data = b'a,b,c\n1,2,3\n4,"5,6\n7,8,9\n1,2,3\n' + b"7,8,9\n" * 300
    found, failed = rows_of(data, size=1_000)
    assert failed == [(3, b'4,"5,6')]
    assert len(found) == 303


def test_many_stray_quotes_cost_little():
    data = b"a,b,c\n" + b'1,"2,3,4,5\n' * 30_000
    began = time.process_time()
    found, failed = rows_of(data, size=65_536)
    assert found == [] and len(failed) == 30_000
    assert time.process_time() - began < 20


def test_columns_that_we_do_not_know_are_kept_whole(tmp_path):
    header = "transaction_id,executed_at,amount,currency,originator_account,Ünit,note"
    rows = [
        'T1,2026-03-02T09:30:00Z,1,USD,A1,"a ""b"" c",',
        "T2,2026-03-02T09:30:00Z,1,USD,A1,,x",
        "T3,2026-03-02T09:30:00Z,1,USD,A1,,",
    ]
    found = transactions(written(tmp_path / "feed", "\n".join([header, *rows]).encode()))
    assert found["extra"].to_list() == ['{"Ünit":"a \\"b\\" c"}', '{"note":"x"}', None]


def test_a_warning_and_unknown_columns_are_kept_together(tmp_path):
    header = "transaction_id,executed_at,amount,currency,originator_account,value_date,note"
    row = "T1,2026-03-02T09:30:00Z,1,USD,A1,someday,x"
    (chunk,) = read(written(tmp_path / "feed", f"{header}\n{row}\n".encode()))
    assert chunk.transactions["extra"].to_list() == ['{"note":"x","value_date":"someday"}']
    assert chunk.warnings == {"value_date": 1}


def test_lines_that_are_no_text_are_refused_alone(tmp_path):
    header = "transaction_id,executed_at,amount,currency,originator_account"
    rows = [
        b"T1,2026-03-02T09:30:00Z,1,USD,A",
        b"T\xfc,2026-03-02T09:30:00Z,1,USD,A",
        b"T3,2026-03-02T09:30:00Z,1,USD,A",
    ]
    path = written(tmp_path / "feed", b"\n".join([header.encode(), *rows]))
    assert [(r.place, r.detail) for r in rejects(path)] == [(3, "not utf-8 text: name the encoding in a mapping")]
    assert transactions(path)["transaction_id"].to_list() == ["T1", "T3"]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_by_looking(tmp_path, mark):
    record = txn(purpose="a b")
    text = "\n".join(mark.join(part) for part in (record.keys(), record.values()))
    assert transactions(written(tmp_path / "feed", text.encode()))["purpose"].to_list() == ["a b"]
