"""What happens seldom in ordinary life and looks odd: weddings, houses, cars, heirs, money back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.feed.simulate.book import Book, Columns, cents, join, rounded, take
from aml.feed.simulate.clock import WORKING
from aml.feed.simulate.codes import NONE, Channel, Instrument, Kind, Relation, Status
from aml.feed.simulate.world import FRIENDS, World

Rng = np.random.Generator
I64 = npt.NDArray[np.int64]

_HOUR: Final = 3_600_000_000


def _some(world: World, rng: Rng, per_year: float) -> I64:
    """Persons to whom something happens that comes so often in a year."""
    return np.flatnonzero(rng.random(world.people.number) < per_year * world.settings.days / 365)


def _day(world: World, rng: Rng, n: int) -> I64:
    return world.clock.roll(world.clock.spread(rng, n, WORKING))


def weddings(world: World, book: Book, rng: Rng) -> None:
    """Some fourteen gifts within days, from friends and from guests never seen; the money stays."""
    p, clock = world.people, world.clock
    couple = _some(world, rng, 0.006)
    day = _day(world, rng, couple.size)
    rows, place = np.repeat(np.arange(couple.size), 14), np.tile(np.arange(14), couple.size)
    near = (place < FRIENDS) & (rng.random(rows.size) < 0.8)
    friend = p.friends[couple[rows], np.minimum(place, FRIENDS - 1)]
    guest = np.where(near, friend, rng.choice(world.others.person, rows.size))
    book.add(
        clock.times(rng, day[rows] + rng.integers(0, 6, rows.size), "online"),
        rounded(cents(rng, 150, 0.6, rows.size), 10), originator=guest, beneficiary=p.account[couple[rows]],
        instrument=Instrument.INSTANT, channel=Channel.MOBILE,
    )  # fmt: skip


def houses(world: World, book: Book, rng: Rng) -> None:
    """A lender's or a buyer's large sum comes in and goes to a lawyer, whom most have paid a fee before."""
    p, f, o, clock = world.people, world.companies, world.others, world.clock
    who = _some(world, rng, 0.008)
    day = _day(world, rng, who.size)
    lawyer = np.where(
        rng.random(who.size) < 0.5, rng.choice(f.account[f.of("lawyer")], who.size), rng.choice(o.business, who.size)
    )
    known = np.flatnonzero((rng.random(who.size) < 0.85) & (day > 12))
    book.add(
        clock.times(rng, day[known] - rng.integers(5, 12, known.size), "office"), cents(rng, 600, 0.4, known.size),
        originator=p.account[who[known]], beneficiary=lawyer[known],
    )  # fmt: skip
    price = cents(rng, 90_000, 0.6, who.size)
    payer = np.where(rng.random(who.size) < 0.6, rng.choice(o.lender, who.size), rng.choice(o.person, who.size))
    at = clock.times(rng, day, "office")
    book.add(
        at, price, originator=payer, beneficiary=p.account[who], instrument=Instrument.WIRE,
    )  # fmt: skip
    book.add(
        at + rng.integers(2, 70, who.size) * _HOUR, (price * rng.uniform(0.9, 1.0, who.size)).astype(np.int64),
        originator=p.account[who], beneficiary=lawyer, instrument=Instrument.WIRE,
    )  # fmt: skip


def cars(world: World, book: Book, rng: Rng) -> None:
    """A used car: sold for cash and paid in, or bought with cash drawn in two or three lots."""
    p, clock = world.people, world.clock
    who = _some(world, rng, 0.03)
    bought = rng.random(who.size) < 0.5
    buyer, seller = who[bought], who[~bought]
    lots = np.repeat(buyer, rng.choice([1, 2, 3], buyer.size, p=[0.7, 0.2, 0.1]))
    book.add(
        clock.times(rng, _day(world, rng, lots.size), "branch"), rounded(cents(rng, 3_900, 0.4, lots.size), 100),
        originator=p.account[lots], instrument=Instrument.CASH, channel=Channel.BRANCH, branch=p.branch[lots],
        conductor=lots,
    )  # fmt: skip
    book.add(
        clock.times(rng, _day(world, rng, seller.size), "branch"), rounded(cents(rng, 4_800, 0.5, seller.size), 100),
        beneficiary=p.account[seller], instrument=Instrument.CASH, channel=Channel.BRANCH, branch=p.branch[seller],
        conductor=seller,
    )  # fmt: skip


def loans(world: World, book: Book, rng: Rng) -> None:
    """A lender pays a loan out, and within days nearly all of it goes to a dealer never paid before."""
    p, o, clock = world.people, world.others, world.clock
    who = _some(world, rng, 0.012)
    day = _day(world, rng, who.size)
    sum_ = cents(rng, 17_000, 0.5, who.size)
    at = clock.times(rng, day, "office")
    book.add(at, sum_, originator=rng.choice(o.lender, who.size), beneficiary=p.account[who])
    book.add(
        at + rng.integers(3, 80, who.size) * _HOUR, (sum_ * rng.uniform(0.85, 1.0, who.size)).astype(np.int64),
        originator=p.account[who], beneficiary=rng.choice(o.business, who.size), instrument=Instrument.WIRE,
    )  # fmt: skip


def heirs(world: World, book: Book, rng: Rng) -> None:
    """Some sleeping accounts get an inheritance or a matured deposit, which stays."""
    p, clock = world.people, world.clock
    sleeper = np.flatnonzero(p.asleep)
    sleeper = sleeper[: max(1, sleeper.size // 5)]
    book.add(
        clock.times(rng, _day(world, rng, sleeper.size), "office"), cents(rng, 16_000, 0.6, sleeper.size),
        originator=rng.choice(world.others.lender, sleeper.size), beneficiary=p.account[sleeper],
        instrument=Instrument.WIRE,
    )  # fmt: skip


def last_signs(world: World, book: Book, rng: Rng) -> None:
    """What sleeping accounts did before they fell asleep, half a year or more before the start."""
    p, clock = world.people, world.clock
    sleeper = np.flatnonzero(p.asleep)
    rows = np.repeat(np.arange(sleeper.size), rng.integers(2, 7, sleeper.size))
    day = -rng.integers(190, 380, sleeper.size)[rows] - rng.integers(0, 60, rows.size)
    incoming = rng.random(rows.size) < 0.6
    own, other = p.account[sleeper[rows]], p.friends[sleeper[rows], 0]
    # The friend may have come to this bank only later.
    other = np.where(world.directory.opened[other] <= day, other, rng.choice(world.others.person, rows.size))
    book.add(
        clock.times(rng, day, "online"), cents(rng, 600, 0.7, rows.size),
        originator=np.where(incoming, other, own), beneficiary=np.where(incoming, own, other),
    )  # fmt: skip


def corrections(world: World, rows: Columns) -> Columns:
    """Mark orders that never became a movement and add refunds of card purchases and reversals."""
    rng = world.settings.rng("corrections")
    n = rows["at"].size
    standing = rng.choice(
        [Status.BOOKED, Status.REJECTED, Status.PENDING, Status.CANCELLED, Status.ATTEMPTED], n,
        p=[0.9945, 0.0025, 0.001, 0.001, 0.001],
    )  # fmt: skip
    rows = {**rows, "status": standing.astype(np.int8)}
    chance = rng.random(n)
    booked = rows["status"] == Status.BOOKED
    both = (rows["originator"] != NONE) & (rows["beneficiary"] != NONE)
    card = rows["instrument"] == Instrument.CARD
    # Goods sent back: most were paid by card, some by a transfer to a company elsewhere.
    shop = both & ~card & (world.directory.kind[np.maximum(rows["beneficiary"], 0)] == Kind.BUSINESS)
    shop &= world.directory.customer[np.maximum(rows["beneficiary"], 0)] == NONE
    refunded = np.flatnonzero(booked & ((card & (chance < 0.012)) | (shop & (chance > 0.997))))
    reversed_ = np.flatnonzero(booked & both & ~card & (chance < 0.0004))
    for places, relation, hours in ((refunded, Relation.REFUND, (20, 300)), (reversed_, Relation.REVERSAL, (1, 140))):
        more = take(rows, places)
        more["originator"], more["beneficiary"] = more["beneficiary"], more["originator"]
        more["at"] = more["at"] + rng.integers(*hours, places.size) * _HOUR
        more["relation"] = np.full(places.size, relation, np.int8)
        more["relates_to"] = places.astype(np.int32)
        more["batch"] = np.full(places.size, NONE, np.int32)
        if relation == Relation.REFUND:
            part = np.where(rng.random(places.size) < 0.6, 1.0, rng.uniform(0.2, 0.9, places.size))
            more["amount"] = np.maximum((more["amount"] * part).astype(np.int64), 100)
        rows = join(rows, take(more, more["at"] < world.clock.at(np.array([world.settings.days]), np.zeros(1))[0]))
    return rows


PARTS: Final[tuple[Callable[[World, Book, Rng], None], ...]] = (weddings, houses, cars, loans)
ASLEEP: Final[tuple[Callable[[World, Book, Rng], None], ...]] = (heirs, last_signs)
