"""Habits of a few that look odd and are not: couriers, flat-mates, sellers, crypto traders, parents, the diaspora."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.book import Book, cents, rounded
from aml.feed.simulate.clock import WORKING
from aml.feed.simulate.codes import NONE, Channel, Instrument
from aml.feed.simulate.world import World

Rng = np.random.Generator
I64 = npt.NDArray[np.int64]


def _having(world: World, rng: Rng, share: float) -> I64:
    """Persons with a habit that this share of them has."""
    return np.flatnonzero(rng.random(world.people.number) < share)


def _months(world: World) -> float:
    return world.settings.days * 12 / 365.25


def couriers(world: World, book: Book, rng: Rng) -> None:
    """Parents and neighbours pay in small sums for others, the same person for the same account."""
    p, clock = world.people, world.clock
    who = _having(world, rng, 0.008)
    payer = rng.choice(np.concatenate([world.strangers, np.arange(p.number)]), who.size)
    index, day = clock.every(14, rng.integers(0, 14, who.size))
    row = who[index]
    branch = np.where(rng.random(row.size) < 0.9, p.branch[row], rng.integers(0, world.branches, row.size))
    book.add(
        clock.times(rng, day, "branch"), rounded(cents(rng, 260, 0.6, row.size), 10), beneficiary=p.account[row],
        instrument=Instrument.CASH, channel=Channel.BRANCH, branch=branch, conductor=payer[index],
    )  # fmt: skip


def flats(world: World, book: Book, rng: Rng) -> None:
    """Flat-mates send their share of the rent to one of them, who pays the landlord."""
    p, clock = world.people, world.clock
    holder = _having(world, rng, 0.03)
    for mate in range(3):
        index, day = clock.monthly(np.full(holder.size, 1))
        row = holder[index]
        book.add(
            clock.times(rng, day, "online"), cents(rng, p.rent[row] / 4, 0.0, row.size),
            originator=p.friends[row, mate], beneficiary=p.account[row], instrument=Instrument.INSTANT,
            channel=Channel.MOBILE,
        )  # fmt: skip


def sellers(world: World, book: Book, rng: Rng) -> None:
    """Some sell what they no longer need, a few all the time: many buyers never seen, small sums, all kept."""
    p, clock = world.people, world.clock
    who = _having(world, rng, 0.012)
    rate = np.where(rng.random(who.size) < 0.2, 22.0, 4.0) * _months(world)
    row = np.repeat(who, rng.poisson(rate))
    book.add(
        clock.times(rng, clock.spread(rng, row.size), "online"), rounded(cents(rng, 48, 0.8, row.size), 1),
        originator=rng.choice(world.others.person, row.size), beneficiary=p.account[row],
        instrument=Instrument.INSTANT, channel=Channel.MOBILE,
    )  # fmt: skip


def traders(world: World, book: Book, rng: Rng) -> None:
    """A few trade coins: to an exchange and from it, some sums several times a month, always the same one."""
    p, clock = world.people, world.clock
    who = _having(world, rng, 0.004)
    row = np.repeat(np.arange(who.size), rng.poisson(6.0 * _months(world), who.size))
    usual = 350 * np.exp(rng.normal(0, 0.9, who.size))
    exchange = rng.choice(world.others.exchange, who.size)[row]
    out, own = rng.random(row.size) < 0.55, p.account[who[row]]
    book.add(
        clock.times(rng, clock.spread(rng, row.size), "online"), cents(rng, usual[row], 0.5, row.size),
        originator=np.where(out, own, exchange), beneficiary=np.where(out, exchange, own),
    )  # fmt: skip


def parents(world: World, book: Book, rng: Rng) -> None:
    """Parents pay cash in at home, in another region, and the student draws it where he studies."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(p.student & (rng.random(p.number) < 0.15))
    parent = rng.choice(world.strangers, who.size)
    regions = len(world.settings.place.regions)
    there = (p.branch[who] + rng.integers(1, regions, who.size)) % world.branches
    index, day = clock.monthly(rng.integers(1, 8, who.size))
    book.add(
        clock.times(rng, day, "branch"), rounded(cents(rng, 420, 0.4, index.size), 20),
        beneficiary=p.account[who[index]], instrument=Instrument.CASH, channel=Channel.BRANCH, branch=there[index],
        conductor=parent[index],
    )  # fmt: skip


def diaspora(world: World, book: Book, rng: Rng) -> None:
    """Families in a country of the upper risk tiers get some hundreds each month, for years."""
    p, clock = world.people, world.clock
    who = _having(world, rng, 0.004)
    family = rng.choice(world.others.risky_family, who.size)
    index, day = clock.monthly(rng.integers(2, 12, who.size))
    book.add(
        clock.times(rng, day, "online"), rounded(cents(rng, 290, 0.3, index.size), 10),
        originator=p.account[who[index]], beneficiary=family[index], instrument=Instrument.WIRE,
    )  # fmt: skip


def cheques_for_cash(world: World, book: Book, rng: Rng) -> None:
    """Now and then somebody buys one cashier's cheque for cash: a deposit on a flat, a used car."""
    p, clock = world.people, world.clock
    who = np.flatnonzero(rng.random(p.number) < 0.012 * world.settings.days / 365)
    day = clock.roll(clock.spread(rng, who.size, WORKING))
    book.add(
        clock.times(rng, day, "branch"), rounded(cents(rng, 3_400, 0.5, who.size), 50), originator=p.account[who],
        beneficiary=NONE, instrument=Instrument.CASH, channel=Channel.BRANCH, branch=p.branch[who], conductor=who,
        bought=1,
    )  # fmt: skip


PARTS: Final[tuple[Callable[[World, Book, Rng], None], ...]] = (
    couriers, flats, sellers, traders, parents, diaspora, cheques_for_cash,
)  # fmt: skip
