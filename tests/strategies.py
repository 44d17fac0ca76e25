"""Hypothesis strategies for small, nasty streams: attempts of every typology, at their edges, on a few holders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.naive.book import DAY, HOUR
from tests.naive.make import PROFILES, Feed, party

MOST_ROWS = 60
HOLDERS = "ABCDE"
CLOCK_CHANGES = {"us": 5, "ca": 5, "au": 33}  # days from 2 March 2026 to the day before the clocks change
NUDGES = (0.0, 0.0, 0.0, 0.0, 1 / HOUR, -1 / HOUR, 0.25, -1.0)  # hours beside an edge; 1 / HOUR is a microsecond
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows in order of time, party rows, and the profile's name."""

    rows: list[dict[str, Any]]
    parties: list[dict[str, Any]]
    profile: str


@dataclass
class Pen:
    """Writes attempts into a feed, drawing what is left open."""

    draw: Draw
    feed: Feed
    origin: float  # hours from the feed's start to the attempts'

    def one(self, *choices: Any) -> Any:
        """One of the choices, each as likely."""
        return self.draw(st.sampled_from(choices))

    def many(self, least: int, most: int) -> range:
        """As many turns as drawn."""
        return range(self.draw(st.integers(least, most)))

    def who(self) -> str:
        """One of the shared holders."""
        return str(self.one(*HOLDERS))

    def at(self, hours: float) -> float:
        """Hours in the feed of an attempt's hour, sometimes nudged over an edge."""
        return self.origin + hours + float(self.one(*NUDGES))

    def pay(self, hours: float, payer: str, payee: str, amount: float, **more: Any) -> dict[str, Any]:
        """A payment at about that hour."""
        return self.feed.pay(self.at(hours), payer, payee, amount, **more)

    def note(self, hours: float, who: str, amount: float, out: bool = False) -> dict[str, Any]:
        """A cash leg with drawn branch, machine and conductor."""
        make = self.feed.cash_out if out else self.feed.cash_in
        more: dict[str, Any] = {"terminal": self.one(None, None, "M1", "M2")}
        if not out:
            more["conductor"] = self.one(None, None, None, who, "S1", "S2")
        return make(self.at(hours), who, amount, self.one("A", "A", "B", None), **more)


def units(pen: Pen) -> None:
    """Cash in or out, kept under T, with what makes markers."""
    who, out = pen.who(), pen.one(False, False, True)
    if pen.one(False, True):
        pen.pay(-30, "X", who, pen.one(20_000, 30_000, 60_000))
    history = pen.one("none", "none", "small", "reported")
    for k in pen.many(10, 11) if history == "small" else pen.many(1, 2) if history == "reported" else ():
        pen.note(-24 * (12 + 9 * k), who, 2000 if history == "small" else 12_000, out)
    day = 0
    for _ in pen.many(3, 6):
        pen.note(24 * day, who, pen.one(6999.99, 7000, 9000, 9500, 9800, 9999.99, 10_000, 10_000.01), out)
        day += pen.one(1, 1, 2, 4)
    if pen.one(False, True):
        pen.pay(24 * day - 20, who, "Y", pen.one(20_000, 26_000))


def split(pen: Pen) -> None:
    """One day's cash in several visits."""
    who, out = pen.who(), pen.one(False, False, True)
    hours = pen.one(0.0, 8.0, 13.0)
    for _ in pen.many(2, 4):
        pen.note(hours, who, pen.one(4000, 5000, 5000.01, 6000, 9999.99, 10_000), out)
        hours += pen.one(0.1, 0.25, 1, 3)


def smurfs(pen: Pen) -> None:
    """Strangers for one recipient, or one stranger for several."""
    recipient, stranger = pen.who(), pen.one(None, "S1", "S4", "B")
    hours = 0.0
    for k in pen.many(3, 5):
        who = HOLDERS[k % 5] if stranger else recipient
        conductor = stranger or pen.one(f"S{k + 1}", f"S{k + 1}", "S1", None)
        amount = pen.one(999.99, 1000, 3500, 4000, 5000, 9999)
        pen.feed.cash_in(pen.at(hours), who, amount, f"B{k}", conductor=conductor)
        hours += pen.one(0.5, 5, 12, 24, 30)


def through(pen: Pen) -> None:
    """In and on within days."""
    who, hours = pen.who(), 0.0
    share, left = pen.one(0.8499, 0.85, 0.95, 1.0, 1.05, 1.051), 0.0
    for k in pen.many(1, 3):
        amount = pen.one(2500, 5000, 8000)
        pen.pay(hours, pen.one("X", f"X{k}", "A"), who, amount)
        left += amount * share
        hours += pen.one(1, 20)
    hours += pen.one(1, 24, 47, 71)
    if pen.one(True, False):
        pen.feed.cash_out(pen.at(hours), who, round(left, 2))
    else:
        pen.pay(hours, who, pen.one("Y", "B", "A"), round(left, 2), beneficiary_country=pen.one(None, "US", "AE"))


