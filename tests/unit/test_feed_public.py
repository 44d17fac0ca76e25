"""Public data sets are known by their columns: AMLworld and both forms of AMLSim, and others through a mapping."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import polars as pl
import pytest

from aml.content import folder
from aml.domain.errors import AmlError
from aml.feed.mapping import load_mapping
from aml.feed.parties import read_parties
from aml.feed.rates import Rates, default_rates
from aml.feed.read import inspect_feed
from tests.factories import NOW, read, rejects, transactions, written

AMLWORLD = (
    "Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,Payment Currency,"
    "Payment Format,Is Laundering"
)
ROWS = [
    "2022/09/01 00:20,010,8000EBD30,010,8000EBD30,3697.34,US Dollar,3697.34,US Dollar,Reinvestment,0",
    "2022/09/01 00:20,03208,8000F4580,001,8000F5340,0.01,US Dollar,0.01,US Dollar,Cheque,0",
    "2022/09/01 00:20,03208,8000F4580,001,8000F5340,0.01,US Dollar,0.01,US Dollar,Cheque,1",
    "2022/09/01 00:02,012,8000EC280,02439,8017BF800,7.66,US Dollar,7.66,US Dollar,Credit Card,0",
    "2022/09/01 00:06,001,800,03208,900,50.00,Euro,58.75,US Dollar,Wire,0",
    "2022/09/01 00:06,001,800,03208,900,6513.50,Yen,46.90,US Dollar,ACH,0",
    "2022/09/01 00:06,001,800,03208,900,0.00123400,Bitcoin,0.00123400,Bitcoin,Bitcoin,0",
    '2022/09/01 00:07,12,"8,00057E+035",12,"8,00057E+035",8.77,US Dollar,8.77,US Dollar,Cash,0',
]
AMLSIM = "tran_id,orig_acct,bene_acct,tx_type,base_amt,tran_timestamp,is_sar,alert_id"


def amlworld(path, rows=ROWS):
    return written(path, "\n".join([AMLWORLD, *rows]).encode() + b"\n")


def micros(text):
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1e6)


def known(path, **more):
    return {"institution": inspect_feed(path).institution, "rates": default_rates("amlworld", "USD")} | more


@pytest.mark.parametrize("name", ["HI-Small_Trans.csv", "trans.csv.gz", "noname"])
def test_amlworld_is_known_by_its_header_and_gives_the_institution(tmp_path, name):
    path = amlworld(tmp_path / name)
    info = inspect_feed(path)
    assert (info.importer, info.institution) == ("amlworld", "amlworld")
    found = transactions(path, **known(path))
    assert found.height == len(ROWS)
    assert found["institution"].unique().to_list() == ["amlworld"]


def test_amlworlds_banks_are_texts_and_its_formats_are_instruments(tmp_path):
    found = transactions(path := amlworld(tmp_path / "t.csv"), **known(path))
    ends = found.select(
        "originator_institution", "originator_account", "beneficiary_institution", "beneficiary_account"
    )
    assert ends.row(1) == ("03208", "8000F4580", "001", "8000F5340")
    assert ends.row(7) == ("12", "8,00057E+035", "12", "8,00057E+035")
    assert found["instrument"].to_list() == [7, 5, 5, 4, 1, 2, 6, 0]
    assert found["extra"].to_list()[1:3] == ['{"Is Laundering":"0"}', '{"Is Laundering":"1"}']


def test_amlworlds_minutes_are_ticks_and_the_files_order_decides_within_one(tmp_path):
    found = transactions(path := amlworld(tmp_path / "t.csv"), **known(path))
    base = {minute: micros(f"2022-09-01 00:{minute}:00") for minute in ("20", "02", "06", "07")}
    wanted = [
        base["20"],
        base["20"] + 1,
        base["20"] + 2,
        base["02"],
        base["06"],
        base["06"] + 1,
        base["06"] + 2,
        base["07"],
    ]
    assert found["executed_at"].to_list() == wanted
    assert found["time_precision"].unique().to_list() == [1]
    for chunk in (1, 3):
        again = pl.concat([c.transactions for c in read(path, **known(path), chunk=chunk)])
        assert again.select("transaction_id", "executed_at").equals(found.select("transaction_id", "executed_at"))


def test_identical_rows_of_amlworld_are_told_apart_and_labels_make_no_difference(tmp_path):
    ids = transactions(path := amlworld(tmp_path / "t.csv"), **known(path))["transaction_id"].to_list()
    assert len(set(ids)) == len(ids)
    first, second = ids[1].split("-"), ids[2].split("-")
    assert (first[0], first[1], second[1]) == (second[0], "1", "2")
    again = transactions(path := amlworld(tmp_path / "u.csv", ROWS[1:]), **known(path))["transaction_id"].to_list()
    assert again == ids[1:]


def test_amlworlds_other_currency_values_the_credit_and_is_rounded_where_it_has_no_decimals(tmp_path):
    path = amlworld(tmp_path / "t.csv")
    (chunk,) = read(path, **known(path))
    found = chunk.transactions.select(
        "amount", "currency", "credit_amount", "credit_currency", "debit_value", "credit_value"
    )
    assert found.row(0) == (369_734, "USD", None, None, 369_734, 369_734)
    assert found.row(4)[:5] == (5_875, "USD", 5_000, "EUR", 5_875)
    assert 4_500 < found.row(4)[5] < 5_500
    assert found.row(5)[2:4] == (6_514, "JPY")  # half to even of 6,513.50
    assert found.row(6)[:2] == (123_400, "XBT")
    assert chunk.warnings == {"credit_amount": 1}


def test_a_bad_row_of_amlworld_keeps_its_code_and_line(tmp_path):
    rows = [ROWS[0], ROWS[1].replace("2022/09/01", "1/9/22"), ROWS[3].replace("US Dollar", "Groat"), "1,2,3", ROWS[4]]
    path = amlworld(tmp_path / "t.csv", rows)
    found = {r.place: str(r.code) for r in rejects(path, **known(path))}
    assert found == {3: "time_unreadable", 4: "unknown_currency", 5: "not_an_object"}


def test_amlworld_as_parquet_with_one_account_renamed(tmp_path):
    names = AMLWORLD.split(",")
    names[4] = "To Account"
    frame = pl.DataFrame([row.split(",") for row in ROWS[:4]], schema=names, orient="row")
    frame.write_parquet(tmp_path / "t.parquet")
    path = tmp_path / "t.parquet"
    assert inspect_feed(path).importer == "amlworld"
    csv_path = amlworld(tmp_path / "t.csv", ROWS[:4])
    columns = ["transaction_id", "executed_at", "amount", "originator_account", "extra"]
    assert (
        transactions(path, **known(path))
        .select(columns)
        .equals(transactions(csv_path, **known(csv_path)).select(columns))
    )


def test_amlsims_transactions_with_ids_and_steps_or_times(tmp_path):
    rows = ["7,1,2,TRANSFER,10.50,3,False,-1", "8,2,3,CHECK,2,2017-01-04T00:00:00Z,True,5", "9,3,4,WIRE,5,3,False,-1"]
    path = written(tmp_path / "tx.csv", "\n".join([AMLSIM, *rows]).encode())
    assert inspect_feed(path).institution == "amlsim"
    found = transactions(path, institution="amlsim")
    day = micros("2017-01-04")
    assert found["executed_at"].to_list() == [day, day + 1, day + 2]
    assert found["time_precision"].to_list() == [2, 2, 2]
    assert found.select("transaction_id", "amount", "currency").rows() == [
        ("7", 1_050, "USD"),
        ("8", 200, "USD"),
        ("9", 500, "USD"),
    ]
    assert found["instrument"].to_list() == [1, 5, 1]
    started = transactions(path, institution="amlsim", start=dt.date(2026, 1, 1), reporting_currency="AUD")
    assert started["executed_at"].to_list()[0] == micros("2026-01-04")
    assert started["currency"].unique().to_list() == ["AUD"]


def test_a_mapping_may_date_amlsims_steps_and_leave_the_rest_to_its_importer(tmp_path):
    path = written(tmp_path / "tx.csv", f"{AMLSIM}\n7,1,2,TRANSFER,10.50,3,False,-1\n".encode())
    (tmp_path / "start.toml").write_text('start = "2026-01-01"\n')
    mapping = load_mapping(tmp_path / "start.toml")
    assert inspect_feed(path, mapping).importer == "amlsim"
    assert transactions(path, mapping=mapping)["executed_at"].to_list() == [micros("2026-01-04")]


def test_amlsims_node_numbers_in_parquet(tmp_path):
    frame = pl.DataFrame(
        {"sourceNodeId": [1, 1, 2], "targetNodeId": [2, 2, 3], "value": [147.8, 147.8, 0.3], "time": [1, 1, 2]}
    )
    frame.write_parquet(tmp_path / "tx.parquet")
    found = transactions(tmp_path / "tx.parquet", institution="amlsim")
    assert found["amount"].to_list() == [14_780, 14_780, 30]
    assert found["transaction_id"].n_unique() == 3
    assert found["originator_account"].to_list() == ["1", "1", "2"]
    assert found["executed_at"].to_list() == [micros("2017-01-02"), micros("2017-01-02") + 1, micros("2017-01-03")]


def test_amlsims_accounts_are_a_party_table_and_no_feed(tmp_path):
    text = "acct_id,dsply_nm,type,open_dt,country\n1,A,SAV,2016-05-01T00:00:00Z,US\n2,B,SAV,,\n"
    path = written(tmp_path / "accounts.csv", text.encode())
    with pytest.raises(AmlError, match=r"accounts\.csv: is AMLSim's table of accounts: give it with --parties"):
        read(path)
    parties = read_parties(path, "amlsim")
    assert parties.select("institution", "account", "opened").rows() == [
        ("amlsim", "1", dt.date(2016, 5, 1)), ("amlsim", "2", None),
    ]  # fmt: skip


# Sets that need a mapping file; one ships for each. The rows are made up in the sets' own formats.
SETS = {
    "saml-d": (
        "Time,Date,Sender_account,Receiver_account,Amount,Payment_currency,Received_currency,Sender_bank_location,"
        "Receiver_bank_location,Payment_type,Is_laundering,Laundering_type",
        [
            "10:35:19,2022-10-07,8724731955,2769355426,1459.15,UK pounds,UK pounds,UK,UK,Cash Deposit,0,Normal_Group",
            "10:35:20,2022-10-07,1491989064,8401255335,6019.64,UK pounds,Dirham,UK,UAE,Cross-border,0,Normal_Fan_Out",
            "10:35:20,2022-10-07,1491989064,8401255335,6019.64,UK pounds,Dirham,UK,UAE,Cross-border,0,Normal_Fan_Out",
            "10:35:20,2022-07-07,287305149,4404767002,14328.44,Euro,UK pounds,Germany,UK,Debit card,1,Smurfing",
        ],
    ),
    "paysim": (
        "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud,isFlaggedFraud",
        [
            "1,PAYMENT,9839.64,C1231006815,170136.0,160296.36,M1979787155,0.0,0.0,0,0",
            "1,CASH_IN,1864.28,C1666544295,21249.0,23113.28,C2044282225,5000.0,3135.72,0,0",
            "2,TRANSFER,181.0,C1305486145,181.0,0.0,C553264065,0.0,0.0,1,0",
        ],
    ),
    "berka": (
        '"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"',
        [
            '695247;2378;930101;"PRIJEM";"VKLAD";700.00;700.00;"";;\r',
            '637742;2177;930105;"PRIJEM";"PREVOD Z UCTU";5123.00;5923.00;"DUCHOD";"YZ";"62457513"\r',
            '579373;1972;930107;"VYDAJ";"VYBER";5000.00;3000.00;" ";;\r',
            '9;1972;930131;"PRIJEM";"";19.20;3019.20;"UROK";;\r',
        ],
    ),
}  # fmt: skip
DAYS = [dt.date(1992, 12, 29) + dt.timedelta(7 * week) for week in range(1_600)]
RATES = Rates.of((day, code, (5, 1)) for day in DAYS for code in ("GBP", "EUR", "CZK"))


def through_mapping(name, path, **more):
    terms = {"mapping": load_mapping(folder("streams") / "mappings" / f"{name}.toml"), "rates": RATES}
    return read(path, **(terms | more))


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_set_is_read_through_the_mapping_that_ships(tmp_path, name):
    header, rows = SETS[name]
    path = written(tmp_path / "set.gz", "\n".join([header, *rows]).encode() + b"\n")
    chunks = through_mapping(name, path)
    assert [r.detail for c in chunks for r in c.rejects] == []
    assert sum((c.warnings for c in chunks), Counter()) == {}
    found = pl.concat([c.transactions for c in chunks])
    assert found.height == len(rows) == found["transaction_id"].n_unique()
    look = {"saml-d": saml_d, "paysim": paysim, "berka": berka}[name]
    look(found)


def saml_d(found):
    assert found["instrument"].to_list() == [0, 1, 1, 4]
    assert found["beneficiary_country"].to_list() == ["GB", "AE", "AE", "GB"]
    assert found["executed_at"].to_list()[0] == micros("2022-10-07 09:35:19")  # London, in summer time
    assert found["currency"].to_list() == ["GBP", "GBP", "GBP", "EUR"]


def paysim(found):
    ends = found.select("originator_account", "beneficiary_account").rows()
    assert ends[0] == ("C1231006815", "M1979787155")
    assert ends[1] == ("C2044282225", "C1666544295")  # cash in: the customer is the one who gets it
    assert found["beneficiary_balance_after"].to_list()[1] == 2_311_328
    one = micros("2026-01-01 01:00:00")
    assert found["executed_at"].to_list() == [one, one + 1, one + 3_600_000_000]


def berka(found):
    assert found["instrument"].to_list() == [0, 2, 0, 7]
    assert found["initiated_by"].to_list() == [0, 0, 0, 1]
    ends = [
        "originator_account",
        "originator_institution",
        "beneficiary_account",
        "originator_method",
        "beneficiary_method",
    ]
    assert found.select(ends).rows() == [
        (None, None, "2378", 1, None), ("62457513", "YZ", "2177", None, None), ("1972", None, None, None, 1),
        (None, None, "1972", None, None),
    ]  # fmt: skip
    assert found["time_precision"].unique().to_list() == [2]
    assert found["executed_at"].to_list()[0] == micros("1992-12-31 23:00:00")  # midnight in Prague


def test_every_shipped_mapping_is_read_by_a_test():
    shipped = {path.stem for path in (folder("streams") / "mappings").glob("*.toml")}
    assert shipped == {*SETS, "example"}


def test_the_example_mapping_explains_every_key_and_works(tmp_path):
    path = folder("streams") / "mappings" / "example.toml"
    mapping = load_mapping(path)
    header = (
        "Buchungsnummer;Datum;Uhrzeit;Betrag;Währung;Buchungstag;Textschlüssel;Verwendungszweck;Filiale;"
        "Soll/Haben;Konto;Kunde;Saldo;Gegenkonto;Gegenbank;Gegenname"
    )
    rows = [
        "1;02.03.2026;09:30:00;1.234,50;€;02.03.2026;082;Tagesgeschäft;W1;H;A1;K1;2.000,00;;;",
        "2;03.03.2026;;7,00;€;04.03.2026;004;Miete;;S;A1;K1;1.993,00;B7;BKAUATWW;Müller",
    ]
    feed = written(tmp_path / "feed.csv", "\n".join([header, *rows]).encode("cp1252"))
    (chunk,) = read(feed, mapping=mapping, reporting_currency="EUR", ingest_time_us=NOW)
    assert chunk.rejects == [] and chunk.warnings == {}
    first, second = chunk.transactions.rows(named=True)
    assert (first["amount"], first["instrument"], first["channel"], first["beneficiary_account"]) == (
        123_450,
        0,
        0,
        "A1",
    )
    assert (second["amount"], second["instrument"], second["originator_customer"]) == (700, 2, "K1")
    assert (second["beneficiary_name"], second["booking_date"]) == ("Müller", dt.date(2026, 3, 4))
    assert {first["source"], second["source"]} == {"giro"}
