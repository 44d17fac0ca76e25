"""What people do with their money every month: wages, rent, bills, cards, friends, cash, savings, family abroad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.book import Book, cents, rounded
from aml.feed.simulate.clock import EVERY_DAY, WORKING
from aml.feed.simulate.codes import NONE, Channel, Initiated, Instrument
from aml.feed.simulate.world import MACHINES, World

Rng = np.random.Generator
I64 = npt.NDArray[np.int64]


def _poisson(rng: Rng, rate: npt.NDArray[np.float64]) -> I64:
    """Each place as often as a Poisson draw of its rate says."""
    return np.repeat(np.arange(rate.size), rng.poisson(rate))


def _months(world: World) -> float:
    return world.settings.days * 12 / 365.25


def wages(world: World, book: Book, rng: Rng) -> None:
    """From employers elsewhere; those of ours pay by batch. Some get a bonus once."""
    p, clock = world.people, world.clock
    elsewhere = p.employer >= p.number + world.companies.account.size
    for rhythm, step, per_month in ((0, 7, 52 / 12), (1, 14, 26 / 12), (2, 0, 1.0)):
        who = np.flatnonzero(elsewhere & (p.rhythm == rhythm))
        phase = 4 - clock.start.weekday() + 7 * rng.integers(0, 2, who.size)
        index, day = clock.every(step, phase) if step else clock.monthly(np.full(who.size, 28))
        paid = who[index]
        base = p.income[paid] / per_month * np.where(rng.random(paid.size) < 0.03, rng.uniform(1.1, 1.6, paid.size), 1)
        book.add(
            clock.times(rng, day, "batch"), cents(rng, base, 0.015, paid.size), originator=p.employer[paid],
            beneficiary=p.account[paid], instrument=Instrument.ACH, channel=Channel.API,
        )  # fmt: skip
    lucky = np.flatnonzero(elsewhere & (rng.random(p.number) < 0.025 * _months(world)))
    day = clock.roll(clock.spread(rng, lucky.size, WORKING))
    book.add(
        clock.times(rng, day, "batch"), cents(rng, p.income[lucky] * rng.uniform(0.5, 3, lucky.size), 0.2, lucky.size),
        originator=p.employer[lucky], beneficiary=p.account[lucky], channel=Channel.API,
    )  # fmt: skip


def pensions(world: World, book: Book, rng: Rng) -> None:
    """Monthly from one public body to everybody retired, tax refunds to some."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(p.retired)
    index, day = clock.monthly(np.full(who.size, 3))
    paid = who[index]
    book.add(
        clock.times(rng, day, "batch"), cents(rng, p.income[paid], 0.0, paid.size),
        originator=world.others.pension[0], beneficiary=p.account[paid], channel=Channel.API,
    )  # fmt: skip
    refunded = _poisson(rng, np.full(p.number, 0.02 * _months(world)))
    day = clock.spread(rng, refunded.size, WORKING)
    book.add(
        clock.times(rng, clock.roll(day), "batch"), cents(rng, 900, 0.7, refunded.size),
        originator=rng.choice(world.others.tax, refunded.size), beneficiary=p.account[refunded], channel=Channel.API,
    )  # fmt: skip


