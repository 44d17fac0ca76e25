"""What the simulator plants is what its typology says: each attempt is read back from the rows alone."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from aml.feed.simulate import TYPOLOGIES, Bank, SimulateSettings, simulate

Row = dict[str, Any]
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
T = 10_000.0
EACH = 20
ABROAD = {"PA", "MM", "IR"}


@pytest.fixture(scope="module")
def bank() -> Bank:
    return simulate(SimulateSettings(transactions=200_000, attempts=EACH * len(TYPOLOGIES)))


@pytest.fixture(scope="module")
def attempts(bank) -> dict[str, list[list[Row]]]:
    """Rows of each attempt in order of time, by typology; degenerate attempts left out."""
    named = bank.parties.filter(pl.col("role") == "owner").select("account", "kind", "opened").unique("account")
    rows = bank.truth.filter(~pl.col("degenerate")).drop("executed_at").join(bank.transactions, on="transaction_id")
    for end in ("originator", "beneficiary"):
        ends = named.rename({"account": f"{end}_account", "kind": f"{end}_kind", "opened": f"{end}_opened"})
        rows = rows.join(ends, on=f"{end}_account", how="left")
    local = rows["executed_at"].dt.convert_time_zone("America/New_York")
    rows = rows.with_columns(local.dt.date().alias("day"), pl.col("amount").cast(pl.Float64))
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows.sort("executed_at", "transaction_id").iter_rows(named=True):
        found[row["typology"]][row["attempt"]].append(row)
    return {name: list(by.values()) for name, by in found.items()}


def cash_in(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r["instrument"] == "cash" and r["beneficiary_account"]]


def cash_out(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r["instrument"] == "cash" and r["originator_account"]]


def ends(rows: list[Row], end: str) -> set[str]:
    return {r[f"{end}_account"] for r in rows}


def total(rows: list[Row]) -> float:
    return sum(r["amount"] for r in rows)


def by_day(rows: list[Row]) -> dict[dt.date, list[Row]]:
    days: dict[dt.date, list[Row]] = defaultdict(list)
    for row in rows:
        days[row["day"]].append(row)
    return days


def one_account(rows: list[Row]) -> bool:
    return len(ends(rows, "beneficiary")) == 1


def kept_under(rows: list[Row]) -> bool:
    units = [total(of_day) for of_day in by_day(cash_in(rows)).values()]
    return one_account(cash_in(rows)) and sum(0.4 * T <= unit <= T for unit in units) >= 3


def slow_structuring(rows: list[Row]) -> bool:
    put = cash_in(rows)
    return one_account(put) and len(put) >= 10 and total(put) > 1.2 * T and max(r["amount"] for r in put) < T


def same_unit(rows: list[Row]) -> bool:
    return any(
        total(lot) > T and max(r["amount"] for r in lot) <= T and len({r["branch"] for r in lot}) >= 2
        for lot in by_day(cash_in(rows)).values()
    )


def micro_atm(rows: list[Row]) -> bool:
    put = [r for r in cash_in(rows) if r["channel"] == "atm" and r["amount"] < 0.3 * T]
    return one_account(put) and len(put) >= 6 and len({r["terminal"] for r in put}) >= 2


def smurfing(rows: list[Row]) -> bool:
    put = cash_in(rows)
    people, recipients = {r["conductor"] for r in put}, {r["beneficiary_customer"] for r in put}
    return (len(people) >= 3 and len(recipients) == 1) or (len(people) == 1 and len(recipients) >= 3)


def structured_withdrawals(rows: list[Row]) -> bool:
    drawn = cash_out(rows)
    funded = [r for r in rows if r["beneficiary_account"] and r["instrument"] == "wire"]
    return len(by_day(drawn)) >= 3 and max(r["amount"] for r in drawn) <= T and total(funded) >= 0.95 * total(drawn)


def sub_record_abroad(rows: list[Row]) -> bool:
    small = [r for r in rows if r["amount"] < 3_000 and r["beneficiary_customer"]]
    home = [r for r in rows if r["beneficiary_country"] not in (None, "US")]
    return len(small) >= 5 and total(home) >= 0.6 * total(small) and home[0]["executed_at"] > small[-1]["executed_at"]


def cash_for_instruments(rows: list[Row]) -> bool:
    bought = [r for r in rows if r["beneficiary_method"] == "monetary_instrument" and r["originator_method"] == "cash"]
    return len(bought) >= 3 and all(3_000 <= r["amount"] <= T for r in bought)


def non_cash_structuring(rows: list[Row]) -> bool:
    limits = [[r for r in rows if 0.95 * limit < r["amount"] < limit] for limit in (10_000, 3_000, 1_000)]
    return any(len(under) >= 5 and len(ends(under, "originator")) == 1 for under in limits)


def pass_through(rows: list[Row]) -> bool:
    (account,) = ends(rows, "beneficiary") & ends(rows, "originator")
    into, out = ([r for r in rows if r[f"{e}_account"] == account] for e in ("beneficiary", "originator"))
    soon = out[-1]["executed_at"] - into[-1]["executed_at"] < 48 * HOUR
    return soon and 0.6 <= total(out) / total(into) <= 1.05


def chain(rows: list[Row]) -> bool:
    accounts = [rows[0]["originator_account"], *(r["beneficiary_account"] for r in rows)]
    linked = all(one["beneficiary_account"] == two["originator_account"] for one, two in pairwise(rows))
    kept = all(0.85 <= two["amount"] / one["amount"] <= 1.1 for one, two in pairwise(rows))
    return len(rows) >= 3 and linked and kept and len(set(accounts)) == len(accounts)


def rapid_chain(rows: list[Row]) -> bool:
    return chain(rows) and rows[-1]["executed_at"] - rows[0]["executed_at"] < 3 * HOUR


def round_trip(rows: list[Row]) -> bool:
    linked = all(one["beneficiary_account"] == two["originator_account"] for one, two in pairwise(rows))
    return linked and rows[-1]["beneficiary_account"] == rows[0]["originator_account"]


def fan_in(rows: list[Row]) -> bool:
    shape = rows[: rows[0]["shape_rows"]]
    return one_account(shape) and len(ends(shape, "originator")) >= 3


def fan_out(rows: list[Row]) -> bool:
    shape = rows[-rows[0]["shape_rows"] :]
    return len(ends(shape, "originator")) == 1 and len(ends(shape, "beneficiary")) >= 3


def scatter_gather(rows: list[Row]) -> bool:
    middles = ends(rows, "originator") & ends(rows, "beneficiary")
    (origin,), (end,) = ends(rows, "originator") - middles, ends(rows, "beneficiary") - middles
    out = {r["beneficiary_account"]: r for r in rows if r["originator_account"] == origin}
    back = {r["originator_account"]: r for r in rows if r["beneficiary_account"] == end}
    forwards = all(back[m]["amount"] >= 0.8 * out[m]["amount"] for m in middles)
    return set(out) == set(back) == middles and forwards


def gather_scatter(rows: list[Row]) -> bool:
    (centre,) = ends(rows, "beneficiary") & ends(rows, "originator")
    into, out = ([r for r in rows if r[f"{e}_account"] == centre] for e in ("beneficiary", "originator"))
    return len(into) + len(out) == len(rows) and into[-1]["executed_at"] < out[0]["executed_at"]


def bipartite(rows: list[Row]) -> bool:
    return not ends(rows, "originator") & ends(rows, "beneficiary")


def stack(rows: list[Row]) -> bool:
    middle = ends(rows, "originator") & ends(rows, "beneficiary")
    one = [r for r in rows if r["beneficiary_account"] in middle]
    two = [r for r in rows if r["originator_account"] in middle]
    return bool(middle) and len(one) == len(two) and len(one) + len(two) == len(rows)


def funnel(rows: list[Row]) -> bool:
    put, leaves = cash_in(rows), cash_out(rows)
    regions = {r["branch"].split("-")[0] for r in put}
    elsewhere = regions.isdisjoint(r["branch"].split("-")[0] for r in leaves)
    return len({r["branch"] for r in put}) >= 2 and len(put) >= 3 and elsewhere


def young_mule(rows: list[Row]) -> bool:
    (account,) = {r["beneficiary_account"] for r in rows if r["beneficiary_opened"]}
    opened = next(r["beneficiary_opened"] for r in rows if r["beneficiary_opened"])
    payers = ends([r for r in rows if r["beneficiary_account"] == account], "originator")
    return len(payers) >= 3 and dt.timedelta() <= rows[0]["day"] - opened <= 90 * DAY


def u_turn(rows: list[Row]) -> bool:
    return all(
        into["originator_country"] != "US"
        and out["beneficiary_country"] != "US"
        and 0.85 <= out["amount"] / into["amount"] <= 1.05
        and out["executed_at"] - into["executed_at"] < 5 * DAY
        for into, out in zip(rows[::2], rows[1::2], strict=True)
    )


def crypto_in_out(rows: list[Row]) -> bool:
    into, out = rows[::2], rows[1::2]
    return all(r["originator_kind"] == "exchange" for r in into) and all(
        r["beneficiary_kind"] == "exchange" for r in out
    )


def dormant_wakes(rows: list[Row]) -> bool:
    (sleeper,) = {r["beneficiary_customer"] for r in rows} - {None}
    return sleeper in {r["originator_customer"] for r in rows}


def out_of_profile(rows: list[Row]) -> bool:
    return len(rows) >= 3 and total(rows) >= 10_000 and rows[-1]["executed_at"] - rows[0]["executed_at"] < 30 * DAY


def risky_corridor(rows: list[Row]) -> bool:
    return {r["beneficiary_country"] for r in rows} <= ABROAD


def round_amounts(rows: list[Row]) -> bool:
    return len(rows) >= 5 and all(r["amount"] % 1_000 == 0 for r in rows)


@pytest.mark.parametrize("typology", sorted(TYPOLOGIES))
def test_every_attempt_is_of_its_typology(attempts, typology):
    is_one = globals()[typology]
    whole = attempts[typology]
    if typology == "round_trip":  # a ring of two that turns several times is told by its pairs
        whole = [rows for rows in whole if len(ends(rows, "originator")) > 2]
    assert len(whole) >= 5
    assert [rows for rows in whole if not is_one(rows)] == []


def test_nothing_else_passes_for_one_of_the_shapes(attempts):
    """The readers above tell typologies apart: a chain is no cycle, a fan no chain, cash no wire."""
    assert not any(round_trip(rows) for rows in attempts["chain"])
    assert not any(chain(rows) for rows in attempts["round_trip"])
    assert not any(rapid_chain(rows) for rows in attempts["chain"])
    assert not any(same_unit(rows) for rows in attempts["structured_withdrawals"])
    assert not any(smurfing(rows) for rows in attempts["kept_under"])


def test_rings_of_two_turn_at_least_three_times(attempts):
    two = [rows for rows in attempts["round_trip"] if len(ends(rows, "originator")) == 2]
    assert two and all(len(rows) >= 6 and round_trip(rows) for rows in two)


def test_who_wakes_slept_for_half_a_year(bank, attempts):
    for rows in attempts["dormant_wakes"]:
        sleeper = next(r["beneficiary_customer"] for r in rows if r["beneficiary_customer"])
        own = bank.transactions.filter(
            (pl.col("originator_customer") == sleeper) | (pl.col("beneficiary_customer") == sleeper)
        )
        before = own.filter(pl.col("executed_at") < rows[0]["executed_at"])["executed_at"]
        assert len(before) >= 2 and rows[0]["executed_at"] - before.max() > 180 * DAY


def test_sizes_spans_and_amounts_are_those_of_published_attempts():
    """Medians of rows, hours and amounts as measured on AMLworld's pattern files, degenerate attempts included."""
    bank = simulate(SimulateSettings(transactions=500_000, attempts=2_500))
    rows = bank.truth.drop("executed_at").join(bank.transactions, on="transaction_id").sort("executed_at")
    spans = rows.group_by("typology", "attempt").agg(
        pl.col("shape_rows").first(),
        hours=(pl.col("executed_at").max() - pl.col("executed_at").min()).dt.total_minutes() / 60,
    )
    shape = {
        "fan_out": (5, 9, 40, 100), "fan_in": (6, 10, 45, 105), "round_trip": (3, 5, 40, 100), "chain": (2, 4, 15, 60),
        "bipartite": (3, 5, 12, 36), "stack": (8, 14, 55, 90), "scatter_gather": (10, 18, 70, 110),
        "gather_scatter": (10, 18, 115, 185),
    }  # fmt: skip
    for name, (least, most, soon, late) in shape.items():
        of_one = spans.filter(typology=name)
        assert least <= of_one["shape_rows"].median() <= most, name
        assert soon <= of_one["hours"].median() <= late, name
        assert of_one["shape_rows"].min() <= 2 and of_one["shape_rows"].max() >= 9, name
    shapes = rows.filter(pl.col("typology").is_in(list(shape)))
    assert 5_000 < shapes["amount"].cast(pl.Float64).median() < 14_000
    crossing = shapes["originator_institution"] != shapes["beneficiary_institution"]
    assert crossing.mean() > 0.93


