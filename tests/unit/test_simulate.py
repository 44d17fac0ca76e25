"""The simulated bank: one seed one bank, its clean twin, valid rows, ordinary habits."""

import datetime
from itertools import pairwise

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.feed.simulate import TYPOLOGIES, Bank, SimulateSettings, simulate

SMALL = SimulateSettings(transactions=12_000, days=60, attempts=40)
ENDS = ("originator", "beneficiary")


@pytest.fixture(scope="module")
def bank() -> Bank:
    return simulate(SimulateSettings())


@pytest.fixture(scope="module")
def ordinary(bank: Bank) -> pl.DataFrame:
    return bank.transactions.join(bank.truth, on="transaction_id", how="anti")


def test_one_seed_one_bank():
    one, again, other = simulate(SMALL), simulate(SMALL), simulate(SimulateSettings(2, 12_000, 60, attempts=40))
    assert one.transactions.equals(again.transactions)
    assert one.parties.equals(again.parties)
    assert one.truth.equals(again.truth)
    assert not set(one.transactions["transaction_id"]) <= set(other.transactions["transaction_id"])


def test_the_clean_twin_is_the_same_life_without_what_was_planted():
    planted = simulate(SMALL)
    clean = simulate(SimulateSettings(transactions=12_000, days=60, attempts=40, launderers=False))
    assert clean.truth.is_empty()
    assert clean.truth.schema == planted.truth.schema
    left = planted.transactions.join(planted.truth, on="transaction_id", how="anti", maintain_order="left")
    assert left.equals(clean.transactions)
    assert planted.parties.equals(clean.parties)


def test_more_attempts_change_nothing_of_ordinary_life():
    few, many = (simulate(SimulateSettings(transactions=12_000, days=60, attempts=n)) for n in (3, 90))
    without = [
        b.transactions.join(b.truth, on="transaction_id", how="anti", maintain_order="left") for b in (few, many)
    ]
    assert without[0].equals(without[1])


def test_every_typology_is_planted_about_once_in_a_thousand_rows(bank):
    assert set(bank.truth["typology"]) == set(TYPOLOGIES)
    assert 0.0007 < bank.truth.height / bank.transactions.height < 0.0016
    assert bank.truth["degenerate"].sum() == 0  # the first of each typology is whole


def test_a_third_of_the_later_shapes_is_degenerate():
    truth = simulate(SimulateSettings(transactions=20_000, days=60, attempts=1_500)).truth
    shapes = ("fan_in", "fan_out", "round_trip", "chain", "bipartite", "stack", "scatter_gather", "gather_scatter")
    attempts = truth.filter(pl.col("typology").is_in(shapes)).unique("attempt")
    assert 0.18 < attempts["degenerate"].mean() < 0.35


def test_about_as_many_rows_as_asked_for(bank):
    assert 195_000 <= bank.transactions.height <= 215_000
    for days in (30, 365):
        assert 190_000 <= simulate(SimulateSettings(days=days)).transactions.height <= 220_000


def test_rows_are_in_order_and_ids_unique(bank):
    rows = bank.transactions
    assert rows.select("executed_at", "transaction_id").equals(
        rows.select("executed_at", "transaction_id").sort(pl.all())
    )
    assert rows["transaction_id"].n_unique() == rows.height
    assert set(bank.truth["transaction_id"]) <= set(rows["transaction_id"])
    assert bank.truth["transaction_id"].n_unique() == bank.truth.height


def test_ids_do_not_tell_what_was_planted(bank):
    rows = bank.transactions.with_columns(
        number=pl.col("transaction_id").str.slice(1).cast(pl.Int64),
        planted=pl.col("transaction_id").is_in(bank.truth["transaction_id"].implode()),
    )
    halves = rows.group_by("planted").agg((pl.col("number") < (1 << 29)).mean().alias("low"), pl.col("number").mean())
    assert all(0.35 < low < 0.65 for low in halves["low"])
    assert rows["transaction_id"].str.len_bytes().unique().to_list() == [11]


def test_every_row_is_a_transaction_of_version_1(bank):
    rows = bank.transactions
    assert rows.schema["executed_at"] == pl.Datetime("us", "UTC")
    assert rows.schema["amount"] == pl.Decimal(18, 2)
    assert rows["amount"].min() > 0
    assert (rows["amount"].cast(pl.Float64) % 1 != 0).mean() > 0.3  # cents survive
    for required in ("transaction_id", "institution", "executed_at", "amount", "currency", "instrument", "channel"):
        assert rows[required].null_count() == 0
    nobody = pl.all_horizontal(pl.col(f"{end}_{what}").is_null() for end in ENDS for what in ("account", "customer"))
    assert rows.filter(nobody).is_empty()
    assert rows.filter(pl.col("originator_account") == pl.col("beneficiary_account")).is_empty()


