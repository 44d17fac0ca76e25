"""Ordinary life holds every innocent habit that the rules are known to stumble over, and none of it is planted."""

from __future__ import annotations

import polars as pl
import pytest

from aml.feed.simulate import SimulateSettings, simulate

T = 10_000
IN, OUT = "beneficiary_account", "originator_account"
HOUR = pl.duration(hours=1)
RISKY = ["PA", "MM", "IR"]


class Life:
    """A launderer-free bank; `rows` with the kinds of both ends (ours and known others) and the local day."""

    def __init__(self) -> None:
        bank = simulate(SimulateSettings(transactions=250_000, launderers=False))
        assert bank.truth.is_empty()
        self.parties = bank.parties
        owners = bank.parties.filter(pl.col("role") == "owner")
        rows = bank.transactions.with_columns(
            pl.col("amount").cast(pl.Float64),
            day=pl.col("executed_at").dt.convert_time_zone("America/New_York").dt.date(),
        )
        for end in ("originator", "beneficiary"):
            known = owners.select(
                pl.col("account").alias(f"{end}_account"),
                pl.col("kind").alias(f"{end}_kind"),
                pl.col("cash_intensive").alias(f"{end}_shop"),
                pl.col("opened").alias(f"{end}_opened"),
            )
            rows = rows.join(known, on=f"{end}_account", how="left")
        self.all = rows
        self.rows = rows.filter(pl.col("relation").is_null(), pl.col("status").is_null())
        cash = self.rows.filter(pl.col("instrument") == "cash")
        self.paid_in = cash.filter(pl.col(IN).is_not_null())
        self.drawn = cash.filter(pl.col(OUT).is_not_null())

    def payments(self, **ends: str) -> pl.DataFrame:
        """Rows without cash between these kinds of ends."""
        return self.rows.filter(
            pl.col("instrument") != "cash", *(pl.col(f"{end}_kind") == kind for end, kind in ends.items())
        )


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


def test_shops_bank_their_cash_every_week_at_one_branch(life):
    takings = life.paid_in.filter("beneficiary_shop").with_columns(week=pl.col("day").dt.truncate("1w"))
    weeks = takings.group_by(IN).agg(pl.col("week").n_unique(), pl.col("branch").n_unique())
    assert (weeks["week"] >= 12).mean() > 0.8
    assert (weeks["branch"] == 1).all()


def test_some_shops_bank_twice_a_day_and_reach_the_limit_so(life):
    days = (
        life.paid_in.filter("beneficiary_shop")
        .group_by(IN, "day")
        .agg(pl.len(), pl.col("amount").sum(), pl.col("amount").max().alias("most"), pl.col("branch").n_unique())
    )
    twice = days.filter(pl.col("len") == 2)
    assert twice.height > 100 and (twice["branch"] == 1).all()
    assert twice.filter((pl.col("amount") > T) & (pl.col("most") < T)).height > 10


def test_waiters_and_traders_feed_machines(life):
    feeding = life.paid_in.filter(pl.col("channel") == "atm", beneficiary_kind="person").group_by(IN).len()
    assert feeding.filter(pl.col("len") >= 6).height > 20


def test_couriers_pay_in_for_the_same_account_again_and_again(life):
    other = life.paid_in.filter(pl.col("conductor") != pl.col("beneficiary_customer"), beneficiary_kind="person")
    pairs = other.group_by(IN, "conductor").agg(pl.len(), pl.col("amount").max())
    assert pairs.filter((pl.col("len") >= 5) & (pl.col("amount") < 3_000)).height >= 5


def test_builders_draw_wages_in_cash_on_fridays(life):
    wages = (
        life.drawn.filter(originator_kind="business")
        .group_by(OUT)
        .agg(pl.len(), (pl.col("day").dt.weekday() == 5).mean().alias("friday"), pl.col("amount").max())
    )
    assert wages.filter((pl.col("len") >= 12) & (pl.col("friday") > 0.8)).height >= 2


def test_cars_are_bought_and_sold_for_cash(life):
    for cash, end in ((life.drawn, "originator"), (life.paid_in, "beneficiary")):
        large = cash.filter(pl.col("amount") > 2_500, pl.col("channel") == "branch", pl.col(f"{end}_kind") == "person")
        assert large.height >= 3


def test_a_cheque_for_cash_is_bought_once(life):
    bought = life.all.filter(pl.col("beneficiary_method") == "monetary_instrument")
    assert bought.height >= 3
    assert bought["originator_customer"].n_unique() == bought.height


