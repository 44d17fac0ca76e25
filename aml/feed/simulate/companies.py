"""What companies do with their money: invoices, suppliers, payroll, takings, card settlements, taxes, rents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.book import Book, cents, rounded
from aml.feed.simulate.clock import WORKING
from aml.feed.simulate.codes import NONE, Channel, Initiated, Instrument
from aml.feed.simulate.world import MACHINES, World

Rng = np.random.Generator
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_B2B: Final = [Instrument.ACH, Instrument.WIRE, Instrument.CHEQUE, Instrument.INSTANT]
_B2B_SHARES: Final = [0.66, 0.12, 0.12, 0.10]


def _months(world: World) -> float:
    return world.settings.days * 12 / 365.25


def _instrument(rng: Rng, n: int) -> I64:
    return rng.choice(_B2B, n, p=_B2B_SHARES).astype(np.int64)


def invoices(world: World, book: Book, rng: Rng) -> None:
    """Customers pay their invoices: most of them known, some new; larger companies have more of them."""
    f, o, clock = world.companies, world.others, world.clock
    usual = np.where(f.are("shop"), 0.12, np.where(f.are("club", "processor", "landlord"), 0.0, 0.9))
    count = np.where(usual > 0, np.clip(3 + f.turnover / 9_000, 3, 45) * np.where(f.are("shop"), 0.15, 1), 0)
    firm = np.repeat(np.arange(count.size), rng.poisson(count * _months(world)))
    pool = rng.choice(o.business, (count.size, 20))
    private = rng.random(count.size) < 0.35  # plumbers and dentists are paid by persons
    pool[private] = rng.choice(np.concatenate([o.person, world.people.account]), (int(private.sum()), 20))
    payer = pool[firm, np.minimum(rng.geometric(0.12, firm.size) - 1, 19)]
    new = np.where(private[firm], rng.choice(o.person, firm.size), rng.choice(o.business, firm.size))
    payer = np.where(rng.random(firm.size) < 0.1, new, payer)
    median = usual * f.turnover / np.maximum(count, 1) * 0.82
    book.add(
        clock.times(rng, clock.roll(clock.spread(rng, firm.size, WORKING)), "office"),
        cents(rng, median[firm], 0.6, firm.size), originator=payer, beneficiary=f.account[firm],
        instrument=_instrument(rng, firm.size),
    )  # fmt: skip


def supplies(world: World, book: Book, rng: Rng) -> None:
    """Suppliers are paid, half of what comes in; most of them for years."""
    f, o, clock = world.companies, world.others, world.clock
    share = np.where(f.are("processor"), 0.004, np.where(f.are("club", "landlord"), 0.3, 0.52))
    count = np.clip(2 + f.turnover / 16_000, 2, 30)
    firm = np.repeat(np.arange(count.size), rng.poisson(count * _months(world)))
    pool = rng.choice(np.concatenate([o.business, np.repeat(f.account[f.of("wholesale")], 12)]), (count.size, 8))
    payee = pool[firm, np.minimum(rng.geometric(0.25, firm.size) - 1, 7)]
    payee = np.where(rng.random(firm.size) < 0.06, rng.choice(o.business, firm.size), payee)
    book.add(
        clock.times(rng, clock.roll(clock.spread(rng, firm.size, WORKING)), "office"),
        cents(rng, (share * f.turnover / count * 0.8)[firm], 0.65, firm.size), originator=f.account[firm],
        beneficiary=payee, instrument=_instrument(rng, firm.size),
    )  # fmt: skip


def payroll(world: World, book: Book, rng: Rng) -> None:
    """Wages of ours and of others, one batch per company and pay day."""
    p, f, clock = world.people, world.companies, world.clock
    here = np.flatnonzero((p.employer >= p.number) & (p.employer < p.number + f.account.size))
    firm_here = p.employer[here] - p.number
    elsewhere = np.clip(f.turnover / 14_000, 0, 40).astype(np.int64)
    elsewhere[f.are("club", "processor")] = 0
    firm_else = np.repeat(np.arange(f.account.size), rng.poisson(elsewhere))
    firm = np.concatenate([firm_here, firm_else])
    payee = np.concatenate([p.account[here], rng.choice(world.others.person, firm_else.size)])
    income = np.concatenate([p.income[here], 3_600 * np.exp(rng.normal(0, 0.4, firm_else.size))])
    rhythm = rng.choice(2, f.account.size, p=[0.65, 0.35])
    phase = 4 - clock.start.weekday() + 7 * rng.integers(0, 2, f.account.size)
    second = rng.integers(2 * 3_600, 6 * 3_600, f.account.size)
    for kind, per_month in ((0, 26 / 12), (1, 1.0)):
        who = np.flatnonzero(rhythm[firm] == kind)
        index, day = clock.monthly(np.full(who.size, 27)) if kind else clock.every(14, phase[firm[who]])
        row = who[index]
        at = clock.at(day, second[firm[row]]) + rng.integers(0, 90, row.size) * 1_000_000
        book.add(
            at, cents(rng, income[row] / per_month, 0.015, row.size), originator=f.account[firm[row]],
            beneficiary=payee[row], channel=Channel.API, batch=firm[row] * (world.settings.days + 64) + day,
        )  # fmt: skip


def takings(world: World, book: Book, rng: Rng) -> None:
    """Shops bank their cash: the same branch, the same people, much the same sum, some by machine."""
    f, clock = world.companies, world.clock
    shop = f.of("shop")
    week = rng.choice([1, 2, 3, 5], shop.size, p=[0.25, 0.3, 0.2, 0.25])  # deposits a week
    index = np.repeat(np.arange(shop.size), world.settings.days)
    day = np.tile(np.arange(world.settings.days), shop.size)
    kept = clock.works(day) & (((day + index) % 5) * week[index] % 5 < week[index]) & (rng.random(day.size) < 0.97)
    index, day = index[kept], day[kept]
    median = np.minimum(f.turnover[shop] * 0.3 / (4.33 * week), 8_600)
    large = rng.random(shop.size) < 0.02
    median[large] = rng.uniform(11_000, 17_000, int(large.sum()))
    # Some come twice a day, at noon and before the counter closes, and a few of those carry much.
    twice = rng.random(shop.size) < 0.12
    again = np.flatnonzero(twice[index] & (rng.random(index.size) < 0.8))
    busy = twice & (rng.random(shop.size) < 0.25)
    median[busy] = rng.uniform(4_500, 6_500, int(busy.sum()))
    index, day = np.concatenate([index, index[again]]), np.concatenate([day, day[again]])
    machine = rng.random(shop.size) < 0.15
    at_machine = machine[index] & (median[index] < 2_500)
    branch = f.branch[shop[index]]
    clerk = np.where(rng.random(index.size) < 0.8, 0, rng.integers(1, 3, index.size))
    book.add(
        np.where(at_machine, clock.times(rng, day, "evening"), clock.times(rng, day, "branch")),
        rounded(cents(rng, median[index], 0.16, index.size), 1), beneficiary=f.account[shop[index]],
        instrument=Instrument.CASH, channel=np.where(at_machine, Channel.ATM, Channel.BRANCH), branch=branch,
        terminal=np.where(at_machine, branch * MACHINES, NONE),
        conductor=np.where(at_machine, NONE, f.staff[shop[index], clerk]),
    )  # fmt: skip


def cash_wages(world: World, book: Book, rng: Rng) -> None:
    """Builders draw the week's wages in cash on Fridays."""
    f, clock = world.companies, world.clock
    some = f.of("builder")
    some = some[rng.random(some.size) < 0.5]
    index, day = clock.every(7, np.full(some.size, (4 - clock.start.weekday()) % 7))
    usual = np.minimum(rng.uniform(1_800, 6_500, some.size), f.turnover[some] * 0.1)
    usual[rng.random(some.size) < 0.1] = 9_000
    firm = some[index]
    book.add(
        clock.times(rng, day, "branch"), rounded(cents(rng, usual[index], 0.04, index.size), 100),
        originator=f.account[firm], instrument=Instrument.CASH, channel=Channel.BRANCH, branch=f.branch[firm],
        conductor=f.staff[firm, 0],
    )  # fmt: skip


