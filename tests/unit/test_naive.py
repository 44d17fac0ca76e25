"""The slow twin gives each example of the rules' definitions the answer that the definition gives."""

from __future__ import annotations

from datetime import date

import pytest

from tests.naive.book import Profile
from tests.naive.dozen import dozen
from tests.naive.evaluate import Hit, hits
from tests.naive.make import AU, CA, PROFILES, US, Feed, party

D = 24.0


def found(feed: Feed, rule: str, parties: tuple[dict, ...] = (), profile: Profile | None = None) -> list[Hit]:
    profile = profile or feed.profile
    return [h for h in hits(feed.rows, dozen(profile), parties=parties, profile=profile) if h.rule == rule]


def verdict(feed: Feed, rule: str, parties: tuple[dict, ...] = ()) -> str:
    some = found(feed, rule, parties)
    return "alert" if any(h.opens for h in some) else "near" if some else "none"


@pytest.mark.parametrize(("profile", "expected"), [("us", "alert"), ("ca", "none"), ("au", "none")])
def test_kept_under_at_two_branches(profile: str, expected: str) -> None:
    feed = Feed(PROFILES[profile])
    feed.cash_in(0, "C", 9500, "A")
    feed.cash_in(2 * D, "C", 10_000, "B")
    feed.cash_in(4 * D, "C", 9200, "A")
    assert verdict(feed, "structuring-kept-under") == expected


@pytest.mark.parametrize("days", [[0, 2], [0, 5, 10], [0]])
def test_kept_under_misses(days: list[int]) -> None:
    feed = Feed(AU)  # no weekend is rolled there, so that days 1, 6, 11 are what they say
    for day, branch in zip(days, "ABA", strict=False):
        feed.cash_in(day * D, "C", 9900, branch)
    assert verdict(feed, "structuring-kept-under") == "none"


def test_kept_under_needs_no_marker_at_five_units() -> None:
    feed = Feed(AU)
    for day in range(5):
        feed.cash_in(day * D, "C", 9500)
    assert [len(h.evidence) for h in found(feed, "structuring-kept-under")] == [5]


def test_kept_under_shop_needs_two_markers() -> None:
    feed = Feed(AU)
    for day, branch in zip(range(5), "ABABA", strict=True):
        feed.cash_in(day * D, "C", 9500, branch)
    assert verdict(feed, "structuring-kept-under") == "alert"
    assert verdict(feed, "structuring-kept-under", (party("C", kind="business", cash_intensive=True),)) == "none"


def test_kept_under_completed_by_a_debit_through_m5() -> None:
    feed = Feed(US)
    for day in range(3):
        feed.cash_in(day * D, "C", 9500)
    feed.pay(2 * D + 2, "C", "X", 19_000)
    feed.pay(2 * D + 3, "C", "X", 950)
    (hit,) = found(feed, "structuring-kept-under")
    assert (hit.transaction_id, hit.facts["m5"], hit.facts["markers"]) == ("t005", True, 1)


@pytest.mark.parametrize(
    ("profile", "amounts", "branches", "expected"),
    [
        ("us", (6000, 6000), "AB", "alert"), ("us", (6000, 6000), "AA", "none"), ("au", (6000, 5000), "AB", "alert"),
        ("us", (5000, 5000), "AB", "none"), ("ca", (5000, 5000), "AB", "alert"), ("us", (11_000, 2000), "AB", "none"),
    ],
)
def test_same_unit(profile: str, amounts: tuple[int, int], branches: str, expected: str) -> None:
    feed = Feed(PROFILES[profile])
    for k, (amount, branch) in enumerate(zip(amounts, branches, strict=True)):
        feed.cash_in(k, "C", amount, branch)
    assert verdict(feed, "structuring-same-unit") == expected


@pytest.mark.parametrize(("profile", "expected"), [("us", "alert"), ("ca", "none"), ("au", "alert")])
def test_same_unit_cash_out(profile: str, expected: str) -> None:
    feed = Feed(PROFILES[profile])
    feed.cash_out(0, "C", 6000, "A")
    feed.cash_out(1, "C", 6000, "B")
    assert verdict(feed, "structuring-same-unit") == expected