def test_remitters_send_some_hundreds_home_each_month(life):
    home = life.rows.filter(pl.col("beneficiary_country") != "US", originator_kind="person")
    senders = home.group_by(OUT, IN).agg(pl.len(), pl.col("amount").max()).filter(pl.col("len") >= 3)
    assert senders.height > 20 and senders["amount"].max() < 3_000
    diaspora = (
        home.filter(pl.col("beneficiary_country").is_in(RISKY)).group_by(OUT).agg(pl.len(), pl.col("amount").max())
    )
    assert diaspora.filter((pl.col("len") >= 3) & (pl.col("amount") < 1_000)).height >= 2


def test_houses_and_loans_pass_through_an_account(life):
    large = life.payments(beneficiary="person").filter(pl.col("amount") > T)
    back = life.payments(originator="person").filter(pl.col("amount") > 0.8 * T)
    passed = large.join(back, left_on=IN, right_on=OUT, suffix="_out").filter(
        pl.col("executed_at_out").is_between(pl.col("executed_at"), pl.col("executed_at") + 90 * HOUR),
        (pl.col("amount_out") / pl.col("amount")).is_between(0.84, 1.0),
    )
    assert passed.height >= 5
    known = passed.join(life.rows, left_on=[IN, f"{IN}_out"], right_on=[OUT, IN], suffix="_before")
    assert known.filter(pl.col("executed_at_before") < pl.col("executed_at")).height >= 1  # the lawyer's fee came first


def test_wholesalers_pass_on_part_of_a_shops_order(life):
    orders = life.payments(originator="business", beneficiary="business").filter("originator_shop")
    onward = orders.join(life.rows, left_on=IN, right_on=OUT, suffix="_on").filter(
        pl.col("executed_at_on").is_between(pl.col("executed_at"), pl.col("executed_at") + 60 * HOUR),
        (pl.col("amount_on") / pl.col("amount")).is_between(0.59, 0.85),
    )
    assert onward["transaction_id"].n_unique() > 50


def test_treasuries_send_money_round_every_week(life):
    wires = life.payments(originator="business", beneficiary="business").filter(
        pl.col("instrument") == "wire", pl.col("amount") > 5_000
    )
    steps = wires.select("executed_at", OUT, IN, "amount")
    ring = steps
    for hop in range(1, 4):
        nxt = steps.rename({c: f"{c}_{hop}" for c in steps.columns})
        last = IN if hop == 1 else f"{IN}_{hop - 1}"
        before = "executed_at" if hop == 1 else f"executed_at_{hop - 1}"
        ring = ring.join(nxt, left_on=last, right_on=f"{OUT}_{hop}").filter(
            (pl.col(f"executed_at_{hop}") - pl.col(before)).is_between(pl.duration(hours=20), pl.duration(hours=28))
        )
    home = ring.filter(pl.col(f"{IN}_3") == pl.col(OUT))
    assert home.group_by(OUT).len()["len"].max() >= 10


def test_goods_come_back_as_refunds(life):
    back = life.all.filter(pl.col("relation") == "refund")
    assert set(back["instrument"]) > {"card", "ach"}
    assert life.all.filter(pl.col("relation") == "reversal").height > 10
    assert life.all["status"].unique().drop_nulls().len() == 4


def test_clubs_collect_and_couples_get_gifts(life):
    clubs = life.payments(beneficiary="other").group_by(IN).agg(pl.col(OUT).n_unique(), pl.col("amount").max())
    assert clubs[OUT].median() >= 25 and clubs["amount"].median() < 100
    gifts = life.payments(beneficiary="person").filter(pl.col("instrument") == "instant")
    weeks = gifts.group_by_dynamic("executed_at", every="1d", period="7d", group_by=IN).agg(pl.col(OUT).n_unique())
    assert weeks.filter(pl.col(OUT) >= 12)[IN].n_unique() >= 2


def test_sellers_have_many_buyers_and_keep_the_money(life):
    buyers = (
        life.payments(beneficiary="person")
        .filter(pl.col("amount") < 500)
        .group_by(IN)
        .agg(pl.col(OUT).n_unique(), pl.col("amount").sum())
    )
    assert buyers.filter(pl.col(OUT) > 60).height >= 2


def test_wages_come_in_batches_month_after_month_also_from_new_employers(life):
    batches = life.rows.filter(pl.col("batch_id").is_not_null())
    sizes = batches.group_by("batch_id").len()["len"]
    assert sizes.max() >= 30
    months = batches.group_by(OUT).agg(pl.col("day").dt.truncate("1mo").n_unique())
    assert (months["day"] >= 3).mean() > 0.5
    young = batches.filter(pl.col("originator_opened") > life.rows["day"].min())
    assert young[OUT].n_unique() >= 1


