"""Records of a shard: in memory, on their way to the disk, and on it, they are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aml.stream.records import ShardRecords


def add(records: ShardRecords, first: int, n: int) -> None:
    records._pieces.append(pl.DataFrame({"transaction_id": [f"T{k}" for k in range(first, first + n)]}))
    records._held_rows += n


def ids(records: ShardRecords, *rows: int) -> list[str]:
    return records.take(np.array(rows, np.int64)).get_column("transaction_id").to_list()


def test_rows_are_read_wherever_they_lie(tmp_path: Path):
    records = ShardRecords(tmp_path)
    add(records, 0, 3)
    first = records.seal(epoch=4, legs_to=7)
    add(records, 3, 2)
    second = records.seal(epoch=4, legs_to=9)
    add(records, 5, 2)
    assert (records.rows, records.held) == (7, 2)
    assert ids(records, 0, 2, 3, 6) == ["T0", "T2", "T3", "T6"]
    assert first is not None
    assert second is not None
    records.adopt(first.write(tmp_path))
    assert ids(records, 0, 2, 3, 6) == ["T0", "T2", "T3", "T6"]
    records.adopt(second.write(tmp_path))
    assert ids(records, 0, 2, 3, 6) == ["T0", "T2", "T3", "T6"]
    assert [file.name for file in records.files] == [
        "segment-000000000000-000000000003-e4.parquet", "segment-000000000003-000000000005-e4.parquet"
    ]  # fmt: skip
    assert (first.legs_from, second.legs_from) == (0, 7)
    again = ShardRecords(tmp_path, records.files, 9)
    add(again, 5, 2)
    assert ids(again, 0, 2, 3, 6) == ["T0", "T2", "T3", "T6"]


def test_what_could_not_be_written_is_held_again(tmp_path: Path):
    records = ShardRecords(tmp_path)
    add(records, 0, 3)
    sealed = records.seal(epoch=1, legs_to=7)
    assert sealed is not None
    add(records, 3, 1)
    with pytest.raises(OSError, match="No such file"):
        sealed.write(tmp_path / "full")
    records.unseal()
    assert (records.rows, records.held) == (4, 4)
    assert ids(records, 0, 3) == ["T0", "T3"]
    whole = records.seal(epoch=1, legs_to=9)
    assert whole is not None
    assert (whole.first, whole.last, whole.legs_from) == (0, 4, 0)


def test_nothing_held_makes_no_segment(tmp_path: Path):
    assert ShardRecords(tmp_path).seal(epoch=1, legs_to=7) is None