def rents(world: World, book: Book, rng: Rng) -> None:
    """Rent or mortgage at the beginning of the month."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(rng.random(p.number) < 0.85)
    index, day = clock.monthly(rng.integers(1, 6, who.size))
    rail = rng.choice([Instrument.ACH, Instrument.INSTANT, Instrument.CHEQUE], who.size, p=[0.75, 0.17, 0.08])
    payer = who[index]
    book.add(
        clock.times(rng, day, "online"), cents(rng, p.rent[payer], 0.0, payer.size), originator=p.account[payer],
        beneficiary=p.landlord[payer],
        instrument=rail[index],
    )  # fmt: skip


def bills(world: World, book: Book, rng: Rng) -> None:
    """Utilities, telephone, insurance, the credit card, taxes: few payees with very many payers."""
    p, o, clock = world.people, world.others, world.clock
    for payees, share, median, sigma in (
        (o.utility[:5], 0.85, 95, 0.45), (o.utility[5:9], 0.8, 65, 0.35), (o.utility[9:], 0.6, 130, 0.4),
        (o.lender, 0.5, 520, 0.8),
    ):  # fmt: skip
        who = np.flatnonzero(rng.random(p.number) < share)
        payee = rng.choice(payees, who.size)
        index, day = clock.monthly(rng.integers(1, 29, who.size))
        usual = median * np.exp(rng.normal(0, sigma, who.size))
        book.add(
            clock.times(rng, day, "batch"), cents(rng, usual[index], 0.12, index.size),
            originator=p.account[who[index]], beneficiary=payee[index], initiated_by=Initiated.THIRD_PARTY,
        )  # fmt: skip
    payer = _poisson(rng, np.full(p.number, 0.05 * _months(world)))
    book.add(
        clock.times(rng, clock.spread(rng, payer.size, WORKING), "online"), cents(rng, 700, 0.8, payer.size),
        originator=p.account[payer], beneficiary=rng.choice(o.tax, payer.size),
    )  # fmt: skip


def cards(world: World, book: Book, rng: Rng) -> None:
    """Groceries and all the rest: mostly a few favourite merchants, otherwise the large ones."""
    p, o, clock = world.people, world.others, world.clock
    payer = _poisson(rng, 13.5 * _months(world) * p.active)
    large = np.minimum(rng.pareto(0.9, p.number * 5) * 3, o.merchant.size - 1).astype(np.int64)
    favourite = o.merchant[((large * 37) % o.merchant.size)].reshape(p.number, 5)
    usual = favourite[payer, np.minimum(rng.geometric(0.4, payer.size) - 1, 4)]
    other = o.merchant[
        (np.minimum(rng.pareto(0.7, payer.size) * 4, o.merchant.size - 1).astype(np.int64) * 37) % o.merchant.size
    ]
    book.add(
        clock.times(rng, clock.spread(rng, payer.size), "shop"),
        cents(rng, 24 * (p.income[payer] / 4_000) ** 0.3, 0.85, payer.size),
        originator=p.account[payer], beneficiary=np.where(rng.random(payer.size) < 0.72, usual, other),
        instrument=Instrument.CARD, channel=Channel.OTHER,
    )  # fmt: skip


def friends(world: World, book: Book, rng: Rng) -> None:
    """Instant payments within circles that stay, now and then to somebody new, in both directions."""
    p, clock = world.people, world.clock
    who = _poisson(rng, 3.4 * _months(world) * p.active)
    friend = p.friends[who, np.minimum(rng.geometric(0.35, who.size) - 1, p.friends.shape[1] - 1)]
    new = np.where(
        rng.random(who.size) < 0.5, rng.choice(world.others.person, who.size), rng.integers(0, p.number, who.size)
    )
    friend = np.where(rng.random(who.size) < 0.06, new, friend)
    out = rng.random(who.size) < 0.55
    amount = cents(rng, 32, 0.95, who.size)
    even = rng.random(who.size) < 0.6
    book.add(
        clock.times(rng, clock.spread(rng, who.size), "online"), np.where(even, rounded(amount, 5), amount),
        originator=np.where(out, p.account[who], friend), beneficiary=np.where(out, friend, p.account[who]),
        instrument=Instrument.INSTANT, channel=Channel.MOBILE,
    )  # fmt: skip
    large = _poisson(rng, np.full(p.number, 0.12 * _months(world)))  # a sofa, a loan among friends, a used bicycle
    other = p.friends[large, rng.integers(0, p.friends.shape[1], large.size)]
    out = rng.random(large.size) < 0.5
    book.add(
        clock.times(rng, clock.spread(rng, large.size), "online"), rounded(cents(rng, 420, 0.9, large.size), 10),
        originator=np.where(out, p.account[large], other), beneficiary=np.where(out, other, p.account[large]),
        instrument=rng.choice([Instrument.INSTANT, Instrument.ACH, Instrument.WIRE], large.size, p=[0.6, 0.33, 0.07]),
    )  # fmt: skip


def cash(world: World, book: Book, rng: Rng) -> None:
    """Cash machines; waiters' tips and market traders' takings; an occasional deposit at the counter."""
    p, clock = world.people, world.clock
    who = _poisson(rng, 1.5 * _months(world) * p.active)
    machine = p.branch[who] * MACHINES + rng.integers(0, MACHINES, who.size)
    away = rng.random(who.size) < 0.2
    machine = np.where(away, rng.integers(0, world.branches * MACHINES, who.size), machine)
    book.add(
        clock.times(rng, clock.spread(rng, who.size), "shop"),
        np.minimum(rounded(cents(rng, 90, 0.6, who.size), 20), 80_000),
        originator=p.account[who], instrument=Instrument.CASH, channel=Channel.ATM, terminal=machine,
        branch=machine // MACHINES,
    )  # fmt: skip
    usual = rng.random(p.number)
    tips, trader = usual < 0.03, (usual >= 0.03) & (usual < 0.042)
    rate = np.where(tips, 3.5, np.where(trader, 5.0, 0.05)) * _months(world)
    who = _poisson(rng, rate)
    median = np.where(tips, 190, np.where(trader, 520, 340))[who]
    atm = rng.random(who.size) < np.where(trader | tips, 0.7, 0.25)[who]
    machine = p.branch[who] * MACHINES
    branch = np.where(rng.random(who.size) < 0.1, rng.integers(0, world.branches, who.size), p.branch[who])
    day = np.where(atm, clock.spread(rng, who.size), clock.roll(clock.spread(rng, who.size, WORKING)))
    day = np.minimum(day, world.settings.days - 1)
    branch = np.where(atm, p.branch[who], branch)
    book.add(
        np.where(atm, clock.times(rng, day, "shop"), clock.times(rng, day, "branch")),
        rounded(cents(rng, median, 0.55, who.size), 5), beneficiary=p.account[who], instrument=Instrument.CASH,
        channel=np.where(atm, Channel.ATM, Channel.BRANCH), terminal=np.where(atm, machine, NONE), branch=branch,
        conductor=np.where(atm, NONE, who),
    )  # fmt: skip


def savings(world: World, book: Book, rng: Rng) -> None:
    """To the own savings account after pay day, sometimes back."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(p.savings >= 0)
    index, day = clock.monthly(rng.integers(1, 29, who.size))
    saver = who[index]
    back = rng.random(saver.size) < 0.15
    book.add(
        clock.times(rng, day, "online"), rounded(cents(rng, p.income[saver] * 0.08, 0.5, saver.size), 10),
        originator=np.where(back, p.savings[saver], p.account[saver]),
        beneficiary=np.where(back, p.account[saver], p.savings[saver]), instrument=Instrument.INTERNAL,
    )  # fmt: skip