def settlements(world: World, book: Book, rng: Rng) -> None:
    """Acquirers pay out the day's cards in one sum; our own processors collect and forward within the day."""
    f, o, clock = world.companies, world.others, world.clock
    shop = np.flatnonzero(f.are("shop") & (rng.random(f.account.size) < 0.9))
    rows = np.repeat(np.arange(shop.size), int(np.ceil(world.settings.days * 3 / 7)))
    day = clock.roll(clock.spread(rng, rows.size, WORKING))
    processors = f.account[f.of("processor")]
    acquirer = np.where(
        rng.random(shop.size) < 0.25, rng.choice(processors, shop.size), rng.choice(o.acquirer, shop.size)
    )
    book.add(
        clock.times(rng, day, "batch"), cents(rng, f.turnover[shop[rows]] * 0.85 / 13, 0.35, rows.size),
        originator=acquirer[rows], beneficiary=f.account[shop[rows]], channel=Channel.API,
    )  # fmt: skip
    firm = f.of("processor")
    index, day = clock.every(1, np.zeros(firm.size, np.int64))
    kept = clock.works(day) & (rng.random(day.size) < 0.99)
    index, day = index[kept], day[kept]
    total = cents(rng, f.turnover[firm[index]] / 21, 0.25, index.size)
    book.add(
        clock.times(rng, day, "batch"), total, originator=rng.choice(o.acquirer, index.size),
        beneficiary=f.account[firm[index]], channel=Channel.API, instrument=Instrument.WIRE,
    )  # fmt: skip
    parts = 8
    rows = np.repeat(np.arange(index.size), parts)
    share = rng.dirichlet(np.full(parts, 3.0), index.size).ravel() * 0.97
    client = rng.choice(o.merchant, (firm.size, 30))[index[rows], rng.integers(0, 30, rows.size)]
    book.add(
        clock.times(rng, day[rows], "office"), np.maximum((total[rows] * share).astype(np.int64), 100),
        originator=f.account[firm[index[rows]]], beneficiary=client, channel=Channel.API,
    )  # fmt: skip


