"""The archive: what was appended comes back by row number, in segments that never change."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.domain.transaction import CANONICAL
from aml.store import archive
from aml.store.archive import Archive
from aml.store.files import sha256_of


def records(first, number):
    ids = [f"T{n}" for n in range(first, first + number)]
    return pl.DataFrame({"transaction_id": ids, "amount": range(first, first + number)})


def taken(kept, rows, **given):
    return kept.take(np.array(rows, np.int64), **given)


def test_records_come_back_by_row_in_the_order_asked_for(tmp_path):
    kept = Archive(tmp_path)
    for first in (0, 10, 20):
        kept.append(records(first, 10))
        kept.flush()
    assert kept.rows == 30
    assert taken(kept, [29, 0, 10, 10, 3]).rows() == [("T29", 29), ("T0", 0), ("T10", 10), ("T10", 10), ("T3", 3)]
    assert taken(kept, [5], columns=["amount"]).rows() == [(5,)]
    assert taken(kept, []).height == 0


def test_a_segment_is_written_when_it_is_full_and_named_with_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SEGMENT_ROWS", 25)
    kept = Archive(tmp_path)
    for first in range(0, 60, 10):
        kept.append(records(first, 10))
    assert kept.rows == 60
    added = kept.take_added()
    assert [file.rows for file in added] == [30, 30]
    assert [file.sha256 for file in added] == [sha256_of(tmp_path / file.name) for file in added]
    assert [file.bytes for file in added] == [(tmp_path / file.name).stat().st_size for file in added]
    assert kept.take_added() == []
    again = Archive(tmp_path, added)
    again.append(records(60, 1))
    again.flush()
    assert taken(again, range(61)).equals(records(0, 61))


def test_nothing_held_writes_nothing(tmp_path):
    kept = Archive(tmp_path)
    kept.append(records(0, 0))
    kept.flush()
    assert list(tmp_path.iterdir()) == []


def test_empty_columns_are_left_out_and_come_back_where_a_record_has_them(tmp_path):
    kept = Archive(tmp_path)
    odd = pl.lit(None, pl.Int8).alias("odd")
    for first, number, purpose in ((0, 2, None), (2, 1, None), (3, 1, "rent")):
        kept.append(records(first, number).with_columns(pl.lit(purpose, pl.String).alias("purpose"), odd))
        if first:
            kept.flush()
    assert taken(kept, [0]).columns == ["transaction_id", "amount"]
    assert taken(kept, [3, 0])["purpose"].to_list() == ["rent", None]
    (first, one), (second, two) = kept.segments()
    assert (first, second) == (0, 3)
    assert one.schema.items() >= CANONICAL.items() - {("transaction_id", pl.String()), ("amount", pl.Int64())}
    assert [one["purpose"].to_list(), two["purpose"].to_list()] == [[None] * 3, ["rent"]]


def test_a_scan_gives_the_segments_from_a_row_on(tmp_path):
    kept = Archive(tmp_path)
    for first in (0, 10, 20):
        kept.append(records(first, 10))
        kept.flush()
    assert [(first, part.collect().height) for first, part in kept.scan(10, ["amount"])] == [(10, 10), (20, 10)]
    assert [first for first, _ in kept.scan(15, ["amount"])] == [10, 20]
    assert kept.scan(30, ["amount"]) == []


def test_a_missing_segment_is_refused(tmp_path):
    kept = Archive(tmp_path)
    for first in (0, 10):
        kept.append(records(first, 10))
        kept.flush()
    with pytest.raises(AmlError, match="rows 0 to 10 are in no segment"):
        Archive(tmp_path, kept.take_added()[1:])