def test_same_unit_visit_of_many_notes_is_one() -> None:
    feed = Feed(US)
    for k in range(6):
        feed.cash_in(k / 30, "C", 1800, "A", terminal="M1")
    assert verdict(feed, "structuring-same-unit") == "none"


def strangers(feed: Feed, amounts: list[float], **more: str | None) -> None:
    for k, amount in enumerate(amounts):
        feed.cash_in(k, "R", amount, **{"branch": "ABCDE"[k], "conductor": f"S{k}", **more})


def test_smurfing_recipient() -> None:
    feed = Feed(US)
    strangers(feed, [4000] * 3)
    (hit,) = found(feed, "structuring-smurfing")
    assert (hit.subject, hit.facts["conductors"], hit.facts["sum"]) == (("main", "customer", "R"), 3, 1_200_000)


def test_smurfing_mandated_employees() -> None:
    feed = Feed(US)
    strangers(feed, [4000] * 3)
    staff = tuple({"account": "R-1", "customer": f"S{k}", "role": "mandate"} for k in range(3))
    assert verdict(feed, "structuring-smurfing", staff) == "none"


def test_smurfing_without_conductors_counts_branches() -> None:
    feed = Feed(US)
    strangers(feed, [4000] * 3, conductor=None)
    assert verdict(feed, "structuring-smurfing") == "alert"
    one_branch = Feed(US)
    strangers(one_branch, [4000] * 3, conductor=None, branch="A")
    assert verdict(one_branch, "structuring-smurfing") == "none"


def test_smurfing_conductor_is_the_subject_of_three_recipients() -> None:
    feed = Feed(US)
    for k, who in enumerate("PQR"):
        feed.cash_in(k, who, 3500, "A", conductor="S")
    (hit,) = found(feed, "structuring-smurfing")
    assert (hit.subject[2], hit.facts["recipients"], hit.facts["sum"]) == ("S", 3, 1_050_000)


@pytest.mark.parametrize(("profile", "expected"), [("us", "alert"), ("au", "alert"), ("ca", "none")])
def test_withdrawals_of_wired_money(profile: str, expected: str) -> None:
    feed = Feed(PROFILES[profile])
    feed.pay(0, "X", "C", 60_000)
    for day in (1, 2, 3, 4, 7, 8):
        feed.cash_out(day * D, "C", 9800)
    assert verdict(feed, "structuring-withdrawals") == expected


def test_withdrawals_weekly_wages() -> None:
    feed = Feed(US)
    for week in range(12):
        feed.cash_out((4 + 7 * week) * D, "C", 9000)
    assert verdict(feed, "structuring-withdrawals") == "none"


def passed_on(amount_in: float, amount_out: float, hours: float, payee: str = "Y") -> Feed:
    feed = Feed(US)
    feed.pay(0, "X", "C", amount_in)
    feed.pay(hours, "C", payee, amount_out)
    return feed


YOUNG = party("C", kind="person", opened=date(2026, 2, 10))


def test_pass_through() -> None:
    feed = Feed(US)
    feed.pay(0, "X", "C", 18_000)
    feed.pay(3, "C", "Y", 10_000)
    feed.pay(5, "C", "Z", 7200)
    (hit,) = found(feed, "layering-pass-through", (YOUNG,))
    assert hit.opens and hit.facts["age"] == 20 and hit.evidence == ("t001", "t002", "t003")
    assert verdict(passed_on(9000, 8500, 90), "layering-pass-through", (YOUNG,)) == "alert"


def test_pass_through_house_purchase_is_near() -> None:
    feed = Feed(US)
    feed.pay(-80 * D, "X", "C", 100)
    feed.pay(0, "X", "C", 200_000)
    feed.pay(5, "C", "Lawyer", 195_000)
    assert verdict(feed, "layering-pass-through") == "near"


@pytest.mark.parametrize(
    "feed",
    [
        passed_on(18_000, 17_200, 5, "X"), passed_on(10_000, 8490, 5), passed_on(6000, 5500, 48.1),
        passed_on(18_000, 18_901, 5),
    ],
)
def test_pass_through_misses(feed: Feed) -> None:
    assert verdict(feed, "layering-pass-through", (YOUNG,)) == "none"


