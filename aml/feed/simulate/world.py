"""Who lives in a simulated bank: its people, its companies, and everybody they deal with elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.clock import Clock
from aml.feed.simulate.codes import NONE, Kind
from aml.feed.simulate.directory import LONG_AGO, ORDINARY_ABROAD, RISKY, Directory
from aml.feed.simulate.settings import SimulateSettings

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROWS_PER_PERSON_DAY: Final = 0.99  # rows of ordinary life, those of the companies included
COMPANIES: Final = 0.10  # per person
MACHINES: Final = 4  # per branch
CATEGORIES: Final = (5411, 5541, 5812, 5814, 5912, 5311, 5732, 4111, 7011, 5999, 5651, 7832)
FRIENDS: Final = 6
TRADES: Final[dict[str, float]] = {
    "shop": 0.27, "service": 0.30, "wholesale": 0.08, "importer": 0.05, "landlord": 0.07, "agency": 0.04,
    "group": 0.05, "builder": 0.05, "club": 0.05, "lawyer": 0.02, "processor": 0.02,
}  # fmt: skip
_TURNOVER: Final = {
    "shop": 38_000, "wholesale": 140_000, "importer": 190_000, "group": 260_000, "club": 4_500, "processor": 900_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class People:
    """Customers who are persons; one entry each, amounts in dollars. Account number = place = customer."""

    account: I32
    savings: I32  # account number, NONE
    income: F64  # a month
    retired: Mask
    student: Mask
    rhythm: npt.NDArray[np.int8]  # pay: 0 weekly, 1 fortnightly, 2 monthly
    employer: I32  # account number, NONE
    landlord: I32
    rent: F64
    active: F64  # around 1, heavy-tailed
    friends: I32  # (person, FRIENDS) account numbers
    branch: I32
    opened: I32
    asleep: Mask

    @property
    def number(self) -> int:
        """How many."""
        return self.account.size


@dataclass(frozen=True, slots=True)
class Companies:
    """Customers that are no persons; account number = number of persons + place."""

    account: I32
    second: I32  # another own account, NONE
    trade: npt.NDArray[np.int8]  # place in TRADES
    turnover: F64  # dollars a month
    branch: I32
    opened: I32
    staff: I32  # (company, 3) people who may pay in at the counter

    def are(self, *trades: str) -> Mask:
        """Whether each company is of one of the trades."""
        return np.isin(self.trade, [list(TRADES).index(trade) for trade in trades])

    def of(self, *trades: str) -> I32:
        """Places of the companies of these trades."""
        return np.flatnonzero(self.are(*trades)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Others:
    """Account numbers at other institutions, by what they are."""

    person: I32
    business: I32
    merchant: I32
    utility: I32
    lender: I32
    acquirer: I32
    exchange: I32
    tax: I32
    pension: I32
    family: I32  # abroad
    trader: I32  # businesses abroad
    risky: I32  # in the countries of the upper risk tiers
    risky_family: I32  # persons there, whom customers of ours support
    bank: I32  # the bank's own account, for fees and interest


@dataclass(frozen=True, slots=True)
class World:
    """All of it; `strangers` are people who are no customers and may stand at a counter."""

    settings: SimulateSettings
    clock: Clock
    directory: Directory
    people: People
    companies: Companies
    others: Others
    strangers: I32
    branches: int

    def region_of(self, branch: int) -> str:
        """The region in which a branch lies."""
        regions = self.settings.place.regions
        return regions[branch % len(regions)]

    def branch_name(self, branch: int) -> str:
        """Its name in the records: the region and a number."""
        return f"{self.region_of(branch)}-{branch // len(self.settings.place.regions) + 1:03d}"


def build(settings: SimulateSettings) -> World:
    """Invent everybody."""
    rng = settings.rng("world")
    clock = Clock(settings.start, settings.days, settings.place)
    persons = max(40, round(settings.transactions / settings.days / ROWS_PER_PERSON_DAY))
    companies = max(30, round(persons * COMPANIES))
    book = Directory(settings.institution, settings.seed, settings.place.countries)
    book.people(persons + companies)
    book.customers = persons + companies
    asleep = rng.random(persons) < 0.012
    asleep[rng.choice(persons, max(6, persons // 400), replace=False)] = True
    opened = _opened(rng, persons, settings.days)
    opened[asleep] = -rng.integers(1_500, 6_000, int(asleep.sum()))
    born = _opened(rng, companies, settings.days)
    trade = _trades(companies)
    kinds = np.full(companies, Kind.BUSINESS)
    for name, kind in (("club", Kind.OTHER), ("processor", Kind.PROCESSOR)):
        kinds[trade == list(TRADES).index(name)] = kind
    book.ours(np.arange(persons), Kind.PERSON, opened)
    book.ours(np.arange(companies) + persons, kinds, born)
    others = _others(book, rng, persons, companies)
    branches = max(12, persons // 700)
    firms = Companies(
        account=np.arange(persons, persons + companies, dtype=np.int32),
        second=_further(book, rng.random(companies) < 0.2, persons, kinds, born),
        trade=trade,
        turnover=_turnover(rng, trade),
        branch=rng.integers(0, branches, companies).astype(np.int32),
        opened=born,
        staff=book.people(companies * 3).reshape(companies, 3),
    )
    people = _people(book, rng, persons, firms, others, branches, opened, asleep)
    strangers = book.people(max(60, persons // 4))
    _mandates(book, firms)
    book.close()
    return World(settings, clock, book, people, firms, others, strangers, branches)


def _opened(rng: np.random.Generator, n: int, days: int) -> I32:
    """Opening days: most years ago, some within the last months or during the simulation."""
    opened = -(120 + rng.gamma(1.6, 1_300.0, n)).astype(np.int32)
    young = rng.random(n) < 0.035
    opened[young] = rng.integers(-80, max(1, days - 15), int(young.sum()))
    return opened


def _trades(companies: int) -> npt.NDArray[np.int8]:
    shares = np.cumsum(list(TRADES.values()))
    places = (np.arange(companies) * 0.6180339887 + 0.5) % 1.0  # evenly, whatever the number
    trade = np.searchsorted(shares / shares[-1], places, side="right").astype(np.int8)
    # The smallest bank still has each trade at least twice, a group of four companies among them.
    for number, name in enumerate(TRADES):
        wanted = 4 if name == "group" else 2
        for place in range(wanted - int((trade == number).sum())):
            trade[2 * number + place] = number
    return trade


def _turnover(rng: np.random.Generator, trade: npt.NDArray[np.int8]) -> F64:
    median = np.array([_TURNOVER.get(name, 45_000) for name in TRADES], dtype=np.float64)
    return np.asarray(median[trade] * np.exp(rng.normal(0.0, 0.9, trade.size)))


def _further(book: Directory, having: Mask, first: int, kind: npt.ArrayLike, opened: I32) -> I32:
    """A further own account for those having one: its number, NONE for the others."""
    account = np.full(having.size, NONE, np.int32)
    kinds = np.broadcast_to(np.asarray(kind), having.size)
    account[having] = book.ours(np.flatnonzero(having) + first, kinds[having], opened[having])
    return account


def _others(book: Directory, rng: np.random.Generator, persons: int, companies: int) -> Others:
    return Others(
        person=book.outside(rng, persons * 2, Kind.PERSON),
        business=book.outside(rng, max(200, companies * 5), Kind.BUSINESS),
        merchant=book.outside(rng, max(250, persons // 6), Kind.BUSINESS),
        utility=book.outside(rng, 14, Kind.BUSINESS),
        lender=book.outside(rng, 10, Kind.BANK),
        acquirer=book.outside(rng, 5, Kind.PROCESSOR),
        exchange=book.outside(rng, 5, Kind.EXCHANGE),
        tax=book.outside(rng, 2, Kind.PUBLIC),
        pension=book.outside(rng, 1, Kind.PUBLIC),
        family=book.abroad(rng, rng.choice(ORDINARY_ABROAD, max(40, persons // 12)), Kind.PERSON),
        trader=book.abroad(rng, rng.choice(ORDINARY_ABROAD, max(60, companies)), Kind.BUSINESS),
        risky=book.abroad(rng, rng.choice(RISKY, 40), Kind.BUSINESS),
        risky_family=book.abroad(rng, rng.choice(RISKY[:2], max(20, persons // 200)), Kind.PERSON),
        bank=book.ours(np.array([NONE]), Kind.BANK, LONG_AGO),
    )


def _people(
    book: Directory, rng: np.random.Generator, n: int, firms: Companies, others: Others, branches: int, opened: I32,
    asleep: Mask,
) -> People:  # fmt: skip
    retired = rng.random(n) < 0.18
    student = ~retired & (rng.random(n) < 0.04)
    income = 4_100 * np.exp(rng.normal(0.0, 0.5, n)) * np.where(retired, 0.5, 1.0) * np.where(student, 0.25, 1.0)
    employer = np.where(retired | (rng.random(n) < 0.1), NONE, _employers(rng, n, firms, others)).astype(np.int32)
    return People(
        account=np.arange(n, dtype=np.int32),
        savings=_further(book, rng.random(n) < 0.45, 0, Kind.PERSON, opened),
        income=income,
        retired=retired,
        student=student,
        rhythm=rng.choice(3, n, p=[0.12, 0.62, 0.26]).astype(np.int8),
        employer=employer,
        landlord=_landlords(rng, n, firms, others, employer),
        rent=np.round(income * rng.uniform(0.2, 0.42, n) / 5) * 5,
        active=np.minimum(np.exp(rng.normal(-0.15, 0.55, n)), 8.0),
        friends=_friends(rng, n, others),
        branch=rng.integers(0, branches, n).astype(np.int32),
        opened=opened,
        asleep=asleep,
    )


def _employers(rng: np.random.Generator, n: int, firms: Companies, others: Others) -> I32:
    """A third work for a company of ours, by its size; the others elsewhere, most for large ones."""
    size = np.where(np.isin(firms.trade, [list(TRADES).index(t) for t in ("club", "processor")]), 0.0, firms.turnover)
    here = rng.choice(firms.account, n, p=size / size.sum())
    weights = 1.0 / np.arange(3, others.business.size + 3)
    elsewhere = rng.choice(others.business, n, p=weights / weights.sum())
    return np.where(rng.random(n) < 0.33, here, elsewhere).astype(np.int32)


def _landlords(rng: np.random.Generator, n: int, firms: Companies, others: Others, employer: I32) -> I32:
    """To whom rent or mortgage goes: a lender, a landlord of ours or elsewhere, a private person.

    A fifth of our employers have flats for their people, all with one landlord.
    """
    landlord = firms.account[firms.of("landlord")]
    companies = rng.choice(landlord, n)
    private = rng.integers(0, max(1, n // 60), n)  # the first persons of the bank let out rooms
    kinds = np.stack([rng.choice(others.lender, n), companies, rng.choice(others.business, n), private])
    chosen = kinds[rng.choice(4, n, p=[0.4, 0.12, 0.42, 0.06]), np.arange(n)]
    housing = np.where(rng.random(firms.account.size) < 0.2, rng.choice(landlord, firms.account.size), NONE)
    here = np.isin(employer, firms.account)
    flat = np.where(here, housing[np.where(here, employer - firms.account[0], 0)], NONE)
    return np.where((flat != NONE) & (rng.random(n) < 0.6), flat, chosen).astype(np.int32)


def _friends(rng: np.random.Generator, n: int, others: Others) -> I32:
    """Circles: half of a person's friends bank here and are each other's, half elsewhere."""
    near = (np.arange(n)[:, None] + rng.integers(1, 25, (n, FRIENDS)) * rng.choice([-1, 1], (n, FRIENDS))) % n
    far = others.person[(np.arange(n)[:, None] * 2 + rng.integers(0, 40, (n, FRIENDS))) % others.person.size]
    return np.asarray(np.where(rng.random((n, FRIENDS)) < 0.5, near, far), dtype=np.int32)


def _mandates(book: Directory, firms: Companies) -> None:
    """The shops' and builders' people may act on the company's account, and the party table says so."""
    for trade in ("shop", "builder"):
        for place in firms.of(trade):
            book.roles += [(int(firms.account[place]), int(person)) for person in firms.staff[place]]