def test_hardly_anybody_takes_part_twice():
    bank = simulate(SimulateSettings(transactions=500_000))
    rows = bank.truth.join(bank.transactions, on="transaction_id")
    taking = pl.concat([rows.select("attempt", account=f"{end}_account") for end in ("originator", "beneficiary")])
    times = taking.drop_nulls().unique().group_by("account").len()["len"]
    assert 0.003 < (times > 1).mean() < 0.08


def test_the_clocks_change_does_not_turn_the_order_of_an_attempt():
    """In an attempt that runs over the night of 8 March 2026 each hop still follows the one before."""
    bank = simulate(SimulateSettings(transactions=20_000, days=70, attempts=400))
    rows = bank.truth.filter(typology="rapid_chain", degenerate=False).drop("executed_at")
    for _, attempt in rows.join(bank.transactions, on="transaction_id").sort("executed_at").group_by("attempt"):
        accounts = attempt["beneficiary_account"].to_list()[:-1]
        assert accounts == attempt["originator_account"].to_list()[1:]


@pytest.mark.parametrize(("profile", "zone", "currency"), [
    ("us", "America/New_York", "USD"), ("ca", "America/Toronto", "CAD"), ("au", "Australia/Sydney", "AUD"),
])  # fmt: skip
def test_a_bank_stands_in_its_profiles_country(profile, zone, currency):
    bank = simulate(SimulateSettings(transactions=5_000, days=30, profile=profile))
    assert bank.transactions["currency"].unique().to_list() == [currency]
    assert bank.parties["country"].unique().to_list() == [profile.upper()]
    counter = bank.transactions.filter(pl.col("channel") == "branch", pl.col("relation").is_null())
    hours = counter["executed_at"].dt.convert_time_zone(zone).dt.hour()
    assert hours.min() >= 9 and hours.max() <= 17
    assert ZoneInfo(zone).key == zone
