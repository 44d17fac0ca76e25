"""Where an attempt is staged: who takes part, when, and the rows it leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from aml.feed.simulate.codes import NONE, Channel, Instrument, Kind
from aml.feed.simulate.directory import RISKY
from aml.feed.simulate.world import MACHINES, World

HOUR: Final = 1 / 24
_AGAIN: Final = 0.04  # of draws are of somebody who took part before
_SETTLED: Final = 30  # days an account has been open before it is used


@dataclass(frozen=True, slots=True)
class Move:
    """One planted row: `at` in days from the start (local), amount in dollars, ends as account numbers.

    shape: whether it belongs to the shape the typology is named for, not to what feeds or empties it.
    """

    at: float
    amount: float
    originator: int = NONE
    beneficiary: int = NONE
    instrument: Instrument = Instrument.ACH
    channel: Channel = Channel.ONLINE
    conductor: int = NONE
    branch: int = NONE
    terminal: int = NONE
    bought: bool = False
    shape: bool = True


@dataclass(slots=True)
class Deck:
    """Accounts in the order in which attempts draw them; `place` counts those drawn so far."""

    cards: list[int]
    place: int = 0


class Stage:
    """The cast and the calendar that one attempt after another draws from; hardly anybody is drawn twice."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.days = world.settings.days
        # In a span of a few weeks attempts are hurried, so that they fit.
        self.hurry = min(1.0, self.days / 30)
        people, firms = world.people, world.companies
        awake = ~people.asleep
        self._settled = self._deck(people.account[awake & (people.opened < -_SETTLED)])
        self._young = self._deck(people.account[awake & (people.opened > -75) & (people.opened < self.days - 8)])
        self._sleepers = self._deck(people.account[people.asleep][max(1, int(people.asleep.sum()) // 5) :])
        self._firms = self._deck(firms.account[(firms.opened < -_SETTLED) & ~firms.are("processor", "club")])
        self._outsiders = self._deck(world.others.person)
        self._outside_firms = self._deck(world.others.business)

    def _deck(self, cards: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Deck:
        return Deck([int(card) for card in self.rng.permutation(cards)])

    def _draw(self, deck: Deck) -> int:
        """The next of a deck, or now and then one that took part before."""
        if deck.place and self.chance(_AGAIN):
            return deck.cards[int(self.rng.integers(0, min(deck.place, len(deck.cards))))]
        deck.place += 1
        return deck.cards[(deck.place - 1) % len(deck.cards)]

    # who

    def person(self) -> int:
        """A customer of ours, a person, for some time."""
        return self._draw(self._settled)

    def firm(self) -> int:
        """A company of ours."""
        return self._draw(self._firms)

    def customer(self, firms: float = 0.15) -> int:
        """A person of ours, or with the given chance a company."""
        return self.firm() if self.chance(firms) else self.person()

    def young(self) -> int:
        """A person whose account is new."""
        return self._draw(self._young) if self._young.cards else self.person()

    @property
    def sleeps(self) -> bool:
        """Whether an account that slept for long is left to be woken."""
        return self._sleepers.place < len(self._sleepers.cards)

    def sleeper(self) -> int:
        """A person whose account has slept for long; nobody wakes twice."""
        self._sleepers.place += 1
        return self._sleepers.cards[self._sleepers.place - 1]

    def outsider(self, firms: float = 0.12) -> int:
        """An account at another bank of the country."""
        return self._draw(self._outside_firms if self.chance(firms) else self._outsiders)

    def member(self, ours: bool) -> int:
        """A participant of a graph: a customer of ours or not; 3 in 100 of the others bank here too."""
        return self.customer() if ours or self.chance(0.03) else self.outsider()

    def abroad(self, risky: bool = False) -> int:
        """An account in another country."""
        o, d = self.world.others, self.world.directory
        pool = o.risky if risky else np.concatenate([o.family, o.trader])
        assert not risky or set(d.country[pool]) <= set(RISKY.tolist())
        return int(self.rng.choice(pool))

    def exchange(self) -> int:
        """A crypto exchange's account."""
        return int(self.rng.choice(self.world.others.exchange))

    def stranger(self) -> int:
        """A person at the counter who is no customer, or now and then is one."""
        if self.chance(0.15):
            return self.person()
        return int(self.rng.choice(self.world.strangers))

    def opened(self, account: int) -> int:
        """Day on which an account of ours was opened."""
        return int(self.world.directory.opened[account])

    # when

    def begin(self, length: float, not_before: float = 0.0, not_after: float | None = None) -> float:
        """Midnight of a day from which `length` days fit into the span; the first days are left to ordinary life."""
        early = max(min(10.0, self.days / 4), not_before)
        late = self.days - length * self.hurry - 1
        late = max(late if not_after is None else min(late, not_after), early)
        return float(int(self.rng.uniform(early, late + 1e-9)))

    def hours(self, low: float, high: float) -> float:
        """A duration between so many hours, in days."""
        return float(self.rng.uniform(low, high)) * HOUR * self.hurry

    def moment(self, day: float, first: float = 8, last: float = 20) -> float:
        """A moment of the day, by default of the waking hours."""
        return int(day) + float(self.rng.uniform(first, last)) * HOUR

    def working(self, day: float) -> int:
        """That day or the next working day."""
        rolled = int(self.world.clock.roll(np.array([min(int(day), self.days - 1)]))[0])
        return rolled if rolled < self.days else int(day)

    def counter(self, day: float) -> float:
        """A moment in the counter hours of that day or the next working day."""
        return self.moment(self.working(day), 9, 16.8)

    # what

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)

    def count(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.rng.integers(low, high + 1))

    def skewed(self, median: float, sigma: float, low: int, high: int) -> int:
        """A whole number, log-normal around its median, kept within bounds."""
        return int(np.clip(round(median * np.exp(self.rng.normal(0, sigma))), low, high))

    def sum(self, median: float, sigma: float = 0.7) -> float:
        """A log-normal amount in dollars."""
        return float(median * np.exp(self.rng.normal(0, sigma)))

    def near(self, amount: float, share: float = 0.1) -> float:
        """The amount, give or take."""
        return amount * float(self.rng.uniform(1 - share, 1 + share))

    def between(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def rail(self, rails: tuple[Instrument, ...] = (Instrument.ACH, Instrument.WIRE, Instrument.INSTANT)) -> Instrument:
        """By which instrument an attempt runs, mostly the first."""
        shares = np.array([0.6, 0.25, 0.15])[: len(rails)]
        return rails[int(self.rng.choice(len(rails), p=shares / shares.sum()))]

    def places(self, n: int, home: int | None = None) -> list[int]:
        """`n` different branches, the home branch first if it is named."""
        drawn = [int(b) for b in self.rng.choice(self.world.branches, min(n, self.world.branches), replace=False)]
        return drawn if home is None else ([home, *(b for b in drawn if b != home)])[:n]

    def machines(self, n: int) -> list[int]:
        """`n` different machines of a neighbourhood."""
        total = self.world.branches * MACHINES
        first = self.count(0, total - 1)
        return [(first + 3 * k) % total for k in range(n)]

    def home(self, account: int) -> int:
        """The branch of a customer of ours."""
        n = self.world.people.number
        branches = self.world.people.branch if account < n else self.world.companies.branch
        return int(branches[account if account < n else account - n])

    # rows

    def paid_in(self, day: float, amount: float, account: int, branch: int, conductor: int) -> Move:
        """Cash over the counter into an account."""
        amount = round(amount, -1) if amount >= 100 else amount
        return Move(
            self.counter(day),
            amount,
            NONE,
            account,
            Instrument.CASH,
            Channel.BRANCH,
            conductor=conductor,
            branch=branch,
        )

    def drawn(self, day: float, amount: float, account: int, branch: int) -> Move:
        """Cash over the counter out of an account."""
        return Move(
            self.counter(day), round(amount, -1), account, NONE, Instrument.CASH, Channel.BRANCH,
            conductor=account, branch=branch,
        )  # fmt: skip

    def emptied(
        self, account: int, total: float, begin: float, end: float, parts: int, payees: list[int], rail: Instrument
    ) -> list[Move]:
        """So much leaves the account in a few payments between two moments; not part of the shape."""
        shares = self.rng.dirichlet(np.full(parts, 6.0))
        times = sorted(self.between(begin, max(end, begin + HOUR)) for _ in range(parts))
        return [
            Move(at, total * float(share), account, payees[k % len(payees)], rail, shape=False)
            for k, (at, share) in enumerate(zip(times, shares, strict=True))
        ]

    def is_person(self, account: int) -> bool:
        """Whether a person holds the account."""
        return bool(self.world.directory.kind[account] == Kind.PERSON)


def beside(move: Move) -> Move:
    """The same row as one that only feeds or empties the shape."""
    return replace(move, shape=False)
