"""Holders and legs as the rules see them, every look-up a plain scan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.naive.identity import DAY, Record

HOUR = 3_600_000_000
NAN = float("nan")
Holder = tuple[str, str, str, str]  # tenant, party institution, "customer" or "account", text
MANDATES = ("mandate", "owner", "joint", "signatory")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a jurisdiction fixes: T in minor units; day units or single transactions; what is reportable."""

    name: str = "us"
    zone: str = "America/New_York"
    country: str = "US"
    threshold: int = 1_000_000
    reportable_at_threshold: bool = False  # True: >= T is due (ca, au); False: > T (us)
    unit_is_day: bool = True
    out_reported: bool = True
    roll: bool = True  # weekends and holidays count for the next business day
    cut_off: time | None = None
    holidays: frozenset[date] = frozenset()

    def due(self, amount: int, credit: bool) -> bool:
        """Whether a report is due for this much cash."""
        return (credit or self.out_reported) and self.beyond(amount)

    def beyond(self, amount: int) -> bool:
        """Beyond T by the profile's comparison."""
        return amount >= self.threshold if self.reportable_at_threshold else amount > self.threshold


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run fixes: history_from, and the caps on trails."""

    history_from: date | None = None
    most_trails: int = 8
    most_fitting: int = 64
    leg_floor: int | None = None  # None: from the path rules in force
    minor_units: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class Leg:
    """One side of a transaction at one holder."""

    tx: Record
    holder: Holder
    counterparty: Holder | None
    credit: bool
    amount: int
    t: int
    order: tuple[int, int, int]
    day: int
    unit_day: int
    cash: bool
    card: bool
    bank: bool
    exit: bool
    whole_day: bool
    batch: str | None
    branch: str | None
    terminal: str | None
    conductor: str | None
    mandated: bool
    party: Mapping[str, Any] | None
    visit: bool = False

    @property
    def counted(self) -> bool:
        """Whether rules count it."""
        return not self.bank and not self.visit


def sha_key(r: Record) -> tuple[int, int]:
    """A stand-in for the engine's key of a transaction; tests may pass the real one."""
    text = "|".join(str(r[n]) for n in ("institution", "originator_account", "beneficiary_account", "transaction_id"))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


@dataclass
class Book:
    """All legs of the standing transactions, per holder in the one order.

    Answers are kept once given: a book is made whole and then only read.
    """

    profile: Profile
    settings: Settings
    parties: dict[tuple[str, str, str], list[dict[str, Any]]]  # by tenant, party institution, account
    legs: dict[Holder, list[Leg]] = field(default_factory=dict)
    sides: dict[int, tuple[Leg | None, Leg | None]] = field(default_factory=dict)  # id(tx) -> debit leg, credit leg
    own_account: int = 0
    counted: dict[Holder, list[Leg]] = field(default_factory=dict)
    firsts: dict[Holder, dict[tuple[Holder, bool], Leg]] = field(default_factory=dict)

    def of(self, holder: Holder) -> list[Leg]:
        """The holder's counted legs in order."""
        if holder not in self.counted:
            self.counted[holder] = [leg for leg in self.legs.get(holder, []) if leg.counted]
        return self.counted[holder]

    def first(self, holder: Holder, counterparty: Holder, credit: bool) -> Leg | None:
        """The first counted leg ever of (holder, counterparty, direction)."""
        if holder not in self.firsts:
            met: dict[tuple[Holder, bool], Leg] = {}
            for leg in self.of(holder):
                if leg.counterparty is not None:
                    met.setdefault((leg.counterparty, leg.credit), leg)
            self.firsts[holder] = met
        return self.firsts[holder].get((counterparty, credit))

    def all_legs(self) -> list[Leg]:
        """Every leg and visit, in the order of the transactions; debit before credit before visit."""
        everything = [leg for legs in self.legs.values() for leg in legs]
        return sorted(everything, key=lambda leg: (leg.order, 2 if leg.visit else int(leg.credit)))

    def local(self, t: int) -> datetime:
        """Wall-clock time in the institution's zone."""
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t)
        return moment.astimezone(ZoneInfo(self.profile.zone))

    def day_of(self, t: int) -> int:
        """Ordinal of the local calendar day."""
        return self.local(t).toordinal()

    def day_start(self, day: int) -> int:
        """UTC microseconds at which a local calendar day begins."""
        start = datetime.combine(date.fromordinal(day), time(), ZoneInfo(self.profile.zone))
        return round(start.astimezone(UTC).timestamp()) * 1_000_000