def test_cash_has_one_end_and_everything_else_two(bank):
    is_cash = pl.col("instrument") == "cash"
    cash, rest = bank.transactions.filter(is_cash), bank.transactions.filter(~is_cash)
    ends = cash.select(sum(pl.col(f"{end}_account").is_not_null().cast(pl.Int8) for end in ENDS)).to_series()
    bought = cash["beneficiary_method"] == "monetary_instrument"
    assert set(ends.filter(~bought.fill_null(False))) == {1}
    assert set(ends.filter(bought.fill_null(False))) <= {0}
    assert cash.filter(pl.col("beneficiary_account").is_not_null())["originator_method"].unique().to_list() == ["cash"]
    for end in ENDS:
        assert rest[f"{end}_account"].null_count() == 0
        assert rest[f"{end}_institution"].null_count() == 0


def test_our_bank_has_an_end_of_every_row(bank):
    seen = pl.any_horizontal((pl.col(f"{end}_institution") == "main").fill_null(False) for end in ENDS)
    bought = (pl.col("beneficiary_method") == "monetary_instrument").fill_null(False)
    assert bank.transactions.filter(~seen & ~bought).is_empty()


def test_our_accounts_are_those_of_the_party_table(bank):
    owners = bank.parties.filter(pl.col("role") == "owner", pl.col("party_institution") == "main")
    assert owners["account"].n_unique() == owners.height
    for end in ENDS:
        ours = bank.transactions.filter(pl.col(f"{end}_customer").is_not_null(), pl.col(f"{end}_account").is_not_null())
        pairs = ours.select(account=f"{end}_account", customer=f"{end}_customer").unique()
        assert pairs.join(owners, on=["account", "customer"], how="anti").is_empty()


def test_nothing_happens_before_an_account_is_open(bank):
    opened = bank.parties.filter(pl.col("opened").is_not_null()).select("account", "opened")
    for end in ENDS:
        joined = bank.transactions.join(opened, left_on=f"{end}_account", right_on="account")
        local = pl.col("executed_at").dt.convert_time_zone("America/New_York").dt.date()
        assert joined.filter(local < pl.col("opened")).is_empty()


def test_mandated_people_pay_in_for_their_shop(ordinary, bank):
    mandates = bank.parties.filter(pl.col("role") == "mandate").select("account", conductor="customer")
    shops = bank.parties.filter(pl.col("cash_intensive"), pl.col("kind") == "business")["account"]
    takings = ordinary.filter(pl.col("beneficiary_account").is_in(shops.implode()), pl.col("instrument") == "cash")
    at_the_counter = takings.filter(pl.col("conductor").is_not_null())
    assert at_the_counter.height > 500
    known = at_the_counter.join(
        mandates, left_on=["beneficiary_account", "conductor"], right_on=["account", "conductor"]
    )
    assert known.height == at_the_counter.height


def test_money_back_relates_to_an_earlier_row_of_the_opposite_direction(ordinary):
    back = ordinary.filter(pl.col("relation").is_not_null())
    both = back.join(ordinary, left_on="relates_to", right_on="transaction_id", suffix="_first")
    assert both.height == back.height
    assert set(back["relation"]) == {"refund", "reversal"}
    assert both.filter(pl.col("executed_at") <= pl.col("executed_at_first")).is_empty()
    assert both.filter(pl.col("originator_account") != pl.col("beneficiary_account_first")).is_empty()
    assert both.filter((pl.col("relation") == "reversal") & (pl.col("amount") != pl.col("amount_first"))).is_empty()


def test_wages_come_in_batches_on_working_days(ordinary):
    batches = ordinary.filter(pl.col("batch_id").is_not_null())
    local = batches["executed_at"].dt.convert_time_zone("America/New_York")
    assert set(local.dt.weekday()) <= {1, 2, 3, 4, 5}
    spans = batches.group_by("batch_id").agg(
        pl.col("originator_account").n_unique(), pl.col("executed_at").max() - pl.col("executed_at").min()
    )
    assert spans["originator_account"].unique().to_list() == [1]
    assert spans["executed_at"].max() < datetime.timedelta(hours=1)


def test_hubs_and_quiet_accounts_both_exist(ordinary):
    payers = ordinary.group_by("beneficiary_account").agg(pl.col("originator_account").n_unique().alias("payers"))
    assert payers["payers"].max() > 500
    assert payers["payers"].median() < 5


def test_sleeping_accounts_slept_for_half_a_year(bank):
    woken = bank.truth.filter(typology="dormant_wakes").join(bank.transactions, on="transaction_id")
    for sleeper in woken["beneficiary_customer"].drop_nulls().unique():
        own = bank.transactions.filter(
            (pl.col("originator_customer") == sleeper) | (pl.col("beneficiary_customer") == sleeper)
        )
        gaps = [later - earlier for earlier, later in pairwise(own["executed_at"])]
        if woken.filter(pl.col("beneficiary_customer") == sleeper)["executed_at"].min() > own["executed_at"].min():
            assert max(gaps) > datetime.timedelta(days=180)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"transactions": 5}, {"days": 2}, {"attempts": -3}, {"institution": ""}, {"profile": "eu"}]
)
def test_impossible_settings_are_named(wrong):
    with pytest.raises(AmlError, match=next(iter(wrong))):
        SimulateSettings(**wrong)
