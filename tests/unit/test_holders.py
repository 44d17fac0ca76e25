"""Who stands at each end: customer of the record, else of the dated party table, else the account; fixed for good."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.engine.columns import Flag
from aml.engine.keys import Fields
from aml.pipeline.accept import Acceptor, Arrivals
from aml.pipeline.parties import ACTING, Parties, PartyRows
from tests.canonical import UtcDays, frame, parties, txn

DAY = 86_400_000_000
D = dt.date(2026, 3, 2)
EPOCH = dt.date(1970, 1, 1)
T0 = (D - EPOCH).days * DAY
CASH, EXCHANGE_CODE = 0, 6
Row = dict[str, Any]


def accepted(rows: list[Row], table: list[Row] | None = None) -> tuple[Acceptor, Arrivals]:
    acceptor = Acceptor(UtcDays(), parties=None if table is None else parties(table))
    return acceptor, acceptor.accept(frame(rows))


def holders(acceptor: Acceptor, arrivals: Arrivals) -> list[tuple[str | None, str | None]]:
    """Kind and id of the debit and the credit holder of each movement."""
    names = [f"{kind} {name}" for *_, kind, name in acceptor.holders.texts.frame.rows()]
    ends = (arrivals.columns["debit_holder"].tolist(), arrivals.columns["credit_holder"].tolist())
    return [(_name(names, debit), _name(names, credit)) for debit, credit in zip(*ends, strict=True)]


def _name(names: list[str], number: int) -> str | None:
    return None if number < 0 else names[number]


def flags(arrivals: Arrivals, flag: Flag) -> list[bool]:
    return ((arrivals.flags & np.uint32(flag)) != 0).tolist()


def one(row: Row, table: list[Row] | None = None) -> tuple[str | None, str | None]:
    return holders(*accepted([row], table))[0]


def test_the_record_says_who_before_the_table_does() -> None:
    table = [{"account": "a", "customer": "TABLE"}]
    assert one(txn()) == ("account a", "account b")
    assert one(txn(), table) == ("customer TABLE", "account b")
    assert one(txn(originator_customer="RECORD"), table) == ("customer RECORD", "account b")
    assert one(txn(originator_account=None, originator_customer="RECORD"), table) == ("customer RECORD", "account b")


def test_a_holder_is_known_by_tenant_and_institution() -> None:
    rows = [
        txn("1", originator_customer="C"),
        txn("2", originator_customer="C", originator_institution="main"),
        txn("3", originator_customer="C", originator_institution="other"),
        txn("4", originator_customer="C", institution="tenant"),
        txn("5", originator_account="C"),
    ]
    acceptor, arrivals = accepted(rows)
    debit = arrivals.columns["debit_holder"].tolist()
    assert debit[0] == debit[1]
    assert len(set(debit)) == 4
    texts = acceptor.holders.texts.frame
    assert texts.row(debit[2]) == ("main", "other", "customer", "C")
    assert texts.row(debit[3]) == ("tenant", "tenant", "customer", "C")


def test_rows_hold_from_their_day_on() -> None:
    table = [
        {"account": "a", "customer": "OLD"},
        {"account": "a", "customer": "NEW", "valid_from": D},
        {"account": "a", "customer": "LATER", "valid_from": D + dt.timedelta(10)},
        {"account": "b", "customer": "FIRST", "valid_from": D},
    ]
    rows = [txn(str(n), T0 + n * DAY - 1) for n in (0, 1, 10, 11)]
    assert holders(*accepted(rows, table)) == [
        ("customer OLD", "account b"),
        ("customer NEW", "customer FIRST"),
        ("customer NEW", "customer FIRST"),
        ("customer LATER", "customer FIRST"),
    ]


@pytest.mark.parametrize(
    ("roles", "holder"),
    [
        ({"O": "owner", "J": "joint"}, "customer O"),
        ({"J": "joint", "O": None}, "customer O"),
        ({"K": "joint", "J": "joint"}, "customer J"),
        ({"M": "mandate"}, "account a"),
        ({"S": "signatory", "X": "adviser"}, "account a"),
        ({"B": "owner", "A": "owner"}, "customer A"),
    ],
)
def test_of_several_the_owner_counts_then_the_first_joint_one(roles: dict[str, str | None], holder: str) -> None:
    table = [{"account": "a", "customer": customer, "role": role} for customer, role in roles.items()]
    for rows in (table, table[::-1]):
        assert one(txn(), rows)[0] == holder


def test_accounts_elsewhere_are_looked_up_there() -> None:
    table = [{"account": "b", "customer": "HERE"}, {"account": "b", "customer": "THERE", "party_institution": "other"}]
    assert one(txn(), table)[1] == "customer HERE"
    assert one(txn(beneficiary_institution="other"), table)[1] == "customer THERE"
    assert one(txn(beneficiary_institution="third"), table)[1] == "account b"
    assert one(txn(institution="tenant"), table)[1] == "account b"


def test_three_accounts_of_one_person_are_one_holder() -> None:
    table = [{"account": name, "customer": "C"} for name in "xyz"]
    rows = [txn(name, originator_account=None, beneficiary_account=name, instrument=CASH) for name in "xyz"]
    _, arrivals = accepted(rows, table)
    assert len(set(arrivals.columns["credit_holder"].tolist())) == 1


def test_a_holder_once_given_stays_and_a_new_table_holds_for_what_comes() -> None:
    acceptor, first = accepted([txn("1")], [{"account": "a", "customer": "OLD"}])
    assert holders(acceptor, first) == [("customer OLD", "account b")]
    acceptor.use_parties(parties([{"account": "a", "customer": "NEW"}]))
    again = acceptor.accept(frame([txn("1"), txn("2", 1)]))
    assert again.counts.duplicates == 1
    assert holders(acceptor, again) == [("customer NEW", "account b")]


def test_own_account_transfers_never_move() -> None:
    table = [{"account": "a", "customer": "C"}, {"account": "b", "customer": "C"}]
    same = txn(originator_customer="C", beneficiary_customer="C")
    for row, rows in ((txn(), table), (same, None), (txn(beneficiary_account="a"), None)):
        _, arrivals = accepted([row], rows)
        assert flags(arrivals, Flag.OWN) == [True]
        assert flags(arrivals, Flag.MOVES) == [False]
        assert (arrivals.counts.own_account, arrivals.counts.scored) == (1, 1)
    # Customers named in the record differ, but the table says whose both accounts are.
    _, arrivals = accepted([txn(originator_customer="C", beneficiary_customer="D")], table)
    assert flags(arrivals, Flag.OWN) == [True]


def test_without_a_table_all_are_ours_and_with_one_those_in_it() -> None:
    acceptor, arrivals = accepted([txn(conductor="P", instrument=CASH, originator_account=None)])
    assert acceptor.holders.ours.tolist() == [True] * len(acceptor.holders)
    acceptor, arrivals = accepted([txn()], [{"account": "a", "kind": "person"}])
    assert (flags(arrivals, Flag.DEBIT_OURS), flags(arrivals, Flag.CREDIT_OURS)) == ([True], [False])
    assert acceptor.holders.ours.tolist() == [True, False]


def test_an_empty_table_knows_nobody() -> None:
    acceptor, arrivals = accepted([txn(), txn("2", 1, originator_customer="C", conductor="P")], [])
    assert holders(acceptor, arrivals) == [("account a", "account b"), ("customer C", "account b")]
    assert not acceptor.holders.ours.any()


def test_cash_has_one_leg() -> None:
    rows = [
        txn("in", instrument=CASH, originator_account=None),
        txn("out", 1, instrument=CASH, beneficiary_account=None),
        txn("both", 2, instrument=CASH),
        txn("named", 3, instrument=CASH, originator_account=None, originator_customer="C"),
        txn("method", 4, originator_account=None, originator_method=1, originator_customer="C"),
    ]
    acceptor, arrivals = accepted(rows)
    assert holders(acceptor, arrivals) == [
        (None, "account b"), ("account a", None), ("account a", "account b"), (None, "account b"), (None, "account b"),
    ]  # fmt: skip
    assert flags(arrivals, Flag.CASH_IN) == [True, False, False, True, True]
    assert flags(arrivals, Flag.CASH_OUT) == [False, True, False, False, False]


def test_notes_for_what_is_no_account_are_no_withdrawal_and_no_deposit() -> None:
    bought = {"originator_account": None, "originator_customer": "C", "originator_method": 1}
    cashed = {"beneficiary_account": None, "beneficiary_customer": "C", "beneficiary_method": 1}
    rows = [
        txn("cheque bought", instrument=CASH, beneficiary_account=None, beneficiary_method=3, **bought),
        txn("cheque cashed", 1, instrument=CASH, originator_account=None, originator_method=2, **cashed),
        txn("paid in", 2, instrument=CASH, **bought),
        txn("paid out", 3, **cashed),
    ]
    acceptor, arrivals = accepted(rows)
    assert holders(acceptor, arrivals) == [
        ("customer C", None), (None, "customer C"), (None, "account b"), ("account a", None),
    ]  # fmt: skip
    assert flags(arrivals, Flag.CASH_IN) == [False, False, True, False]
    assert flags(arrivals, Flag.CASH_OUT) == [False, False, False, True]
    assert flags(arrivals, Flag.BANK) == [True, True, False, False]
    assert flags(arrivals, Flag.MOVES) == [True] * 4


def cash_by(conductor: str | None, **fields: Any) -> Row:
    return txn(instrument=CASH, originator_account=None, conductor=conductor, **fields)


@pytest.mark.parametrize("role", [*ACTING, "adviser"])
def test_who_may_act_on_the_account_is_mandated(role: str) -> None:
    table = [{"account": "b", "customer": "C"}, {"account": "b", "customer": "P", "role": role}]
    acceptor, arrivals = accepted([cash_by("P")], table)
    mandated = role in ACTING
    if role == "owner":  # then P is the holder himself, or C is: the first by name
        assert holders(acceptor, arrivals) == [(None, "customer C")]
    assert flags(arrivals, Flag.CONDUCTED) == [True]
    assert flags(arrivals, Flag.MANDATED) == [mandated]
    assert (arrivals.columns["conductor_holder"][0] < 0) == mandated


def test_a_mandate_holds_from_its_day_and_for_its_account() -> None:
    table = [
        {"account": "b", "customer": "C"},
        {"account": "b", "customer": "P", "role": "mandate", "valid_from": D},
        {"account": "x", "customer": "C"},
    ]
    rows = [cash_by("P", transaction_id="1", at=T0 - 1), cash_by("P", transaction_id="2", at=T0)]
    rows += [cash_by("P", transaction_id="3", at=T0, beneficiary_account="x")]
    assert flags(accepted(rows, table)[1], Flag.MANDATED) == [False, True, False]


def test_the_customer_himself_is_no_conductor_and_a_visit_needs_cash_paid_in() -> None:
    table = [{"account": "b", "customer": "C"}, {"account": "a", "customer": "A"}]
    rows = [cash_by("C"), cash_by(None, transaction_id="2"), cash_by("P", transaction_id="3"), txn("4", conductor="P")]
    rows += [txn("5", instrument=CASH, beneficiary_account=None, conductor="P")]
    _, arrivals = accepted(rows, table)
    assert flags(arrivals, Flag.CONDUCTED) == [False, False, True, True, True]
    assert (arrivals.columns["conductor_holder"] >= 0).tolist() == [False, False, True, False, False]


def test_what_leaves_the_institutions_sight() -> None:
    table = [{"account": "x", "kind": "exchange", "party_institution": "coins"}]
    rows = [
        txn("plain"),
        txn("cash", 1, instrument=CASH, beneficiary_account=None),
        txn("crypto", 2, instrument=EXCHANGE_CODE),
        txn("abroad", 3, beneficiary_country="DE"),
        txn("home", 4, beneficiary_country="US"),
        txn("among others", 5, originator_institution="o", originator_country="DE", beneficiary_country="DE"),
        txn("unknown", 6, originator_institution="o", beneficiary_country="DE"),
        txn("exchange", 7, beneficiary_account="x", beneficiary_institution="coins"),
        txn("cash in", 8, instrument=CASH, originator_account=None, beneficiary_country="US"),
    ]
    _, arrivals = accepted(rows, table)
    named = dict(zip(arrivals.accepted["transaction_id"], flags(arrivals, Flag.EXIT), strict=True))
    assert {name for name, out in named.items() if out} == {"cash", "crypto", "abroad", "exchange"}
    crossed = dict(zip(named, flags(arrivals, Flag.CROSS_BORDER), strict=True))
    assert {name for name, over in crossed.items() if over} == {"abroad"}


def test_what_moves_nothing_has_no_legs() -> None:
    rows = [
        txn("lump", batch_lump=True),
        txn("pending", status=2),
        txn("void", void=True),
        txn("back", relation=0, relates_to="x"),
        txn("refund", relation=2, relates_to="x"),
        txn("both"),
        txn("one side", entry_side=1),
    ]
    _, arrivals = accepted(rows)
    named = dict(zip(arrivals.accepted["transaction_id"], (arrivals.transaction >= 0).tolist(), strict=True))
    assert {name for name, moves in named.items() if moves} == {"refund", "both", "one side"}
    assert arrivals.counts.not_booked == 1


def test_accounts_seen_with_and_without_a_customer_are_counted_once() -> None:
    acceptor, first = accepted([txn("1"), txn("2", 1, originator_customer="C"), txn("3", 2, originator_customer="C")])
    assert first.counts.mixed_accounts == 1
    assert acceptor.accept(frame([txn("4", 3)])).counts.mixed_accounts == 0
    assert acceptor.accept(frame([txn("5", 4, beneficiary_customer="B")])).counts.mixed_accounts == 1


def test_holders_come_back_from_a_snapshot() -> None:
    rows = [txn("1"), txn("2", 1, originator_customer="Ü", beneficiary_institution="other")]
    acceptor, _ = accepted(rows, [{"account": "a", "customer": "C"}])
    again = Acceptor(UtcDays(), parties=parties([{"account": "a", "customer": "C"}]))
    again.restore(acceptor.state(), [])
    assert again.holders.texts.frame.equals(acceptor.holders.texts.frame)
    assert again.holders.ours.tolist() == acceptor.holders.ours.tolist()
    more = frame([txn("3", 2), txn("4", 3, originator_customer="Ü")])
    assert holders(again, again.accept(more)) == holders(acceptor, acceptor.accept(more))


TABLES = st.lists(
    st.fixed_dictionaries({
        "account": st.sampled_from(["a", "b"]), "customer": st.sampled_from([None, "C", "D", "E"]),
        "role": st.sampled_from([None, "owner", "joint", "mandate", "signatory", "adviser"]),
        "party_institution": st.sampled_from([None, "main", "other"]),
        "valid_from": st.sampled_from([None, D, D + dt.timedelta(1), D + dt.timedelta(5)]),
    }),
    max_size=7,
)  # fmt: skip


def owner_of(table: list[Row], institution: str, account: str, day: dt.date) -> str | None:
    """Whose the account is, row by row: the latest owner's row that has begun, else joint ones where no owner is."""
    held = [r for r in table if r["account"] == account and (r["party_institution"] or "main") == institution]
    owners = [r for r in held if (r["role"] or "owner") == "owner"] or [r for r in held if r["role"] == "joint"]
    begun = [r for r in owners if r["valid_from"] is None or r["valid_from"] <= day]
    if not begun:
        return None
    latest = max(r["valid_from"] or dt.date.min for r in begun)
    # A row without a customer says nothing of him; it comes before none.
    names = sorted(
        (r["customer"] or "" for r in begun if (r["valid_from"] or dt.date.min) == latest), key=lambda n: (n == "", n)
    )
    return names[0] or None


