"""Dated rates: the last of the seven days before counts, converted exactly and rounded half to even, once."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.domain.errors import AmlError
from aml.domain.money import ISO_4217, MOST_REPORTED
from aml.feed.rates import NO_RATES, Rates, convert, currencies, default_rates, load_rates
from tests.factories import ndjson, rejects, transactions, txn

DAY = dt.date(2026, 3, 2)
EPOCH = dt.date(1970, 1, 1)


def rates_file(tmp_path, *lines):
    path = tmp_path / "rates.csv"
    path.write_text("\n".join(["date,currency,rate", *lines]) + "\n", encoding="utf-8")
    return path


def value(rates, amount, currency="EUR", day=DAY, reporting="USD"):
    rows = [np.array([n], np.int64) for n in (amount, (day - EPOCH).days)]
    got = convert(rows[0], pl.Series([currency]), rows[1], np.ones(1, np.bool_), rates, reporting)
    return None if got.no_rate[0] or got.too_large[0] else int(got.value[0])


@pytest.mark.parametrize(("days", "found"), [(-1, None), (0, 11_000), (1, 11_000), (7, 11_000), (8, None), (40, None)])
def test_a_rate_holds_for_seven_days(tmp_path, days, found):
    rates = load_rates(rates_file(tmp_path, "2026-03-02,EUR,1.1"))
    assert value(rates, 10_000, day=DAY + dt.timedelta(days)) == found


def test_the_latest_rate_counts_and_of_one_date_the_later_line(tmp_path):
    rates = load_rates(
        rates_file(tmp_path, "2026-03-05,EUR,3", "2026-03-02,EUR,1", "2026-03-03,EUR,9", "2026-03-03,EUR,2")
    )
    assert [value(rates, 100, day=DAY + dt.timedelta(n)) for n in range(5)] == [100, 200, 200, 300, 300]


def test_records_without_a_rate_are_refused_and_kept_apart(tmp_path):
    rates = load_rates(rates_file(tmp_path, "2026-02-23,EUR,1.5"))
    records = [txn(currency="EUR"), txn(transaction_id="T2", currency="EUR", executed_at="2026-03-03T00:00:00Z"), txn()]
    path = ndjson(tmp_path / "feed", records)
    assert transactions(path, rates=rates)["debit_value"].to_list() == [15_000, 10_000]
    (refused,) = rejects(path, rates=rates)
    assert (str(refused.code), refused.detail) == (
        "no_rate", "amount: no rate of EUR in USD within 7 days: give it with --rates",
    )  # fmt: skip


def test_both_legs_are_valued_by_what_each_end_gets(tmp_path):
    rates = load_rates(rates_file(tmp_path, "2026-03-02,EUR,1.5", "2026-03-02,JPY,0.01", "2026-03-02,KWD,3"))
    records = [
        txn(currency="EUR"),
        txn(credit_amount="9000", credit_currency="JPY"),
        txn(credit_amount="30.125", credit_currency="KWD"),
        txn(credit_amount="99.00"),
    ]
    found = transactions(ndjson(tmp_path / "feed", records), rates=rates)
    assert found.select("debit_value", "credit_value").rows() == [
        (15_000, 15_000), (10_000, 9_000), (10_000, 9_038), (10_000, 9_900),
    ]  # fmt: skip


@given(
    st.integers(1, 10**17),
    st.decimals("0.000001", "99999", places=6),
    st.sampled_from(["EUR", "JPY", "KWD", "XBT"]),
    st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_conversion_is_exact_and_rounds_half_to_even(amount, rate, currency, reporting):
    known = currencies()
    _, digits, exponent = rate.as_tuple()
    rates = Rates.of([(DAY, currency, (int("".join(map(str, digits))), -exponent))])
    if currency == reporting:
        return
    exact = Decimal(amount).scaleb(-known[currency]) * rate
    wanted = int(exact.scaleb(known[reporting]).quantize(Decimal(1), ROUND_HALF_EVEN))
    assert value(rates, amount, currency, reporting=reporting) == (wanted if wanted < MOST_REPORTED else None)


def test_a_column_is_converted_as_its_values_are():
    rng = np.random.default_rng(7)
    n = 4_000
    amount, day = rng.integers(1, 10**15, n), (DAY - EPOCH).days + rng.integers(-3, 12, n)
    names = rng.choice(["EUR", "USD", "JPY", "KWD"], n)
    rates = Rates.of((DAY + dt.timedelta(k), c, (10_007 + k, 4)) for k in (0, 2) for c in ("EUR", "JPY", "KWD"))
    wanted = rng.random(n) < 0.9
    got = convert(amount, pl.Series(names), day, wanted, rates, "USD")
    for row in range(n):
        one = value(rates, int(amount[row]), str(names[row]), EPOCH + dt.timedelta(int(day[row])))
        told = None if got.no_rate[row] or got.too_large[row] else int(got.value[row])
        assert told == (one if wanted[row] else 0)


WRONG = [
    ("2026-02-30,EUR,1", ":2: date: '2026-02-30' is not a date: write 2026-03-02"),
    ("2026-03-02,EURO,1", ":2: currency: 'EURO' is unknown: write an ISO 4217 code"),
    ("2026-03-02,EUR,1,1", ":2: 4 cells instead of 3"),
    ("2026-03-02,EUR,one", ":2: rate: 'one' is not a decimal: write 1.0850"),
    ("2026-03-02,EUR,-1", ":2: rate: '-1' must be over 0"),
    ("2026-03-02,EUR,NaN", ":2: rate: 'NaN' must be over 0"),
    ("2026-03-02,EUR,1.0000000000000001", ":2: rate: '1.0000000000000001' has more than 15 digits"),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_a_wrong_rate_names_file_line_and_field(tmp_path, line, said):
    path = rates_file(tmp_path, line)
    with pytest.raises(AmlError) as error:
        load_rates(path)
    assert str(error.value) == f"{path}{said}"


def test_a_wrong_header_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("day,code,value\n")
    with pytest.raises(AmlError, match=r"x\.csv:1: the header must be date,currency,rate, not day,code,value"):
        load_rates(tmp_path / "x.csv")
    with pytest.raises(AmlError, match=r"none\.csv: cannot be read: No such file or directory: check the path"):
        load_rates(tmp_path / "none.csv")


@pytest.mark.parametrize("kind", ["sample", "amlworld"])
def test_the_rates_that_ship_can_be_crossed_into_another_currency(kind):
    dollars, yen = default_rates(kind, "USD"), default_rates(kind, "JPY")
    day = EPOCH + dt.timedelta(int(dollars.days["EUR"][0]))
    there = value(dollars, 1_000_000, "EUR", day)
    back = value(yen, there, "USD", day, "JPY")
    assert value(yen, 1_000_000, "EUR", day, "JPY") == pytest.approx(back, rel=1e-5)
    assert "JPY" not in yen.days
    assert NO_RATES.days == {}


def test_amlworlds_rates_cover_its_eighteen_days_and_all_its_currencies():
    from aml.feed.public import _CURRENCIES

    rates = default_rates("amlworld", "USD")
    for code in set(_CURRENCIES.values()) - {"USD"}:
        for day in range(18):
            assert value(rates, 10**6, code, dt.date(2022, 9, 1) + dt.timedelta(day)), code


def test_currencies_know_their_decimals():
    known = currencies()
    assert (known["JPY"], known["KWD"], known["USD"], known["XBT"], known["CLF"]) == (0, 3, 2, 8, 4)
    assert set(known) > set(ISO_4217)


def test_a_wrong_line_among_the_currencies_is_named(tmp_path):
    path = tmp_path / "currencies.csv"
    path.write_text("code,decimals,name\nABC,2,Own\nabc,2,Small\n")
    with pytest.raises(AmlError, match=r"currencies\.csv:3: must be a code of three capitals, decimals 0 to 8"):
        currencies(path)
