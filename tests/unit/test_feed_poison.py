"""Every defect of a record has its own code, keeps its bytes, and harms no neighbour."""

from __future__ import annotations

import json

import pytest

from tests.factories import NOW, csv, ndjson, read, rejects, transactions, txn

GOOD = [txn(transaction_id=f"G{n}") for n in range(3)]


def line(**fields) -> bytes:
    return json.dumps(txn(**fields)).encode()


def amount(text: str) -> bytes:
    """A record whose amount is this JSON text, unquoted."""
    return line(amount="@").replace(b'"@"', text.encode())


POISON = [
    ("empty object", b"{}", "field_missing"),
    ("no brace", b'{"transaction_id": "T1"', "not_json"),
    ("bare word", b"{nonsense}", "not_json"),
    ("text", b"hello", "not_json"),
    ("two objects", b"{} {}", "not_json"),
    ("trailing comma", b'{"transaction_id": "T1",}', "not_json"),
    ("single quotes", b"{'transaction_id': 'T1'}", "not_json"),
    ("bad UTF-8", b'{"transaction_id": "\xff\xfe"}', "not_json"),
    ("half a surrogate", b'{"transaction_id": "\\ud800"}', "not_json"),
    ("NaN is not JSON", amount("NaN"), "not_json"),
    ("Infinity is not JSON", amount("Infinity"), "not_json"),
    ("leading zero", amount("007"), "not_json"),
    ("depth bomb", b"[" * 100_000, "not_json"),
    ("depth bomb in a field", b'{"transaction_id": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not_json"),
    ("NUL byte", b"\0", "not_json"),
    ("an array", b"[]", "not_an_object"),
    ("an array of objects", b"[{}]", "not_an_object"),
    ("a number", b"1", "not_an_object"),
    ("a text", b'"T1"', "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("no id", line(transaction_id=None), "field_missing"),
    ("empty id", line(transaction_id=""), "field_missing"),
    ("blank id", line(transaction_id="  "), "field_missing"),
    ("no time", line(executed_at=None), "field_missing"),
    ("no amount", line(amount=None), "field_missing"),
    ("null amount", amount("null"), "field_missing"),
    ("no currency", line(currency=None), "field_missing"),
    ("credit currency alone", line(credit_currency="EUR"), "field_missing"),
    ("numeric id", line(transaction_id=7), "wrong_type"),
    ("boolean id", line(transaction_id=True), "wrong_type"),
    ("numeric account", line(originator_account=12345), "wrong_type"),
    ("fractional account", line(beneficiary_account=1.5), "wrong_type"),
    ("list account", line(originator_account=["A1"]), "wrong_type"),
    ("numeric time", line(executed_at=1_700_000_000), "wrong_type"),
    ("boolean amount", amount("true"), "wrong_type"),
    ("object amount", line(amount={"value": "1"}), "wrong_type"),
    ("numeric currency", line(currency=840), "wrong_type"),
    ("text originator", line(originator="A1"), "wrong_type"),
    ("list originator", line(originator=[]), "wrong_type"),
    ("both spellings differ", line(originator={"account": "X"}), "wrong_type"),
    ("text revision", line(revision="two"), "wrong_type"),
    ("revision zero", line(revision=0), "wrong_type"),
    ("fractional revision", line(revision=1.5), "wrong_type"),
    ("huge revision", line(revision=2**40), "wrong_type"),
    ("boolean revision", line(revision=True), "wrong_type"),
    ("text void", line(void="perhaps"), "wrong_type"),
    ("unknown status", line(status="settled"), "wrong_type"),
    ("unknown relation", line(relation="cousin"), "wrong_type"),
    ("unknown entry side", line(entry_side="left"), "wrong_type"),
    ("unknown precision", line(time_precision="hour"), "wrong_type"),
    ("NUL in an id", line(transaction_id="T\0"), "wrong_type"),
    ("unknown currency", line(currency="QQQ"), "unknown_currency"),
    ("currency name", line(currency="US Dollar"), "unknown_currency"),
    ("unknown credit currency", line(credit_amount="1", credit_currency="ZZZ"), "unknown_currency"),
    ("word", line(amount="ten"), "amount_not_decimal"),
    ("decimal comma", line(amount="1,50"), "amount_not_decimal"),
    ("thousands", line(amount="1,000.00"), "amount_not_decimal"),
    ("hexadecimal", line(amount="0x10"), "amount_not_decimal"),
    ("underscore", line(amount="1_000"), "amount_not_decimal"),
    ("currency sign", line(amount="$5"), "amount_not_decimal"),
    ("Arabic digits", line(amount="١٢"), "amount_not_decimal"),
    ("two points", line(amount="1.2.3"), "amount_not_decimal"),
    ("negative", line(amount="-5.00"), "amount_negative"),
    ("negative number", amount("-5.25"), "amount_negative"),
    ("tiny negative", amount("-1e-30"), "amount_negative"),
    ("zero", line(amount="0"), "amount_zero"),
    ("zero with decimals", line(amount="0.000"), "amount_zero"),
    ("minus zero", amount("-0"), "amount_zero"),
    ("zero number", amount("0.00"), "amount_zero"),
    ("NaN text", line(amount="NaN"), "amount_not_finite"),
    ("Infinity text", line(amount="Infinity"), "amount_not_finite"),
    ("minus inf", line(amount="-inf"), "amount_not_finite"),
    ("1e999", amount("1e999"), "amount_too_large"),
    ("1e999 as text", line(amount="1e999"), "amount_too_large"),
    ("an exponent of a billion", line(amount="1e1000000000"), "amount_too_large"),
    ("nineteen digits", line(amount="1234567890123456789"), "amount_too_large"),
    ("beyond 64 bits", amount("1" + "0" * 30), "amount_too_large"),
    ("five thousand digits", amount("1" + "0" * 5_000), "amount_too_large"),
    ("reporting limit", line(amount="1000000000000.00"), "amount_too_large"),
    ("third decimal", line(amount="1.005"), "amount_decimals"),
    ("third decimal of a number", amount("1.005"), "amount_decimals"),
    ("1e-3", amount("1e-3"), "amount_decimals"),
    ("far decimal", line(amount="1." + "0" * 30 + "1"), "amount_decimals"),
    ("yen has none", line(amount="100.5", currency="JPY"), "amount_decimals"),
    ("fourth of a dinar", line(amount="1.0005", currency="KWD"), "amount_decimals"),
    ("credit amount", line(credit_amount="-1"), "amount_negative"),
    ("nobody", line(originator_account=None, beneficiary_account=None), "no_party"),
    ("names only", line(originator_account=None, beneficiary_account="", originator_name="Ann"), "no_party"),
    ("thirteenth month", line(executed_at="2026-13-01T00:00:00Z"), "time_unreadable"),
    ("30 February", line(executed_at="2026-02-30T00:00:00Z"), "time_unreadable"),
    ("29 February of no leap year", line(executed_at="2026-02-29T00:00:00Z"), "time_unreadable"),
    ("hour 24", line(executed_at="2026-03-02T24:00:00Z"), "time_unreadable"),
    ("second 61", line(executed_at="2026-03-02T00:00:61Z"), "time_unreadable"),
    ("word", line(executed_at="yesterday"), "time_unreadable"),
    ("slashes", line(executed_at="02/03/2026 10:00"), "time_unreadable"),
    ("no seconds' digits", line(executed_at="2026-03-02T09:30:xxZ"), "time_unreadable"),
    ("offset without colon", line(executed_at="2026-03-02T09:30:00+0100"), "time_unreadable"),
    ("offset of 99 hours", line(executed_at="2026-03-02T09:30:00+99:00"), "time_unreadable"),
    ("a point and nothing", line(executed_at="2026-03-02T09:30:00.Z"), "time_unreadable"),
    ("no offset", line(executed_at="2026-03-02T09:30:00"), "time_no_offset"),
    ("a date", line(executed_at="2026-03-02"), "time_no_offset"),
    ("1989", line(executed_at="1989-12-31T23:59:59Z"), "time_before_1990"),
    ("year 1", line(executed_at="0001-01-01T00:00:00Z"), "time_before_1990"),
    ("next year", line(executed_at="2027-09-01T00:00:00Z"), "time_in_future"),
    ("year 9999", line(executed_at="9999-12-31T23:59:59Z"), "time_in_future"),
    ("no rate", line(currency="EUR"), "no_rate"),
    ("no rate of the credit", line(credit_amount="90", credit_currency="EUR"), "no_rate"),
]  # fmt: skip


def test_the_corpus_is_large_and_knows_every_code_of_a_feed():
    codes = {code for _, _, code in POISON}
    assert len(POISON) >= 60
    assert len(codes) == 17


@pytest.mark.parametrize(("bad", "code"), [pytest.param(bad, code, id=name) for name, bad, code in POISON])
def test_a_bad_line_is_refused_alone(bad, code, tmp_path):
    path = ndjson(tmp_path / "feed.ndjson", [GOOD[0], GOOD[1], bad, GOOD[2]])
    (chunk,) = read(path)
    (reject,) = chunk.rejects
    assert str(reject.code) == code, reject.detail
    assert (reject.original, reject.place, reject.source) == (bad, 3, "feed.ndjson")
    assert reject.detail and len(reject.detail) < 250
    assert chunk.transactions["transaction_id"].to_list() == ["G0", "G1", "G2"]
    assert chunk.read == 4


def test_the_whole_corpus_at_once_gives_the_same_codes(tmp_path):
    path = ndjson(tmp_path / "all.ndjson", [one for _, bad, _ in POISON for one in (bad, GOOD[0])])
    for chunk in (7, 100_000):
        found = {reject.place: str(reject.code) for reject in rejects(path, chunk=chunk)}
        assert found == {2 * number + 1: code for number, (_, _, code) in enumerate(POISON)}
        assert transactions(path, chunk=chunk).height == len(POISON)


def test_ten_megabytes_in_one_line(tmp_path):
    huge = line(purpose="x" * 10_000_000)
    path = ndjson(tmp_path / "feed.ndjson", [GOOD[0], huge, b"x" * 10_000_000, GOOD[1]])
    (chunk,) = read(path)
    assert chunk.transactions.height == 3
    assert [str(reject.code) for reject in chunk.rejects] == ["not_json"]


CSV_POISON = [
    ("too few cells", b"T1,2026-03-02T09:30:00Z", "not_an_object"),
    ("too many cells", b"T1,2026-03-02T09:30:00Z,1,USD,A,B,C", "not_an_object"),
    ("bad UTF-8", b"T\xff,2026-03-02T09:30:00Z,1,USD,A,B", "not_an_object"),
    ("a quote never closed", b'T1,2026-03-02T09:30:00Z,1,USD,"A,B', "not_an_object"),
    ("no amount", b"T1,2026-03-02T09:30:00Z,,USD,A,B", "field_missing"),
    ("word", b"T1,2026-03-02T09:30:00Z,ten,USD,A,B", "amount_not_decimal"),
    ("nobody", b"T1,2026-03-02T09:30:00Z,1,USD,,", "no_party"),
]


@pytest.mark.parametrize(("bad", "code"), [pytest.param(bad, code, id=name) for name, bad, code in CSV_POISON])
def test_a_bad_row_is_refused_alone(bad, code, tmp_path):
    path = csv(tmp_path / "feed.csv", [{k: v for k, v in r.items() if k != "instrument"} for r in GOOD])
    lines = path.read_bytes().splitlines()
    lines.insert(2, bad)
    path.write_bytes(b"\n".join(lines) + b"\n")
    (reject,) = rejects(path)
    assert (str(reject.code), reject.place, reject.original) == (code, 3, bad)
    good = transactions(path)
    assert good["transaction_id"].to_list() == ["G0", "G1", "G2"]
    assert good["place"].to_list() == [2, 4, 5]


FINE = [
    ("trailing zeros", txn(amount="1.5000"), 150),
    ("no decimals", txn(amount="7"), 700),
    ("an exponent", txn(amount="1e2"), 10_000),
    ("a plus sign", txn(amount="+1.00"), 100),
    ("yen", txn(amount="100.000", currency="JPY"), 100),
    ("dinar", txn(amount="1.005", currency="KWD"), 1_005),
    ("small letters", txn(currency="usd"), 10_000),
    ("a leap second", txn(executed_at="2026-03-02T09:29:60Z"), 10_000),
    ("a day ahead", txn(executed_at="2026-09-02T21:20:00Z"), 10_000),
    ("the first of 1990", txn(executed_at="1990-01-01T00:00:00Z"), 10_000),
    ("a conductor alone", txn(originator_account=None, beneficiary_account=None, conductor="C1"), 10_000),
    ("a customer alone", txn(originator_account=None, beneficiary_account=None, originator_customer="C1"), 10_000),
]


@pytest.mark.parametrize(("record", "minor"), [pytest.param(r, minor, id=name) for name, r, minor in FINE])
def test_what_is_odd_but_readable_passes(record, minor, tmp_path):
    from aml.feed.rates import default_rates

    rates = default_rates("sample", "USD")
    (chunk,) = read(ndjson(tmp_path / "feed.ndjson", [record | {"executed_at": "2026-01-05T00:00:00Z"}]), rates=rates)
    assert (chunk.rejects, chunk.transactions["amount"].to_list()) == ([], [minor])
    again = read(ndjson(tmp_path / "again.ndjson", [record | {"currency": "USD", "amount": "1"}]))
    assert again[0].rejects == []


WARNED = [
    ("instrument", "carrier pigeon", 8),
    ("channel", "telex", 6),
    ("initiated_by", "robot", 0),
    ("originator_method", "barter", None),
    ("booking_date", "02.03.2026", None),
    ("value_date", 20260302, None),
    ("originator_balance_after", "plenty", None),
    ("originator_country", "Germany", None),
    ("purpose", 17, None),
    ("intermediaries", "none", None),
    ("merchant_category", 5411, None),
    ("source_sequence", "first", None),
]


@pytest.mark.parametrize(("name", "value", "left"), WARNED)
def test_a_defect_that_no_rule_reads_is_a_warning(name, value, left, tmp_path):
    (chunk,) = read(ndjson(tmp_path / "feed.ndjson", [txn(**{name: value}), GOOD[0]]))
    assert chunk.rejects == []
    assert chunk.warnings == {name: 1}
    assert chunk.transactions[name].to_list()[0] == left
    assert json.loads(chunk.transactions["extra"][0]) == {name: value}


def test_a_void_needs_its_id_only(tmp_path):
    bare = {"transaction_id": "T1", "void": True}
    odd = txn(void=True, amount="-5", currency="QQQ", executed_at="2099-01-01T00:00:00Z", originator_account=None)
    (chunk,) = read(ndjson(tmp_path / "feed.ndjson", [bare, odd, {"void": True}]))
    assert chunk.transactions["void"].to_list() == [True, True]
    assert chunk.transactions["executed_at"].to_list() == [None, None]
    assert [str(reject.code) for reject in chunk.rejects] == ["field_missing"]


def test_times_far_ahead_are_judged_by_the_clock_given(tmp_path):
    path = ndjson(tmp_path / "feed.ndjson", [txn()])
    assert [str(r.code) for r in rejects(path, ingest_time_us=NOW - 365 * 86_400_000_000)] == ["time_in_future"]