def ring(pen: Pen) -> None:
    """Hop by hop, perhaps home, perhaps twice."""
    names = list(pen.draw(st.permutations(HOLDERS)))[: pen.one(4, 4, 5)]
    home = pen.one(False, True)
    for turn in range(pen.one(1, 1, 1, 2)):
        amount, hours = float(pen.one(3000, 6000, 10_000, 20_000)), 120.0 * turn
        for k in range(len(names) - (0 if home else 1)):
            pen.pay(hours, names[k], names[(k + 1) % len(names)], round(amount, 2))
            if pen.one(False, False, False, True):
                pen.pay(hours + 1, names[k], names[(k + 1) % len(names)], round(amount * 0.98, 2))
            amount *= pen.one(0.85, 0.92, 0.95, 1.0, 1.05)
            hours += pen.one(0, 1, 24, 60, 72)


def to_and_fro(pen: Pen) -> None:
    """Paid and paid back."""
    a, b = "A", pen.one("B", "C")
    for k in pen.many(2, 4):
        amount = pen.one(2000, 3000, 5000)
        pen.pay(90 * k, a, b, amount)
        pen.pay(90 * k + pen.one(5, 50), b, a, round(amount * pen.one(0.79, 0.8, 0.95, 1.05), 2),
                relation=pen.one(None, None, None, "refund"))


def fan_in(pen: Pen) -> None:
    """Many new payers, and on."""
    who = pen.who()
    payers = len(pen.many(9, 13))
    amount = pen.one(499.99, 500, 900)
    for k in range(payers):
        pen.pay(pen.one(7, 11, 14) * k, f"P{k}", who, amount)
    pen.pay(pen.one(80, 150, 167), who, "Y", round(amount * payers * pen.one(0.69, 0.7, 0.9), 2),
            instrument=pen.one("wire", "crypto"))


def fan_out(pen: Pen) -> None:
    """Many new payees, funded, perhaps by batch, perhaps a payroll of old."""
    who = pen.who()
    payees = len(pen.many(9, 13))
    amount, batch = pen.one(500, 900), pen.one(None, None, "B1")
    if batch and pen.one(True, False):
        for month in (1, 2):
            pen.pay(-24 * 30 * month + 24, who, "Q0", amount, batch_id=f"B0{month}")
    pen.pay(-1, "X", who, round(amount * payees * pen.one(0.69, 0.7, 1.0), 2))
    for k in range(payees):
        rail = pen.one("wire", "wire", "wire", "card")
        pen.pay(pen.one(1, 2, 6) * k, who, f"Q{k}", amount, batch_id=batch, instrument=rail)


def scatter(pen: Pen) -> None:
    """One origin, several middles, one end."""
    origin, end = pen.one("A", "O"), pen.one("E", "F")
    for k in pen.many(3, 4):
        amount = pen.one(3400, 4000, 5000)
        pen.pay(k, origin, f"M{k}", amount)
        for part in pen.one((1.0,), (1.0,), (0.5, 0.5)):
            pen.pay(pen.one(30, 95, 96), f"M{k}", end, round(amount * part * pen.one(0.8, 0.9, 1.0), 2))


def gather(pen: Pen) -> None:
    """Several new in, several new out."""
    who = pen.who()
    some = len(pen.many(4, 6))
    for k in range(some):
        pen.pay(pen.one(2, 20, 40) * k, f"P{k}", who, pen.one(1875, 2000, 2500))
    outs = len(pen.many(4, 6))
    for k in range(outs):
        pen.pay(20 + pen.one(2, 20, 30) * k, who, f"Q{k}", round(some * 2000 / outs * pen.one(0.8, 0.9, 1.0), 2))


def dormant(pen: Pen) -> None:
    """Asleep for half a year."""
    who = pen.one("D", "D", "A")
    for k in pen.many(1, 2):
        pen.pay(-24 * (pen.one(179, 180, 181, 200) + 20 * k), "X", who, pen.one(100, 1000, 6000))
    amount = pen.one(4999.99, 5000, 12_000)
    pen.pay(0, "Z", who, amount)
    pen.pay(pen.one(1, 100, 143, 160), who, pen.one("Y", "Y", "Z"), round(amount * pen.one(0.49, 0.5, 0.9), 2))


def crowd(pen: Pen) -> None:
    """More than twenty counterparties in a week, or just twenty."""
    who = pen.who()
    for k in pen.many(19, 23):
        pen.pay(6 * k, f"P{k}", who, pen.one(50, 300))


def noise(pen: Pen) -> None:
    """Ordinary life."""
    for _ in pen.many(1, 6):
        a, b = pen.who(), pen.who()
        instrument = pen.one("wire", "ach", "card", "cash", "internal")
        pen.pay(pen.draw(st.integers(-60, 200)), a, b, pen.draw(st.integers(1, 9000)), instrument=instrument)


ATTEMPTS = (units, units, split, smurfs, through, ring, to_and_fro, fan_in, fan_out, scatter, gather, dormant, crowd)
TWISTS: tuple[dict[str, Any], ...] = (
    {"initiated_by": "bank"}, {"status": "pending"}, {"relation": "refund"}, {"time_precision": "day"},
    {"time_precision": "day"}, {"entry_side": "credit"}, {"entry_side": "debit"}, {"batch_lump": True},
    {"instrument": "card"}, {"instrument": "crypto"},
)


