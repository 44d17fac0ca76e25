"""A bank's columns, words, times and amounts become our fields, and a wrong mapping file says which key is wrong."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.feed.mapping import load_mapping
from tests.factories import ndjson, read, rejects, transactions, txn, written

HEADER = "Nr;Datum;Zeit;Betrag;Waehrung;Von;An"
ROWS = [
    "1;02.03.2026;09:30:00;1.234,50;€;A1;B1",
    "2;02.03.2026;9:31:00;7,00;€;A2;B2",
    "3;29.03.2026;02:30:00;1,00;€;A;B",
]
COLUMNS = """
[columns]
transaction_id = "Nr"
executed_at = ["Datum", "Zeit"]
amount = "Betrag"
currency = "Waehrung"
originator_account = "Von"
beneficiary_account = "An"
[values.currency]
"€" = "EUR"
"""
TOP = 'decimal = ","\nthousands = "."\nzone = "Europe/Vienna"\ntime_formats = ["%d.%m.%Y %H:%M:%S"]\n'


def mapping(tmp_path, text):
    path = tmp_path / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    return load_mapping(path)


def table(tmp_path, *rows, header=HEADER, encoding="utf-8"):
    return written(tmp_path / "feed.csv", "\n".join([header, *rows]).encode(encoding) + b"\n")


def test_columns_words_times_and_amounts(tmp_path):
    (chunk,) = read(table(tmp_path, *ROWS), mapping=mapping(tmp_path, TOP + COLUMNS), reporting_currency="EUR")
    found = chunk.transactions
    assert found["amount"].to_list() == [123_450, 700]
    assert found["currency"].to_list() == ["EUR", "EUR"]
    at = [dt.datetime.fromtimestamp(t / 1e6, dt.UTC).strftime("%H:%M:%S") for t in found["executed_at"]]
    assert at == ["08:30:00", "08:31:00"]
    assert found["extra"].null_count() == 2
    # The clocks went forward at that hour: the time never was.
    assert [(r.place, str(r.code)) for r in chunk.rejects] == [(4, "time_unreadable")]


def test_of_two_equal_local_times_the_earlier_counts(tmp_path):
    row = "1;25.10.2026;02:30:00;1,00;€;A1;B1"
    found = transactions(
        table(tmp_path, row), mapping=mapping(tmp_path, TOP + COLUMNS), reporting_currency="EUR",
        ingest_time_us=1_800_000_000_000_000,
    )  # fmt: skip
    assert found["executed_at"].to_list() == [int(dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC).timestamp() * 1e6)]


def test_a_decimal_comma_that_no_mapping_names_stops_the_run(tmp_path):
    path = table(tmp_path, *ROWS[1:], header="transaction_id;executed_at;x;amount;currency;originator_account;y")
    said = r"feed\.csv:2: column amount: '7,00' has a decimal comma: set decimal = \",\" in a mapping \(--mapping\)"
    with pytest.raises(AmlError, match=said):
        read(path)


@pytest.mark.parametrize(
    ("amount", "minor"),
    [
        ("1.234,50", 123_450),
        ("1234,5", 123_450),
        ("1.234.567,00", 123_456_700),
        ("-5,00", None),
        ("1.5", None),
        ("12.34,5", None),
    ],
)
def test_marks_that_stand_wrong_are_refused(tmp_path, amount, minor):
    path = table(tmp_path, f"1;02.03.2026;09:30:00;{amount};€;A1;B1")
    (chunk,) = read(path, mapping=mapping(tmp_path, TOP + COLUMNS), reporting_currency="EUR")
    assert chunk.transactions["amount"].to_list() == ([] if minor is None else [minor])


def test_an_english_bank_with_thousands(tmp_path):
    rows = ["1;02.03.2026;09:30:00;1,234,567.50;€;A;B", "2;02.03.2026;09:30:00;12,34.5;€;A;B"]
    top = TOP.replace('decimal = ","', 'decimal = "."').replace('thousands = "."', 'thousands = ","')
    (chunk,) = read(table(tmp_path, *rows), mapping=mapping(tmp_path, top + COLUMNS), reporting_currency="EUR")
    assert chunk.transactions["amount"].to_list() == [123_456_750]
    assert [str(r.code) for r in chunk.rejects] == ["amount_not_decimal"]


def test_another_encoding_is_named(tmp_path):
    text = COLUMNS.replace('originator_account = "Von"', 'originator_account = "Von"\npurpose = "Größe"')
    path = table(tmp_path, ROWS[1] + ";Öl", header=HEADER + ";Größe", encoding="cp1252")
    with pytest.raises(AmlError, match=r"feed\.csv:1: the header is not utf-8 text: name the encoding in a mapping"):
        read(path, mapping=mapping(tmp_path, TOP + text))
    found = transactions(
        path, mapping=mapping(tmp_path, 'encoding = "cp1252"\n' + TOP + text), reporting_currency="EUR"
    )
    assert found["purpose"].to_list() == ["Öl"]


def test_sides_give_both_ends(tmp_path):
    text = """
