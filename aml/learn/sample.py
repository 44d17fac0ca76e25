"""The legs that training learns from: whole transactions, drawn from a stream by a fixed hash, in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError
from aml.learn.features import F64, I64, NAMES, Legs
from aml.learn.peers import ranked
from aml.learn.spec import Fit

U64 = npt.NDArray[np.uint64]
LEAST_LEGS: Final = 1_000
SPARE: Final = 1.25  # kept over what the cold start is expected to leave
HELD: Final = 1.5  # times what is kept may be held before the rest is let go


@dataclass(frozen=True, slots=True)
class Sample:
    """Legs to learn from in sampling order, `transaction` numbered from 0 upwards, and their times in UTC µs."""

    legs: Legs
    t: I64
    transactions: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """Legs with their times and keys; gone: the transaction left, and what was said of it before holds no more."""

    legs: Legs
    t: I64
    key: U64
    gone: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> _Rows:
        return _Rows(self.legs.take(rows), self.t[rows], self.key[rows], self.gone[rows])


class Sampler:
    """Draws `fit.rows` legs from a stream of any length.

    A transaction's place is decided by a hash of its key, so the legs drawn depend on the legs that stand, not on how
    they came. A leg that is given again replaces itself: the engine runs legs anew when older ones arrive late.
    """

    def __init__(self, fit: Fit) -> None:
        self.seen = 0  # legs given that take part, those given again included
        self._fit = fit
        self._keep = math.ceil(SPARE * fit.rows / (1.0 - fit.cold_start))
        self._bound: np.uint64 | None = None  # hash from which on transactions are let go
        self._parts: list[_Rows] = []
        self._held = 0

    def add(self, legs: Legs, t: I64, key: U64) -> None:
        """Take legs. t: [n] UTC µs; key: [n] low half of the transaction's order key; `transaction` is its number in
        the whole stream."""
        use = legs.scored
        self.seen += int(use.sum())
        if self._bound is not None:
            use = use & (scatter(key) < self._bound)
        self._enter(legs.take(use), t[use], key[use].astype(np.uint64), gone=False)

    def drop(self, transactions: I64) -> None:
        """Forget the legs of transactions that left, until they are given again."""
        if transactions.size and self._parts:
            known = np.concatenate([part.legs.transaction for part in self._parts])
            left = np.intersect1d(transactions, known).repeat(2)
            self._enter(_nothing(left), np.zeros(left.size, np.int64), np.zeros(left.size, np.uint64), gone=True)

    def drawn(self) -> Sample:
        """The sample: without the cold start, in sampling order. Raises AmlError where there is too little."""
        rows = self._settled()
        if rows.t.size < LEAST_LEGS:
            raise AmlError(f"too little history to train on: {rows.t.size} legs, {LEAST_LEGS:,} are needed")
        rows = rows.take(rows.t >= int(np.quantile(rows.t, self._fit.cold_start, method="lower")))
        rows = rows.take(np.arange(_whole(rows.key, self._fit.rows)))
        number = np.cumsum(np.append(False, rows.key[1:] != rows.key[:-1]))
        kept = rows.legs
        legs = Legs(kept.x, kept.direction, kept.instrument, kept.sender, kept.receiver, kept.scored, number)
        if not ranked(legs).any():
            raise AmlError("nothing to train on: every leg is a card payment, and those rank last")
        return Sample(legs, rows.t, int(number[-1]) + 1)

    def _enter(self, legs: Legs, t: I64, key: U64, *, gone: bool) -> None:
        self._parts.append(_Rows(_compact(legs), t, key, np.full(t.size, gone)))
        self._held += t.size
        if self._held > HELD * self._keep:
            self._settled()

    def _settled(self) -> _Rows:
        """What stands, in sampling order; what will never be drawn is let go."""
        rows = _joined(self._parts)
        leg = rows.legs.transaction * 2 + rows.legs.direction
        # The last word on each leg counts: of the reversed array the first.
        last = leg.size - 1 - np.unique(leg[::-1], return_index=True)[1]
        rows = rows.take(last[~rows.gone[last]])
        spread = scatter(rows.key)
        rows = rows.take(np.lexsort((rows.legs.direction, rows.t, spread)))
        cut = _whole(rows.key, self._keep)
        if cut < rows.t.size:
            self._bound = scatter(rows.key[cut : cut + 1])[0]
            rows = rows.take(np.arange(cut))
        self._parts, self._held = [rows], rows.t.size
        return rows


def sample(legs: Legs, t: I64, key: U64, fit: Fit) -> Sample:
    """Whole transactions after the cold start, by a fixed hash of their key, up to fit.rows legs."""
    sampler = Sampler(fit)
    sampler.add(legs, t, key)
    return sampler.drawn()


def scatter(key: U64) -> U64:
    """A fixed hash of keys (the finaliser of SplitMix64), for sampling alone."""
    z = key.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _whole(key: U64, most: int) -> int:
    """How many of the rows, equal keys side by side, make up whole transactions within `most`."""
    if key.size <= most:
        return int(key.size)
    cut = most
    while cut > 0 and key[cut] == key[cut - 1]:
        cut -= 1
    return cut


def _compact(legs: Legs) -> Legs:
    # The tails compare in single precision, so that nothing is lost by keeping it.
    x = np.ascontiguousarray(legs.x, dtype=np.float32)
    return Legs(x, legs.direction, legs.instrument, legs.sender, legs.receiver, legs.scored, legs.transaction)


def _nothing(transaction: I64) -> Legs:
    """Rows that only say that both legs of each transaction are gone; each transaction stands there twice."""
    n, codes = transaction.size, np.zeros(transaction.size, np.int8)
    direction = (np.arange(n) % 2).astype(np.int8)
    empty: F64 = np.zeros((n, len(NAMES)))
    return Legs(empty, direction, codes, codes, codes, np.zeros(n, np.bool_), transaction.astype(np.int64))


def _joined(parts: list[_Rows]) -> _Rows:
    if not parts:
        return _Rows(_compact(_nothing(np.zeros(0, np.int64))), *(np.zeros(0, k) for k in (np.int64, np.uint64, bool)))
    each = [(p.legs.x, p.legs.direction, p.legs.instrument, p.legs.sender, p.legs.receiver, p.legs.scored,
             p.legs.transaction, p.t, p.key, p.gone) for p in parts]
    columns = [np.concatenate(column) for column in zip(*each, strict=True)]
    return _Rows(Legs(*columns[:7]), *columns[7:])
