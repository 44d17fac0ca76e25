"""Parquet: types are checked against the fields before the first row is read, and what fits is read exactly."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import polars as pl
import pytest

from aml.domain.errors import AmlError
from tests.factories import read, rejects, transactions

AT = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


def table(tmp_path, **columns):
    base = {
        "transaction_id": ["T1"],
        "executed_at": [AT],
        "amount": ["1.50"],
        "currency": ["USD"],
        "originator_account": ["A"],
    }
    held = {name: values for name, values in (base | columns).items() if values is not None}
    path = tmp_path / "feed.parquet"
    pl.DataFrame(held).write_parquet(path)
    return path


GOOD = [
    ("amount", pl.Series([Decimal("1.50")], dtype=pl.Decimal(18, 4)), ("amount", 150)),
    ("amount", pl.Series([3], dtype=pl.Int32), ("amount", 300)),
    ("amount", pl.Series(["1.500"]), ("amount", 150)),
    ("executed_at", pl.Series([AT]).cast(pl.Datetime("ns", "UTC")), ("executed_at", 1_772_443_800_000_000)),
    ("executed_at", pl.Series([AT]).dt.convert_time_zone("Asia/Tokyo"), ("executed_at", 1_772_443_800_000_000)),
    ("executed_at", pl.Series(["2026-03-02T09:30:00Z"]), ("executed_at", 1_772_443_800_000_000)),
    ("instrument", pl.Series(["cash"], dtype=pl.Categorical), ("instrument", 0)),
    ("instrument", pl.Series(["wire"], dtype=pl.Enum(["wire"])), ("instrument", 1)),
    ("revision", pl.Series([2], dtype=pl.UInt8), ("revision", 2)),
    ("void", pl.Series([False]), ("void", False)),
    ("void", pl.Series(["no"]), ("void", False)),
    ("booking_date", pl.Series([dt.date(2026, 3, 3)]), ("booking_date", dt.date(2026, 3, 3))),
    ("branch", pl.Series([None], dtype=pl.Null), ("branch", None)),
    ("originator_balance_after", pl.Series([-5]), ("originator_balance_after", -500)),
    ("beneficiary", pl.Series([{"account": "B", "country": "de"}]), ("beneficiary_country", "DE")),
    ("intermediaries", pl.Series([[{"institution": "X"}]]), ("intermediaries", '[{"institution":"X"}]')),
    ("intermediaries", pl.Series(['[{"country":"DE"}]']), ("intermediaries", '[{"country":"DE"}]')),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "wanted"), GOOD)
def test_every_type_that_fits_is_read_exactly(tmp_path, name, column, wanted):
    (chunk,) = read(table(tmp_path, **{name: column}))
    assert chunk.rejects == [] and chunk.warnings == {}
    assert chunk.transactions[wanted[0]].to_list() == [wanted[1]]


LOCAL = "times without a zone: store them with one, or name the zone in a mapping"
WRONG = [
    ("amount", pl.Series([1.5]), "type Float64, must be text, decimal or whole numbers (never floating point)"),
    ("amount", pl.Series([True]), "type Boolean, must be text, decimal or whole numbers (never floating point)"),
    ("transaction_id", pl.Series([7]), "type Int64, must be text"),
    ("originator_account", pl.Series([1.0]), "type Float64, must be text"),
    ("executed_at", pl.Series([1_772_443_800]), "type Int64, must be timestamp with a time zone, or text"),
    ("executed_at", pl.Series([dt.date(2026, 3, 2)]), "type Date, must be timestamp with a time zone, or text"),
    ("executed_at", pl.Series([AT]).dt.replace_time_zone(None), LOCAL),
    ("booking_date", pl.Series([AT]), "type Datetime(time_unit='us', time_zone='UTC'), must be date or text"),
    ("void", pl.Series([1]), "type Int64, must be boolean or text"),
    ("revision", pl.Series([1.0]), "type Float64, must be whole numbers or text"),
    ("instrument", pl.Series([1]), "type Int64, must be text"),
    ("intermediaries", pl.Series([["X"]]), "type List(String), must be text or a list of structures"),
    ("beneficiary", pl.Series([{"account": 7}]), "beneficiary_account: type Int64, must be text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "column", "said"), WRONG)
def test_a_column_of_a_wrong_type_is_named_before_a_row_is_read(tmp_path, name, column, said):
    path = table(tmp_path, **{name: column})
    with pytest.raises(AmlError) as error:
        read(path)
    shown = said if said.startswith("beneficiary") else f"{name}: {said}"
    assert str(error.value) == f"{path}: column {shown}"


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(AmlError, match=r"feed\.parquet:1: no column currency: name it in a mapping"):
        read(table(tmp_path, currency=None))


def test_columns_that_we_do_not_know_are_kept_with_their_types(tmp_path):
    path = table(tmp_path, score=[7], flag=[True], rate=[1.5], note=["a\nb"], when=[dt.date(2026, 3, 2)], none=[None])
    kept = json.loads(transactions(path)["extra"][0])
    assert kept == {"score": 7, "flag": True, "rate": 1.5, "note": "a\nb", "when": "2026-03-02"}


def test_a_refused_row_keeps_what_stood_in_it(tmp_path):
    (refused,) = rejects(table(tmp_path, amount=["-1.50"]))
    assert (refused.place, str(refused.code)) == (1, "amount_negative")
    assert json.loads(refused.original) == {
        "transaction_id": "T1", "executed_at": "2026-03-02T09:30:00Z", "amount": "-1.50", "currency": "USD",
        "originator_account": "A",
    }  # fmt: skip


def test_rows_are_numbered_over_all_parts(tmp_path):
    frame = pl.DataFrame({"transaction_id": [f"T{n}" for n in range(25)], "amount": ["1"] * 24 + ["x"]})
    frame = frame.with_columns(executed_at=pl.lit(AT), currency=pl.lit("USD"), originator_account=pl.lit("A"))
    frame.write_parquet(tmp_path / "feed", row_group_size=7)
    for chunk in (1, 4, 100):
        assert [r.place for r in rejects(tmp_path / "feed", chunk=chunk)] == [25]
        found = pl.concat([c.transactions for c in read(tmp_path / "feed", chunk=chunk)])
        assert found["place"].to_list() == list(range(1, 25))