@given(TABLES, st.sampled_from(["main", "other"]), st.integers(-1, 6))
def test_owners_are_those_of_a_row_by_row_reading(table: list[Row], institution: str, after: int) -> None:
    day = D + dt.timedelta(after)
    # The beneficiary is nobody of the table: between accounts of one owner there would be no leg.
    row = txn(at=T0 + after * DAY, originator_institution=institution, beneficiary_account="z")
    wanted = owner_of(table, institution, "a", day)
    assert one(row, table)[0] == ("account a" if wanted is None else f"customer {wanted}")


@given(TABLES, st.sampled_from("CDE"), st.integers(-1, 6))
def test_mandates_are_those_of_a_row_by_row_reading(table: list[Row], who: str, after: int) -> None:
    day = D + dt.timedelta(after)
    _, arrivals = accepted([cash_by(who, at=T0 + after * DAY)], table)
    holder = owner_of(table, "main", "b", day)
    may = any(
        r["account"] == "b" and (r["party_institution"] or "main") == "main" and r["customer"] == who
        and (r["role"] or "owner") in ACTING and (r["valid_from"] is None or r["valid_from"] <= day)
        for r in table
    )  # fmt: skip
    assert flags(arrivals, Flag.MANDATED) == [may and holder != who]


def test_what_is_known_of_a_party_never_changes_its_number() -> None:
    rows = PartyRows()
    first = Parties(
        parties([{"account": "a", "kind": "person"}, {"account": "b", "kind": "business", "opened": D}]), rows
    )
    again = Parties(parties([{"account": "b", "kind": "business", "opened": D}, {"account": "c"}]), rows)
    known, later = (dict(zip(table.frame["account"], table.row[:-1].tolist(), strict=True)) for table in (first, again))
    assert later["b"] == known["b"] and later["c"] == 2
    assert rows.segment.tolist()[known["b"]] == 1
    assert rows.opened[known["b"]] == (D - EPOCH).days
    held = PartyRows.from_state(rows.state())
    assert held.take(again.frame.drop("_owns")).tolist() == again.row[:-1].tolist()
    assert Fields(again.frame).rows == 2