def open_book(
    standing: Iterable[Record], parties: Iterable[Mapping[str, Any]] = (), profile: Profile | None = None,
    settings: Settings | None = None, key: Callable[[Record], tuple[int, int]] = sha_key,
) -> Book:
    """Legs of the records that stand; own-account transfers, lumps and records without amount give none."""
    book = Book(profile or Profile(), settings or Settings(), {})
    for row in map(party_row, parties):
        book.parties.setdefault((row["institution"], row["party_institution"], row["account"]), []).append(row)
    for r in sorted(standing, key=lambda r: (r["executed_at"], key(r))):
        if not r["batch_lump"]:
            add_legs(book, r, (r["executed_at"], *key(r)))
    return book


def party_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A whole party row, dates as ordinals, valid_from 0 for always."""
    names = ("institution", "party_institution", "account", "customer", "role", "kind", "cash_intensive", "risk",
             "country", "opened", "expected_monthly_turnover", "valid_from", "replaced_by")
    full: dict[str, Any] = {name: row.get(name) for name in names}
    full["institution"] = full["institution"] or "main"
    full["party_institution"] = full["party_institution"] or full["institution"]
    for name in ("opened", "valid_from"):
        if isinstance(full[name], date):
            full[name] = full[name].toordinal()
    full["valid_from"] = full["valid_from"] or 0
    return full


def party_of(book: Book, r: Record, end: str, day: int) -> dict[str, Any] | None:
    """The owner's row of the account at that day: the latest valid one, the record's own customer first."""
    account, customer = r[f"{end}_account"], r[f"{end}_customer"]
    bank = r[f"{end}_institution"] or r["institution"]
    if account is None:
        return None
    rows = [
        p for p in book.parties.get((r["institution"], bank, account), ())
        if p["valid_from"] <= day and p["role"] in (None, "owner")
    ]
    rows.sort(key=lambda p: (p["customer"] != customer, -p["valid_from"], p["customer"] or ""))
    return rows[0] if rows else None


def holder_of(r: Record, end: str, party: Mapping[str, Any] | None) -> Holder | None:
    """Customer from the record, else from the party table, else the account; None where the end names neither."""
    bank = r[f"{end}_institution"] or r["institution"]
    customer = r[f"{end}_customer"] or (party["customer"] if party else None)
    if customer is not None:
        return (r["institution"], bank, "customer", customer)
    if r[f"{end}_account"] is not None:
        return (r["institution"], bank, "account", r[f"{end}_account"])
    return None


def cash_end(r: Record, end: str) -> bool:
    """Whether this end is only notes over the counter: no account there, and cash by method or by instrument."""
    other = "beneficiary" if end == "originator" else "originator"
    if r[f"{end}_account"] is not None:
        return False
    return r[f"{end}_method"] == "cash" or (r["instrument"] == "cash" and r[f"{other}_account"] is not None)


def has_mandate(book: Book, r: Record, end: str, day: int) -> bool:
    """Whether the party table names the conductor on the account at that day."""
    bank = r[f"{end}_institution"] or r["institution"]
    return any(
        p["customer"] == r["conductor"] and p["valid_from"] <= day and p["role"] in MANDATES
        for p in book.parties.get((r["institution"], bank, r[f"{end}_account"]), ())
    )


def unit_day_of(book: Book, r: Record, day: int) -> int:
    """Booking date where it is plausible, else the local day after the cut-off, rolled to a business day."""
    booked = r["booking_date"]
    if booked is not None and -1 <= booked - day <= 5:
        return int(booked)
    profile = book.profile
    late = profile.cut_off is not None and r["time_precision"] != "day"
    unit = day + 1 if late and book.local(r["executed_at"]).time() >= profile.cut_off else day  # type: ignore[operator]
    while profile.roll and (date.fromordinal(unit).weekday() >= 5 or date.fromordinal(unit) in profile.holidays):
        unit += 1
    return unit


def add_legs(book: Book, r: Record, order: tuple[int, int, int]) -> None:
    """Add the legs of one transaction, and the conductor's visit."""
    t = r["executed_at"]
    day = book.day_of(t)
    rows = {end: party_of(book, r, end, day) for end in ("originator", "beneficiary")}
    ends = {end: None if cash_end(r, end) else holder_of(r, end, rows[end]) for end in rows}
    by_notes = ends == {"originator": None, "beneficiary": None}
    if by_notes:  # no account moves: whoever handed over or took notes is remembered, and no rule counts it
        ends = {end: holder_of(r, end, rows[end]) if r[f"{end}_method"] == "cash" else None for end in ends}
    payer, payee = ends["originator"], ends["beneficiary"]
    if payer is not None and payer == payee:
        book.own_account += 1
        return
    one_end = (payer is None) != (payee is None)
    other_method = r["originator_method"] if payer is None else r["beneficiary_method"]
    cash = one_end and not by_notes and (r["instrument"] == "cash" or other_method == "cash")
    bank = by_notes or r["initiated_by"] == "bank"
    home = r["originator_country"] or book.profile.country
    abroad = r["beneficiary_country"] is not None and r["beneficiary_country"] != home
    to_exchange = rows["beneficiary"] is not None and rows["beneficiary"]["kind"] == "exchange"
    leaves = cash or r["instrument"] == "crypto" or to_exchange or abroad

    def leg(end: str, holder: Holder, other: Holder | None) -> Leg:
        credit = end == "beneficiary"
        conductor = r["conductor"]
        if conductor == holder[3] and holder[2] == "customer":
            conductor = None
        return Leg(
            tx=r, holder=holder, counterparty=other, credit=credit,
            amount=r["credit_value"] if credit else r["debit_value"], t=t, order=order, day=day,
            unit_day=unit_day_of(book, r, day), cash=cash, card=r["instrument"] == "card", bank=bank,
            exit=leaves and not credit, whole_day=r["time_precision"] == "day", batch=r["batch_id"],
            branch=r["branch"], terminal=r["terminal"], conductor=conductor,
            mandated=conductor is not None and has_mandate(book, r, end, day), party=rows[end],
        )

    debit_leg = leg("originator", payer, payee) if payer and r["entry_side"] != "credit" else None
    credit_leg = leg("beneficiary", payee, payer) if payee and r["entry_side"] != "debit" else None
    book.sides[id(r)] = (debit_leg, credit_leg)
    for made in (debit_leg, credit_leg):
        if made is not None:
            book.legs.setdefault(made.holder, []).append(made)
    if credit_leg and cash and not bank and credit_leg.conductor is not None and not credit_leg.mandated:
        conductor = (r["institution"], r["institution"], "customer", credit_leg.conductor)
        visit = Leg(
            tx=r, holder=conductor, counterparty=credit_leg.holder, credit=True, amount=credit_leg.amount, t=t,
            order=order, day=day, unit_day=credit_leg.unit_day, cash=True, card=False, bank=False, exit=False,
            whole_day=credit_leg.whole_day, batch=None, branch=r["branch"], terminal=r["terminal"], conductor=None,
            mandated=False, party=None, visit=True,
        )
        book.legs.setdefault(conductor, []).append(visit)


__all__ = ["DAY", "HOUR", "NAN", "Book", "Holder", "Leg", "Profile", "Settings", "open_book", "sha_key"]