[columns]
transaction_id = "id"
executed_at = "at"
amount = "amount"
currency = "currency"
[sides]
column = "side"
credit = "C"
debit = ["D", "X"]
own = { account = "acct", balance_after = "saldo" }
other = { account = "peer", institution = "bank" }
"""
    rows = [
        "1,2026-03-02T09:00:00Z,10.00,USD,C,A1,110.00,P1,B9", "2,2026-03-02T09:00:00Z,10.00,USD,D,A1,100.00,P1,B9",
        "3,2026-03-02T09:00:00Z,10.00,USD,X,A1,-90.00,,", "4,2026-03-02T09:00:00Z,10.00,USD,?,A1,90.00,P1,B9",
    ]  # fmt: skip
    path = table(tmp_path, *rows, header="id,at,amount,currency,side,acct,saldo,peer,bank")
    (chunk,) = read(path, mapping=mapping(tmp_path, text))
    names = [
        f"{end}_{part}" for end in ("originator", "beneficiary") for part in ("account", "institution", "balance_after")
    ]
    assert chunk.transactions.select(names).rows() == [
        ("P1", "B9", None, "A1", None, 11_000),
        ("A1", None, 10_000, "P1", "B9", None),
        ("A1", None, -9_000, None, None, None),
    ]
    assert [(r.place, str(r.code)) for r in chunk.rejects] == [(5, "no_party")]
    assert chunk.transactions["extra"].null_count() == 3


def test_codes_say_what_the_record_does_not_and_are_kept(tmp_path):
    text = """