@st.composite
def streams(draw: Draw, profiles: tuple[str, ...] = ("us", "us", "ca", "au"), acts: bool = True) -> Stream:
    """One to three attempts and some noise, twisted; with revisions, voids, reversals and copies where `acts`."""
    name = draw(st.sampled_from(profiles))
    feed = Feed(PROFILES[name])
    for k in range(draw(st.integers(1, 3))):
        origin = 24.0 * draw(st.sampled_from((0, 0, CLOCK_CHANGES[name], 6 * k)))
        attempt = draw(st.sampled_from(ATTEMPTS))
        before = len(feed.rows)
        attempt(Pen(draw, feed, origin))
        if len(feed.rows) > MOST_ROWS:
            del feed.rows[before:]
    if draw(st.booleans()):
        noise(Pen(draw, feed, 0))
    for row in draw(st.lists(st.sampled_from(feed.rows), max_size=4)) if feed.rows else ():
        twist(draw, row)
    if acts and feed.rows:
        for row in draw(st.lists(st.sampled_from(list(feed.rows)), max_size=4)):
            feed.rows.append(act(draw, row))
    feed.rows.sort(key=lambda row: row["executed_at"])
    return Stream(feed.rows, draw(party_tables()), name)


def twist(draw: Draw, row: dict[str, Any]) -> None:
    """Change one thing about a row."""
    kind = draw(st.integers(0, len(TWISTS) + 3))
    if kind < len(TWISTS):
        change = TWISTS[kind]
        if change.get("instrument") and row["instrument"] == "cash":
            return
        row.update(change)
    elif kind == len(TWISTS) and row.get("originator_customer") and row.get("beneficiary_customer"):
        row["beneficiary_customer"] = row["originator_customer"]  # between own accounts
    elif kind == len(TWISTS) + 1:
        row["executed_at"] = row["executed_at"] // DAY * DAY
    elif kind == len(TWISTS) + 2 and row["instrument"] == "cash" and row.get("originator_customer"):
        row.update(originator_account=None, originator_method="cash", beneficiary_method="monetary_instrument")
    else:
        moment = date(1970, 1, 1) + timedelta(days=row["executed_at"] // DAY)
        row["booking_date"] = moment + timedelta(days=draw(st.sampled_from((-3, -1, 0, 1, 2, 6))))


def act(draw: Draw, row: dict[str, Any]) -> dict[str, Any]:
    """A record that acts on another: a copy, a revision, a void, a reversal that fits or not."""
    kind = draw(st.sampled_from(("copy", "revision", "revision", "void", "reversal", "reversal", "misfit")))
    if kind == "copy":
        return dict(row)
    if kind == "revision":
        other = {"amount": row["amount"] // 2 + 1}, {"executed_at": row["executed_at"] + HOUR}, {}
        changes = draw(st.sampled_from(other))
        return {**row, "revision": 2, **changes}
    if kind == "void":
        return {**row, "void": True}
    later = draw(st.sampled_from((0, HOUR, 3 * DAY, 7 * DAY, 7 * DAY + 1)))
    amount = row["amount"] + (1 if kind == "misfit" else 0)
    return {**row, "transaction_id": f"{row['transaction_id']}-back", "relation": "reversal", "amount": amount,
            "relates_to": row["transaction_id"], "executed_at": row["executed_at"] + later, "revision": 1}


@st.composite
def party_tables(draw: Draw) -> list[dict[str, Any]]:
    """Rows for some of the shared holders; mandates for some of the strangers."""
    rows = []
    kinds = st.sampled_from(("person", "person", "business", "business", "processor", "exchange", None))
    for who in draw(st.lists(st.sampled_from(HOLDERS + "DY"), unique=True, max_size=4)):
        opened = draw(st.sampled_from((None, date(2025, 1, 1), date(2025, 12, 2), date(2026, 2, 20))))
        rows.append(party(
            who, kind=draw(kinds), opened=opened, cash_intensive=draw(st.sampled_from((None, None, True))),
            expected_monthly_turnover=draw(st.sampled_from((None, 200_000, 5_000_000))),
        ))
    for who in draw(st.lists(st.sampled_from(HOLDERS), unique=True, max_size=2)):
        rows.append({**party(who, role="mandate"), "customer": draw(st.sampled_from(("S1", "S2")))})
    return rows


@st.composite
def long_streams(draw: Draw, gaps: tuple[int, ...]) -> Stream:
    """Two or three streams on the same holders, so many days apart."""
    first = draw(streams(acts=False))
    gap = draw(st.sampled_from(gaps))
    rows = list(first.rows)
    for turn in range(1, 1 + draw(st.integers(1, 2))):
        for row in draw(streams(profiles=(first.profile,), acts=False)).rows:
            later = {**row, "transaction_id": f"{turn}{row['transaction_id']}"}
            later["executed_at"] += gap * DAY * turn
            if later.get("booking_date") is not None:
                later["booking_date"] += timedelta(days=gap * turn)
            rows.append(later)
    return replace(first, rows=rows)
