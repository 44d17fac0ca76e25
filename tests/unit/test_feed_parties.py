"""The party table in every format; one defect stops it with one line, for a wrong table is worse than none."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.domain.party import PARTIES
from aml.feed.parties import read_parties
from tests.factories import written

ROWS = [
    {"account": "A1", "customer": "C1", "kind": "person", "opened": "2020-02-29",
     "expected_monthly_turnover": "2500.50"},
    {"account": "A1", "customer": "C2", "role": "mandate", "valid_from": "2026-01-01", "institution": "other"},
    {"account": "A2", "customer": "C3", "kind": "business", "cash_intensive": "true", "country": "de", "risk": "high",
     "party_institution": "B9", "replaced_by": "A3"},
]  # fmt: skip


def as_file(tmp_path, form, rows):
    path = tmp_path / f"parties.{form}"
    frame = pl.DataFrame(rows, infer_schema_length=None)
    match form:
        case "csv":
            return written(path, frame.write_csv().encode())
        case "parquet":
            frame.write_parquet(path)
            return path
        case _:
            return written(path, "\n".join(json.dumps(row) for row in rows).encode())


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet", "csv.gz", "ndjson.gz"])
def test_every_format_gives_the_same_table(tmp_path, form):
    form_ = form.removesuffix(".gz")
    data = as_file(tmp_path, form_, ROWS).read_bytes()
    table = read_parties(written(tmp_path / f"again.{form}", data), "main")
    assert table.schema == pl.Schema(PARTIES)
    assert table.select("institution", "account", "customer", "role").rows() == [
        ("main", "A1", "C1", None), ("other", "A1", "C2", "mandate"), ("main", "A2", "C3", None),
    ]  # fmt: skip
    assert table["opened"].to_list() == [dt.date(2020, 2, 29), None, None]
    assert table["valid_from"].to_list() == [None, dt.date(2026, 1, 1), None]
    assert table["expected_monthly_turnover"].to_list() == [250_050, None, None]
    assert table["cash_intensive"].to_list() == [None, None, True]
    assert table["country"].to_list() == [None, None, "DE"]
    assert table.row(2, named=True)["replaced_by"] == "A3"


def test_typed_columns_and_numbers_are_taken_as_they_are(tmp_path):
    frame = pl.DataFrame(
        {
            "account": ["A"],
            "opened": [dt.date(2020, 1, 1)],
            "cash_intensive": [True],
            "expected_monthly_turnover": [1000],
        }
    )
    frame.write_parquet(tmp_path / "p")
    table = read_parties(tmp_path / "p", "main", "JPY")
    assert table.select("opened", "cash_intensive", "expected_monthly_turnover").row(0) == (
        dt.date(2020, 1, 1),
        True,
        1_000,
    )
    path = written(tmp_path / "n", b'{"account":"A","cash_intensive":false,"expected_monthly_turnover":12.5}\n')
    assert read_parties(path, "main").select("cash_intensive", "expected_monthly_turnover").row(0) == (False, 1_250)


def test_an_empty_table_knows_nobody(tmp_path):
    assert read_parties(written(tmp_path / "p", b""), "main").shape == (0, len(PARTIES))


WRONG = [
    (b'{"account":"A"}\nnonsense\n', ":2: not JSON"),
    (b"[]\n", ":1: not an object"),
    (b'{"account":"A"}\n\n{"customer":"C"}\n', ":3: account: missing"),
    (b'{"account":7}\n', ":1: account: 7 has the wrong type"),
    (b'{"account":"A","kind":"alien"}\n', ":1: kind: 'alien' is not one of person, business, processor"),
    (b'{"account":"A","opened":"1.1.2020"}\n', ":1: opened: '1.1.2020' is not a date like 2026-03-02"),
    (b'{"account":"A","cash_intensive":"often"}\n', ":1: cash_intensive: 'often' is not true or false"),
    (b'{"account":"A","country":"Germany"}\n', ":1: country: 'Germany' is not a country of two letters"),
    (b'{"account":"A","expected_monthly_turnover":"much"}\n', ":1: expected_monthly_turnover: 'much' is not a decimal"),
    (b"account,kind\nA,person\nB,alien\n", ":3: kind: 'alien' is not one of"),
    (b"account,kind\nA,person,x\n", ":2: not a row: 3 cells, the header has 2"),
    (b"customer,kind\nA,person\n", ":1: no column account; found customer, kind"),
]


@pytest.mark.parametrize(("data", "said"), WRONG)
def test_a_defect_names_file_line_and_field(tmp_path, data, said):
    path = written(tmp_path / "parties", data)
    with pytest.raises(AmlError) as error:
        read_parties(path, "main")
    assert str(error.value).startswith(f"{path}{said}")