[codes]
CSH = { instrument = "cash", channel = "branch" }
INT = { initiated_by = "bank", instrument = "internal" }
"""
    records = [
        txn(transaction_code="CSH", instrument=None), txn(transaction_code="INT", instrument="other"),
        txn(transaction_code="NEW", instrument=None), txn(instrument=None),
    ]  # fmt: skip
    (chunk,) = read(ndjson(tmp_path / "feed", records), mapping=mapping(tmp_path, text))
    assert chunk.transactions["instrument"].to_list() == [0, 8, None, None]
    assert chunk.transactions["channel"].to_list() == [0, None, None, None]
    assert chunk.transactions["initiated_by"].to_list() == [0, 1, 0, 0]
    kept = [None if text is None else json.loads(text)["transaction_code"] for text in chunk.transactions["extra"]]
    assert kept == ["CSH", "INT", "NEW", None]
    assert chunk.warnings == {"transaction_code": 1}


def test_ndjson_takes_words_constants_and_marks_but_no_columns(tmp_path):
    path = ndjson(tmp_path / "feed", [txn(instrument="CHQ", amount="1,50", source=None)])
    text = 'decimal = ","\n[constants]\nsource = "core"\n[values.instrument]\nCHQ = "cheque"\n'
    found = transactions(path, mapping=mapping(tmp_path, text))
    assert found.select("instrument", "amount", "source").rows() == [(5, 150, "core")]
    with pytest.raises(AmlError, match=r"mapping\.toml: columns: .*feed is NDJSON, whose fields have our names"):
        read(path, mapping=mapping(tmp_path, COLUMNS))


def test_parquet_is_mapped_too(tmp_path):
    at = dt.datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001
    frame = pl.DataFrame({"Nr": [1], "Datum": [at], "Betrag": [7], "Von": ["A"], "An": ["B"]})
    frame.write_parquet(tmp_path / "feed.parquet")
    text = COLUMNS.replace('["Datum", "Zeit"]', '"Datum"').replace('currency = "Waehrung"\n', "")
    text = 'zone = "Europe/Vienna"\n' + text.replace("[columns]", '[constants]\ncurrency = "USD"\n[columns]')
    found = transactions(tmp_path / "feed.parquet", mapping=mapping(tmp_path, text))
    assert found.select("transaction_id", "amount").rows() == [("1", 700)]
    assert found["executed_at"].to_list() == [int(dt.datetime(2026, 3, 2, 8, 30, tzinfo=dt.UTC).timestamp() * 1e6)]


def test_a_feed_without_ids_is_named_by_content_and_occurrence(tmp_path):
    text = 'ids = "content"\n' + TOP + COLUMNS.replace('transaction_id = "Nr"\n', "")
    rows = [row.split(";", 1)[1] for row in (ROWS[0], ROWS[1], ROWS[0], ROWS[0])]
    path = table(tmp_path, *rows, header=HEADER.split(";", 1)[1])
    terms = {"mapping": mapping(tmp_path, text), "reporting_currency": "EUR"}
    ids = transactions(path, **terms)["transaction_id"].to_list()
    assert [name.split("-")[1] for name in ids] == ["1", "1", "2", "3"]
    assert len({name.split("-")[0] for name in ids}) == 2
    assert pl.concat([c.transactions for c in read(path, chunk=1, **terms)])["transaction_id"].to_list() == ids


@pytest.mark.parametrize(("step", "seconds"), [("step_days", 86_400), ("step_hours", 3_600), ("step_minutes", 60)])
def test_steps_count_from_a_day_and_the_files_order_decides_within_one(tmp_path, step, seconds):
    text = f'start = "2026-01-01"\ntime_formats = ["{step}"]\n[columns]\nexecuted_at = "step"\n'
    header = "transaction_id,step,amount,currency,originator_account"
    path = table(tmp_path, "a,2,1,USD,A", "b,0,1,USD,A", "c,2,1,USD,A", "d,x,1,USD,A", "e,,1,USD,A", header=header)
    first = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
    for chunk in (1, 100):
        chunks = read(path, mapping=mapping(tmp_path, text), chunk=chunk)
        found = pl.concat([c.transactions for c in chunks])
        two = first + 2 * seconds * 1_000_000
        assert found.select("transaction_id", "executed_at").rows() == [("a", two), ("b", first), ("c", two + 1)]
        assert set(found["time_precision"]) == {2 if step == "step_days" else 1}
        assert [str(r.code) for c in chunks for r in c.rejects] == ["time_unreadable", "field_missing"]


WRONG = [
    ("delimeter = ';'", "delimeter: unknown key; allowed: codes, columns"),
    ("delimiter = ';;'", "delimiter: must be one character"),
    ("decimal = ';'", r'decimal: must be "." or ","'),
    ("decimal = ','\nthousands = ','", "thousands: cannot be the decimal mark too"),
    ("zone = 'Mars/Olympus'", "zone: 'Mars/Olympus' is no time zone: write one like Europe/Prague"),
    ("encoding = 'klingon'", "encoding: 'klingon' is unknown: write one like cp1252"),
    ("encoding = 'utf-16'", "encoding: is not read: convert the file to UTF-8"),
    ("ids = 'none'", 'ids: must be "column" or, for a feed without ids, "content"'),
    ("start = 'today'", "start: 'today' is no date: write 2026-03-02"),
    ("time_formats = ['step_days']", "start: is missing: step_days count from a day"),
    ("time_formats = [7]", "time_formats: must be a text"),
    ("columns = 'all'", "columns: must be a table"),
    ("[columns]\namonut = 'x'", "columns.amonut: is no field of a transaction"),
    ("[constants]\nx = 'y'", "constants.x: is no field of a transaction"),
    ("[columns]\nsource = 'x'\n[constants]\nsource = 'y'", "constants.source: is a column too: give one of the two"),
    ("[values.instrument]\nA = 'pigeon'", "values.instrument.A: 'pigeon' is none of cash, wire"),
    ("[codes]\nA = 'cash'", 'codes.A: must be a table like { instrument = "cash" }'),
    ("[codes]\nA = { amount = '5' }", "codes.A.amount: unknown; allowed: instrument, channel"),
    ("[codes]\nA = { channel = 'x' }", "codes.A.channel: 'x' is none of branch, atm"),
    ("[sides]\ncolumn = 's'", "sides.credit: is missing"),
    ("[sides]\ncolumn = 's'\ncredit = 'C'\ndebit = 'D'\nown = { iban = 'x' }", "sides.own.iban: is no part of an end"),
    ("[sides]\nword = 's'", "sides.word: unknown key; allowed: column, credit"),
    ("[columns", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_mapping_names_file_and_key(tmp_path, text, said):
    with pytest.raises(AmlError) as error:
        mapping(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/mapping.toml: {said}")
    assert "\n" not in str(error.value)


def test_a_mapping_that_does_not_fit_the_file_is_named(tmp_path):
    path = table(tmp_path, *ROWS)
    with pytest.raises(AmlError, match=r"mapping\.toml: columns: .*feed\.csv has no column 'Valuta'; it has Nr, Datum"):
        read(path, mapping=mapping(tmp_path, COLUMNS.replace('"Betrag"', '"Valuta"')))
    with pytest.raises(AmlError, match=r"feed\.csv:1: no column amount: name it in a mapping"):
        read(path, mapping=mapping(tmp_path, COLUMNS.replace('amount = "Betrag"\n', "")))
    with pytest.raises(AmlError, match=r"feed\.csv:1: two columns are named 'Nr': rename one"):
        read(table(tmp_path, "1;2", header="Nr;Nr"), mapping=mapping(tmp_path, '[columns]\ntransaction_id = "Nr"'))


def test_a_file_of_another_delimiter_is_said(tmp_path):
    path = table(tmp_path, "1,2,3,4,5,6", "1,2,3,4,5,6", header="transaction_id;executed_at;amount;currency;conductor")
    with pytest.raises(AmlError, match=r"feed\.csv:2: no line fits the header: .*: name the delimiter"):
        read(path)
    assert len(rejects(table(tmp_path, "1,2", header="transaction_id;executed_at;amount;currency;conductor"))) == 1