def treasuries(world: World, book: Book, rng: Rng) -> None:
    """Groups of four companies pass surplus money round every week; two accounts of one owner change places."""
    f, clock = world.companies, world.clock
    group = f.of("group")
    rings = group[: group.size // 4 * 4].reshape(-1, 4)
    index, day = clock.every(7, rng.integers(0, 7, len(rings)))
    start = cents(rng, 40_000, 0.5, index.size)
    morning = clock.times(rng, day, "office")
    for hop in range(4):
        book.add(
            morning + hop * 86_400_000_000, (start * (1 - 0.004 * hop)).astype(np.int64),
            originator=f.account[rings[index, hop]], beneficiary=f.account[rings[index, (hop + 1) % 4]],
            instrument=Instrument.WIRE,
        )  # fmt: skip
    own = np.flatnonzero(f.second != NONE)
    index, day = clock.monthly(rng.integers(1, 29, own.size))
    firm = own[index]
    book.add(
        clock.times(rng, day, "office"), rounded(cents(rng, f.turnover[firm] * 0.15, 0.5, firm.size), 100),
        originator=f.account[firm], beneficiary=f.second[firm], instrument=Instrument.INTERNAL,
    )  # fmt: skip


def trade(world: World, book: Book, rng: Rng) -> None:
    """Importers pay known houses abroad; wholesalers pass on two thirds of what a shop's order brought."""
    f, o, clock = world.companies, world.others, world.clock
    firm = np.repeat(f.of("importer"), max(1, round(5 * _months(world))))
    house = rng.choice(o.trader, (f.account.size, 3))
    out = rng.random(firm.size) < 0.85
    abroad = house[firm, rng.integers(0, 3, firm.size)]
    book.add(
        clock.times(rng, clock.roll(clock.spread(rng, firm.size, WORKING)), "office"),
        cents(rng, f.turnover[firm] * 0.06, 0.6, firm.size), originator=np.where(out, f.account[firm], abroad),
        beneficiary=np.where(out, abroad, f.account[firm]), instrument=Instrument.WIRE,
    )  # fmt: skip
    shop = f.of("shop")
    seller, maker = rng.choice(f.of("wholesale"), shop.size), rng.choice(o.business, shop.size)
    index, day = clock.monthly(rng.integers(1, 29, shop.size))
    order = cents(rng, f.turnover[shop[index]] * 0.12, 0.3, index.size)
    at = clock.times(rng, day, "office")
    book.add(at, order, originator=f.account[shop[index]], beneficiary=f.account[seller[index]])
    later = at + rng.integers(8, 60, index.size) * 3_600_000_000
    kept = rng.uniform(0.6, 0.84, index.size)
    book.add(later, (order * kept).astype(np.int64) + 1, originator=f.account[seller[index]], beneficiary=maker[index])


def dues(world: World, book: Book, rng: Rng) -> None:
    """Clubs of some thirty members; agencies whom known clients pay and who pay their staff at once."""
    p, f, o, clock = world.people, world.companies, world.others, world.clock
    club = f.of("club")
    members = rng.choice(np.concatenate([o.person, p.account]), (club.size, 32))
    index, day = clock.monthly(rng.integers(2, 9, members.size))
    usual = rng.uniform(15, 80, club.size)
    book.add(
        clock.times(rng, day, "online"), cents(rng, usual[index // 32], 0.0, index.size),
        originator=members.ravel()[index], beneficiary=f.account[club[index // 32]],
    )  # fmt: skip
    agency = f.of("agency")
    staff = rng.choice(o.person, (agency.size, 8))
    client = rng.choice(o.business, (agency.size, 4))
    index, day = clock.monthly(rng.integers(3, 26, agency.size))
    pay = f.turnover[agency[index]] * 0.5
    for slot in range(4):
        book.add(
            clock.times(rng, day, "office"), cents(rng, pay / 4, 0.08, index.size), originator=client[index, slot],
            beneficiary=f.account[agency[index]],
        )  # fmt: skip
    for slot in range(8):
        later = clock.roll(day + 1 + slot % 2)
        book.add(
            clock.times(rng, later, "office"), cents(rng, pay * 0.11, 0.1, index.size),
            originator=f.account[agency[index]], beneficiary=staff[index, slot],
        )  # fmt: skip


def overheads(world: World, book: Book, rng: Rng) -> None:
    """Rent, utilities, taxes and the bank's fees."""
    f, o, clock = world.companies, world.others, world.clock
    bank = int(o.bank[0])
    for payees, share, initiated in (
        (o.business, 0.06, Initiated.CUSTOMER), (o.utility, 0.012, Initiated.THIRD_PARTY),
        (o.tax, 0.08, Initiated.CUSTOMER), (np.array([bank]), 0.0007, Initiated.BANK),
    ):  # fmt: skip
        payee = rng.choice(payees, f.account.size)
        index, day = clock.monthly(rng.integers(1, 29, f.account.size))
        book.add(
            clock.times(rng, day, "batch"), cents(rng, f.turnover[index] * share, 0.1, index.size),
            originator=f.account[index], beneficiary=payee[index], initiated_by=initiated,
        )  # fmt: skip


PARTS: Final[tuple[Callable[[World, Book, Rng], None], ...]] = (
    invoices, supplies, payroll, takings, cash_wages, settlements, treasuries, trade, dues, overheads,
)  # fmt: skip