def test_employees_of_one_company_have_one_landlord(life):
    wages = life.rows.filter(pl.col("batch_id").is_not_null()).select(firm=OUT, who=IN).unique()
    firms = life.payments(originator="person", beneficiary="business").select(who=OUT, landlord=IN).unique()
    same = wages.join(firms, on="who").group_by("firm", "landlord").agg(pl.col("who").n_unique())
    assert same.filter(pl.col("who") >= 3).height >= 3


def test_agencies_are_paid_by_known_clients_and_pay_their_staff(life):
    into = life.payments(beneficiary="business").group_by(account=IN).agg(pl.col(OUT).n_unique().alias("payers"))
    out = life.payments(originator="business").group_by(account=OUT).agg(pl.col(IN).n_unique().alias("payees"))
    assert into.join(out, on="account").filter((pl.col("payers") >= 4) & (pl.col("payees") >= 8)).height > 20


def test_parents_pay_in_for_a_student_in_another_region(life):
    pairs = life.paid_in.filter(pl.col("conductor") != pl.col("beneficiary_customer"), beneficiary_kind="person")
    regions = pairs.group_by(IN).agg(pl.col("branch").str.split("-").list.first().first(), pl.len())
    machines = (
        life.drawn.filter(pl.col("channel") == "atm")
        .group_by(OUT)
        .agg(pl.col("branch").str.split("-").list.first().mode().first().alias("home"))
    )
    far = regions.filter(pl.col("len") >= 3).join(machines, left_on=IN, right_on=OUT)
    assert far.filter(pl.col("branch") != pl.col("home")).height >= 1


def test_importers_trade_in_both_directions_with_known_houses(life):
    firms = life.rows.filter(pl.col("beneficiary_country") != "US", originator_kind="business").select(
        account=OUT, house=IN
    )
    back = life.rows.filter(pl.col("originator_country") != "US", beneficiary_kind="business").select(
        account=IN, house=OUT
    )
    both = firms.unique().join(back.unique(), on=["account", "house"])
    assert both.height >= 5


def test_savers_buy_coins_and_traders_sell_them_too(life):
    bought = life.payments(originator="person", beneficiary="exchange").group_by(account=OUT).len()
    sold = life.payments(originator="exchange", beneficiary="person").group_by(account=IN).len()
    assert bought.height > 20
    both = bought.join(sold, on="account")
    assert 3 <= both.height < bought.height
    assert both["len_right"].max() >= 4


def test_heirs_keep_what_wakes_their_account(life):
    first = life.rows["executed_at"].min()
    assert first < pl.Series([life.rows["executed_at"].max()]).dt.offset_by("-300d")[0]
    asleep = life.rows.filter(pl.col("executed_at") < pl.lit(first).dt.offset_by("150d"))
    sleepers = set(asleep[IN].drop_nulls()) | set(asleep[OUT].drop_nulls())
    recent = life.rows.filter(pl.col("day") >= pl.date(2026, 1, 5))
    woken = recent.filter(pl.col(IN).is_in(list(sleepers)), beneficiary_kind="person", instrument="wire")
    heirs = woken.filter(pl.col("amount") > 5_000)[IN].unique()
    assert heirs.len() >= 1
    assert recent.filter(pl.col(OUT).is_in(heirs.implode())).is_empty()


def test_some_get_a_bonus(life):
    wages = life.rows.filter(pl.col("channel") == "api", beneficiary_kind="person").sort("executed_at")
    people = wages.group_by(OUT, IN).agg(pl.col("amount").median().alias("usual"), pl.col("amount").max(), pl.len())
    assert people.filter((pl.col("len") >= 4) & (pl.col("amount") > 2 * pl.col("usual"))).height > 10


def test_processors_forward_within_a_day(life):
    into = life.rows.filter(beneficiary_kind="processor").filter(pl.col("amount") > 1_000)
    out = life.rows.filter(originator_kind="processor").group_by(OUT, "day").agg(pl.col("amount").sum().alias("out"))
    days = into.group_by(IN, "day").agg(pl.col("amount").sum())
    passed = days.join(out, left_on=[IN, "day"], right_on=[OUT, "day"])
    assert passed.filter((pl.col("out") / pl.col("amount")).is_between(0.5, 1.6)).height > 100


def test_own_accounts_new_customers_and_the_bank_itself_are_there(life):
    own = life.rows.filter(pl.col("originator_customer") == pl.col("beneficiary_customer"))
    assert own.height > 500
    assert life.rows.filter(pl.col("initiated_by") == "bank").height > 1_000
    new = life.rows.filter(pl.col("beneficiary_opened") > pl.date(2026, 1, 5))
    assert new[IN].n_unique() > 10