def test_pass_through_own_account() -> None:
    feed = Feed(US)
    feed.pay(0, "X", "C", 18_000)
    feed.add(5, 17_200, originator_account="C-1", originator_customer="C", beneficiary_account="C-2",
             beneficiary_customer="C")
    assert verdict(feed, "layering-pass-through", (YOUNG,)) == "none"


def test_pass_through_company_is_near_without_a_surge() -> None:
    feed = passed_on(18_000, 17_200, 5)
    assert verdict(feed, "layering-pass-through", (party("C", kind="business"),)) == "near"
    assert verdict(feed, "layering-pass-through", (party("C", kind="processor"),)) == "none"


def hops(amounts: list[float], hours: list[float], names: str = "ABCDE") -> Feed:
    feed = Feed(US)
    for k, (amount, hour) in enumerate(zip(amounts, hours, strict=True)):
        feed.pay(hour, names[k], names[k + 1], amount)
    return feed


def test_chain() -> None:
    some = found(hops([10_000, 9200, 8600], [0, 70, 130]), "layering-chain")
    assert [(h.subject[2], h.opens, h.network) for h in some] == [("B", True, "t001"), ("C", True, "t001")]
    assert some[0].facts["kept"] == 0.86 and some[0].facts["new_pairs"] == 3


@pytest.mark.parametrize(
    "feed",
    [
        hops([10_000, 9200, 8600], [0, 73, 130]), hops([10_000, 8400, 8000], [0, 70, 130]),
        hops([10_000, 9200], [0, 5]),
    ],
)
def test_chain_misses(feed: Feed) -> None:
    assert verdict(feed, "layering-chain") == "none"


def test_chain_salary_rent_mortgage() -> None:
    feed = Feed(US)
    for month in range(2):
        feed.pay(month * 30 * D, "Firm", "Tenant", 4000)
        feed.pay(month * 30 * D + 20, "Tenant", "Landlord", 1800)
        feed.pay(month * 30 * D + 40, "Landlord", "Bank", 1700)
    assert verdict(feed, "layering-chain") == "none"


def test_round_trip() -> None:
    (hit,) = found(hops([20_000, 19_000, 18_000], [0, 10, 20], "ABCA"), "layering-round-trip")
    assert (hit.subject[2], hit.opens, hit.facts["back_share"], hit.facts["hops"]) == ("A", True, 0.9, 3)
    assert verdict(hops([20_000, 17_500, 15_800], [0, 10, 20], "ABCA"), "layering-round-trip") == "none"  # 79 %


def test_round_trip_treasury_is_near() -> None:
    feed = Feed(US)
    firms = tuple(party(who, kind="business") for who in "ABC")
    for week in range(2):
        for k in range(3):
            feed.pay(week * 7 * D + 10 * k, "ABC"[k], "BCA"[k], 20_000 - 500 * k)
    some = found(feed, "layering-round-trip", firms)
    assert [(h.transaction_id, h.opens) for h in some] == [("t003", False), ("t006", False)]


def test_there_and_back() -> None:
    feed = Feed(US)
    for k in range(3):
        feed.pay(k * 3 * D, "A", "B", 3000)
        feed.pay(k * 3 * D + 20, "B", "A", 2800)
    assert [(h.subject[2], h.transaction_id) for h in found(feed, "layering-round-trip") if "times" in h.facts] == [
        ("A", "t006")
    ]
    refund = Feed(US)
    refund.pay(0, "A", "B", 20_000)
    refund.pay(20, "B", "A", 20_000, relation="refund")
    assert verdict(refund, "layering-round-trip") == "none"


def gathered(payers: int, amount: float) -> Feed:
    feed = Feed(US)
    for k in range(payers):
        feed.pay(k, f"P{k}", "C", amount)
    return feed


def test_fan_in() -> None:
    feed = gathered(12, 900)
    feed.pay(30, "C", "Coins", 9180, instrument="crypto")
    (hit,) = found(feed, "layering-fan-in")
    assert (hit.transaction_id, hit.facts["new_payers"], hit.facts["out_share"]) == ("t013", 12, 0.85)
    assert verdict(gathered(12, 900), "layering-fan-in") == "none"  # wedding gifts that stay