def charges(world: World, book: Book, rng: Rng) -> None:
    """What the bank itself books: fees and instalments from the customer, interest to him."""
    p, clock, bank = world.people, world.clock, int(world.others.bank[0])
    for share, median, credit in ((0.35, 6, False), (0.12, 310, False), (0.4, 2, True)):
        who = np.flatnonzero(rng.random(p.number) < share)
        index, day = clock.monthly(np.full(who.size, 28))
        account = np.where(credit & (p.savings >= 0), p.savings, p.account)[who[index]]
        book.add(
            clock.times(rng, day, "batch"), cents(rng, median, 0.4, index.size),
            originator=bank if credit else account, beneficiary=account if credit else bank,
            instrument=Instrument.INTERNAL, channel=Channel.OTHER, initiated_by=Initiated.BANK,
        )  # fmt: skip


def abroad_and_coins(world: World, book: Book, rng: Rng) -> None:
    """Remitters send some hundreds home each month; savers buy a little crypto."""
    p, o, clock = world.people, world.others, world.clock
    for share, payees, instrument, median in (
        (0.045, o.family, Instrument.WIRE, 300), (0.02, o.exchange, Instrument.ACH, 130),
    ):  # fmt: skip
        who = np.flatnonzero(rng.random(p.number) < share)
        payee = rng.choice(payees, who.size)
        index, day = clock.monthly(rng.integers(2, 12, who.size))
        usual = median * np.exp(rng.normal(0, 0.4, who.size))
        book.add(
            clock.times(rng, day, "online"), rounded(cents(rng, usual[index], 0.15, index.size), 10),
            originator=p.account[who[index]], beneficiary=payee[index], instrument=instrument,
        )  # fmt: skip


def students(world: World, book: Book, rng: Rng) -> None:
    """Parents and a grant pay in at the beginning of the month; rent and fees leave soon after."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(p.student)
    parents = rng.choice(world.others.person, (2, who.size))
    for payer in parents:
        index, day = clock.monthly(rng.integers(1, 4, who.size))
        book.add(
            clock.times(rng, day, "online"), rounded(cents(rng, 450, 0.4, index.size), 50), originator=payer[index],
            beneficiary=p.account[who[index]], instrument=Instrument.INSTANT,
        )  # fmt: skip
    some = np.flatnonzero(rng.random(who.size) < 0.3)
    day = clock.roll(clock.spread(rng, some.size, EVERY_DAY))
    book.add(
        clock.times(rng, np.minimum(day, world.settings.days - 1), "online"), cents(rng, 1_900, 0.4, some.size),
        originator=p.account[who[some]], beneficiary=rng.choice(world.others.business, some.size),
    )  # fmt: skip


PARTS: Final[tuple[Callable[[World, Book, Rng], None], ...]] = (
    wages, pensions, rents, bills, cards, friends, cash, savings, charges, abroad_and_coins, students,
)  # fmt: skip
