"""The eighteen leg features by name, in the engine's order, each with its theme and its words; up is suspicious."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Matrix = npt.NDArray[np.floating[Any]]
CREDIT: Final = 0
DEBIT: Final = 1


class Theme(StrEnum):
    """What a feature speaks of; an explanation names the strongest of each."""

    AMOUNT = "amount"
    NOVELTY = "novelty"
    FLOW = "flow"
    PACE = "pace"
    HISTORY = "history"


class Unit(StrEnum):
    """How the stored value becomes a number that people read."""

    LN_MONEY = "ln money"
    DEVIATIONS = "standard deviations"
    LN_RATIO = "ln ratio"
    YES = "yes or no"
    MINUS_LN_COUNT = "minus ln of 1 + count"
    COUNT = "count"
    SHARE = "share"
    LN_HOURS = "ln hours"
    LN_MONEY_1 = "ln of 1 + money"


@dataclass(frozen=True, slots=True)
class Feature:
    """One measured fact of a leg.

    credit, debit: the phrase for a leg of that direction, with the holes {value}, {share} (of the peers that lie
    below) and {peers}.
    """

    name: str
    unit: Unit
    theme: Theme
    credit: str
    debit: str

    def words(self, direction: int, value: float, share: str, peers: str) -> str:
        """The phrase for a leg, e.g. "larger than 99.6 % of person-to-person wires"."""
        phrase = self.debit if direction == DEBIT else self.credit
        return phrase.format(value=readable(self.unit, value), share=share, peers=peers)


def readable(unit: Unit, value: float) -> str:
    """The stored value as people read it: "12,500", "3", "40 hours"."""
    match unit:
        case Unit.LN_MONEY:
            return f"{math.exp(value):,.0f}"
        case Unit.LN_MONEY_1:
            return f"{math.expm1(value):,.0f}"
        case Unit.MINUS_LN_COUNT:
            return f"{round(math.expm1(-value)):,}"
        case Unit.SHARE:
            return f"{100 * value:.0f} %"
        case Unit.LN_RATIO:
            return f"{math.exp(value):,.1f}"
        case Unit.LN_HOURS:
            return hours(math.exp(value))
        case Unit.DEVIATIONS:
            return f"{value:.1f}"
        case _:
            return f"{value:.0f}"


def hours(count: float) -> str:
    """A span in its most readable unit."""
    if count < 1:
        return f"{60 * count:.0f} minutes"
    return f"{count:.0f} hours" if count < 72 else f"{count / 24:.0f} days"


def _same(name: str, unit: Unit, theme: Theme, words: str) -> Feature:
    return Feature(name, unit, theme, words, words)


FEATURES: Final[tuple[Feature, ...]] = (
    _same("ln_amount", Unit.LN_MONEY, Theme.AMOUNT, "larger than {share} of {peers}"),
    _same("z_own", Unit.DEVIATIONS, Theme.AMOUNT,
          "further above the holder's own usual amount than {share} of {peers}"),
    _same("over_max", Unit.LN_RATIO, Theme.AMOUNT,
          "{value} times the holder's largest so far, more than {share} of {peers}"),
    Feature("over_flow", Unit.LN_RATIO, Theme.AMOUNT,
            "{value} times what went out in four days, more than {share} of {peers}",
            "{value} times what came in within four days, more than {share} of {peers}"),
    Feature("pair_new", Unit.YES, Theme.NOVELTY,
            "first payment from this payer, unlike {share} of {peers}",
            "first payment to this payee, unlike {share} of {peers}"),
    Feature("pair_rarity", Unit.MINUS_LN_COUNT, Theme.NOVELTY,
            "{value} earlier payments from this payer, fewer than {share} of {peers}",
            "{value} earlier payments to this payee, fewer than {share} of {peers}"),
    Feature("new_1d", Unit.COUNT, Theme.NOVELTY,
            "{value} new payers in the day before, more than {share} of {peers}",
            "{value} new payees in the day before, more than {share} of {peers}"),
    Feature("new_4d", Unit.COUNT, Theme.NOVELTY,
            "{value} new payers in the four days before, more than {share} of {peers}",
            "{value} new payees in the four days before, more than {share} of {peers}"),
    Feature("new_share_4d", Unit.SHARE, Theme.NOVELTY,
            "{value} of the payments in of four days from new payers, more than {share} of {peers}",
            "{value} of the payments out of four days to new payees, more than {share} of {peers}"),
    Feature("ln_hours_since", Unit.LN_HOURS, Theme.HISTORY,
            "{value} since money last came in, longer than {share} of {peers}",
            "{value} since money last went out, longer than {share} of {peers}"),
    _same("balance", Unit.LN_RATIO, Theme.FLOW, "as much out as in over four days, closer than {share} of {peers}"),
    _same("through", Unit.LN_MONEY_1, Theme.FLOW,
          "{value} both in and out within four days, more than {share} of {peers}"),
    _same("burst_count", Unit.LN_RATIO, Theme.PACE,
          "{value} times the holder's usual number a day, more than {share} of {peers}"),
    _same("burst_sum", Unit.LN_RATIO, Theme.PACE,
          "{value} times the holder's usual sum a day, more than {share} of {peers}"),
    Feature("reverse_seen", Unit.YES, Theme.HISTORY,
            "the payer has been paid by the holder before, unlike {share} of {peers}",
            "the payee has paid the holder before, unlike {share} of {peers}"),
    Feature("fits", Unit.YES, Theme.FLOW,
            "nearly the amount that the payer had just received, unlike {share} of {peers}",
            "nearly the amount of a credit of the four days before, unlike {share} of {peers}"),
    _same("depth", Unit.COUNT, Theme.FLOW, "the money has come {value} hops, more than {share} of {peers}"),
    _same("similar", Unit.COUNT, Theme.PACE,
          "{value} of the last eight of much the same amount, more than {share} of {peers}"),
)
NAMES: Final[tuple[str, ...]] = tuple(f.name for f in FEATURES)


@dataclass(frozen=True, slots=True)
class Legs:
    """Legs to score, or to learn from, as columns of one length n.

    x: [n, 18] float64 or float32, C-contiguous, the features in the order of FEATURES; direction: 0 credit, 1 debit;
    instrument, sender, receiver: codes of Instrument and of the segments (person 0 … unknown 7; any other code: no
    such party); scored: false where a leg takes no part; transaction: [n] number of the transaction within the batch,
    shared by its legs.
    """

    x: Matrix
    direction: I8
    instrument: I8
    sender: I8
    receiver: I8
    scored: npt.NDArray[np.bool_]
    transaction: I64

    @property
    def size(self) -> int:
        """Number of legs."""
        return self.direction.size

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Legs:
        """The given legs, in the given order."""
        return Legs(
            np.ascontiguousarray(self.x[rows]), self.direction[rows], self.instrument[rows], self.sender[rows],
            self.receiver[rows], self.scored[rows], self.transaction[rows],
        )