def test_fan_in_known_club_members() -> None:
    feed = Feed(US)
    for month in range(2):
        for k in range(30):
            feed.pay(month * 30 * D + k, f"P{k}", "C", 900)
    feed.pay(31 * D + 10, "C", "Hall", 27_000)
    assert verdict(feed, "layering-fan-in") == "none"


def paid_out(payees: int, funds: float, amount: float) -> Feed:
    feed = Feed(US)
    feed.pay(0, "X", "C", funds)
    for k in range(payees):
        feed.pay(2 + 2 * k, "C", f"Q{k}", amount)
    return feed


def test_fan_out() -> None:
    some = found(paid_out(12, 15_000, 1200), "layering-fan-out")
    assert [h.facts["new_payees"] for h in some] == [10, 11, 12] and all(h.opens for h in some)
    assert verdict(paid_out(9, 15_000, 1200), "layering-fan-out") == "none"


def test_fan_out_third_monthly_payroll() -> None:
    feed = Feed(US)
    for month in range(3):
        feed.pay(month * 30 * D, "X", "C", 30_000)
        for k in range(12):
            feed.pay(month * 30 * D + 5, "C", f"Q{month}{k}", 1200, batch_id=f"B{month}")
    hit_months = {h.at // 86_400_000_000 for h in found(feed, "layering-fan-out")}
    assert len(hit_months) == 2  # the first two months; the third is established


def test_scatter_gather() -> None:
    feed = Feed(US)
    for k in range(3):
        feed.pay(k, "O", f"M{k}", 4000)
        feed.pay(30 + k, f"M{k}", "E", 3700)
    some = found(feed, "layering-scatter-gather")
    assert [(h.subject[2], h.facts["middles"], h.facts["end_sum"]) for h in some] == [
        ("E", 3, 1_110_000), ("O", 3, 1_110_000)
    ]
    assert some[0].evidence == ("t001", "t003", "t005", "t002", "t004", "t006")
    rent = Feed(US)
    for k in range(3):
        rent.pay(k, "O", f"M{k}", 2000)
        rent.pay(30 + k, f"M{k}", "E", 900)
    assert verdict(rent, "layering-scatter-gather") == "none"


def test_gather_scatter() -> None:
    feed = Feed(US)
    for k in range(6):
        feed.pay(2 * k, f"P{k}", "C", 2000)
    for k in range(6):
        feed.pay(24 + 2 * k, "C", f"Q{k}", 11_000 / 6)
    assert verdict(feed, "layering-gather-scatter", (party("C", kind="person"),)) == "alert"
    assert verdict(feed, "layering-gather-scatter", (party("C", kind="business"),)) == "near"


def test_gather_scatter_known_clients() -> None:
    feed = Feed(US)
    for month in range(2):
        for k in range(6):
            feed.pay(30 * D * month + k, f"P{k}", "C", 2000)
    for k in range(6):
        feed.pay(30 * D + 24 + k, "C", f"Q{k}", 1800)
    assert verdict(feed, "layering-gather-scatter", (party("C", kind="business"),)) == "none"


@pytest.mark.parametrize(("gap", "out", "expected"), [(180, 11_000, "alert"), (179, 11_000, "none"), (200, 0, "none")])
def test_dormant(gap: int, out: int, expected: str) -> None:
    feed = Feed(US)
    feed.pay(0, "X", "C", 1000)
    feed.pay((gap - 100) * D, "Bank", "C", 3, initiated_by="bank")
    feed.pay(gap * D, "Z", "C", 12_000)
    if out:
        feed.pay(gap * D + 30, "C", "Y", out)
    assert verdict(feed, "layering-dormant") == expected


def test_canadian_window_is_inclusive_of_ten_thousand() -> None:
    feed = Feed(CA)
    strangers(feed, [4000, 3000, 3000])
    assert verdict(feed, "structuring-smurfing") == "alert"
    feed.profile = US
    assert verdict(feed, "structuring-smurfing") == "none"
