"""Laundering by shape: fans, cycles, chains, layers. Sizes, spans and gaps as measured on published attempts.

Within a shape one side banks here and the other elsewhere, so that our bank sees every row although nearly all of
them cross banks: of a fan mostly the centre, now and then the leaves; of a path every second account. A quarter and
more of the attempts are degenerate: one or two rows, in which no rule can see a shape.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from aml.feed.simulate.codes import Instrument
from aml.feed.simulate.plant.stage import HOUR, Move, Stage

# full: the attempt must not be degenerate (one or two rows), as the first of each typology is not.

_CENTRE_OURS: Final = 0.85
_LONGEST_GAP: Final = 63  # hours between two hops


def _centre(stage: Stage, full: bool) -> bool:
    """Whether the side that an alert would be about banks here."""
    return full or stage.chance(_CENTRE_OURS)


def _size(stage: Stage, full: bool, share: float, small: int, low: int, high: int) -> int:
    """How many of something: from `low` to `high`, in that share of attempts 1 to `small` (degenerate)."""
    if not full and stage.chance(share):
        return stage.count(1, small)
    return stage.count(low, high)


def fan_in(stage: Stage, full: bool) -> list[Move]:
    """Many payers, one account; later most of it leaves, or not."""
    size = _size(stage, full, 0.15, 2, 6 if full else 3, 16)
    centre_ours = _centre(stage, full)
    centre = stage.member(centre_ours)
    begin, span, rail, leg = stage.begin(8), stage.hours(48, 110), stage.rail(), stage.sum(8_000, 0.9)
    moves = [
        Move(begin + stage.between(0, span), stage.near(leg, 0.3), stage.member(not centre_ours), centre, rail)
        for _ in range(size)
    ]
    if centre_ours and stage.chance(0.6):
        last, total = max(m.at for m in moves), sum(m.amount for m in moves)
        moves += stage.emptied(
            centre, total * stage.between(0.6, 1.0), last, last + stage.hours(4, 90), stage.count(1, 3),
            [stage.outsider(), stage.exchange()], rail,
        )  # fmt: skip
    return moves


def fan_out(stage: Stage, full: bool) -> list[Move]:
    """One account, many payees; what is spread came in shortly before, or lay there."""
    size = _size(stage, full, 0.2, 2, 6 if full else 3, 16)
    centre_ours = _centre(stage, full)
    centre = stage.member(centre_ours)
    begin, span, rail, leg = stage.begin(9), stage.hours(40, 100), stage.rail(), stage.sum(7_000, 0.9)
    start = begin + stage.hours(12, 40)
    moves = [
        Move(start + stage.between(0, span), stage.near(leg, 0.3), centre, stage.member(not centre_ours), rail)
        for _ in range(size)
    ]
    if centre_ours and stage.chance(0.65):
        total = sum(m.amount for m in moves)
        for _ in range(parts := stage.count(1, 2)):
            funding = total / parts * stage.between(0.95, 1.15)
            moves.append(
                Move(begin + stage.hours(0, 12), funding, stage.outsider(), centre, Instrument.WIRE, shape=False)
            )
    return moves


def round_trip(stage: Stage, full: bool) -> list[Move]:
    """A cycle: the money comes home through a few others; some rings have two members and turn several times."""
    if not full and stage.chance(0.12):
        return _there_and_back(stage)
    size = 2 if not full and stage.chance(0.25) else stage.skewed(4.5, 0.55, 3, 11)
    ring = [stage.member(ours=k % 2 == 0) for k in range(size)]
    return _along(stage, [*ring, ring[0]], stage.sum(11_000, 0.8), 12, 1.1, stage.begin(6), stage.rail())


def _there_and_back(stage: Stage) -> list[Move]:
    ours, other = stage.person(), stage.outsider(0)
    at, moves = stage.begin(24) + stage.hours(8, 20), []
    for _ in range(stage.count(3, 4)):
        amount = stage.sum(4_000, 0.4)
        moves.append(Move(at, amount, ours, other, Instrument.INSTANT))
        at += stage.hours(20, 80)
        moves.append(Move(at, amount * stage.between(0.85, 1.0), other, ours, Instrument.INSTANT))
        at += stage.hours(12, 60)
    return moves


def chain(stage: Stage, full: bool) -> list[Move]:
    """From one account to the next, each hop within hours or days."""
    hops = stage.skewed(3, 0.65, 3 if full else 1, 10)
    first_ours = stage.chance(0.5)
    path = [stage.member(ours=(k % 2 == 0) == first_ours) for k in range(hops + 1)]
    return _along(stage, path, stage.sum(11_000, 0.8), 11, 1.1, stage.begin(5), stage.rail())


def rapid_chain(stage: Stage, full: bool) -> list[Move]:
    """The whole path within an hour or so, by instant payments."""
    hops = stage.count(3, 6)
    first_ours = stage.chance(0.5)
    path = [stage.member(ours=(k % 2 == 0) == first_ours) for k in range(hops + 1)]
    at, amount = stage.moment(stage.begin(1)), stage.sum(9_000, 0.6)
    moves = []
    for sender, receiver in pairwise(path):
        moves.append(Move(at, amount, sender, receiver, Instrument.INSTANT))
        at, amount = at + stage.between(2, 25) / 1440, amount * stage.between(0.9, 1.0)
    return moves


def _along(
    stage: Stage, path: list[int], amount: float, gap: float, sigma: float, begin: float, rail: Instrument
) -> list[Move]:
    """One payment per step of the path, the gap between two log-normal around so many hours."""
    at, moves = begin + stage.between(0, 1), []
    for sender, receiver in pairwise(path):
        moves.append(Move(at, amount, sender, receiver, rail))
        at += min(stage.sum(gap, sigma), _LONGEST_GAP) * HOUR * stage.hurry
        amount *= stage.between(0.91, 1.0) if stage.chance(0.8) else stage.between(1.0, 1.09)
    return moves


def scatter_gather(stage: Stage, full: bool) -> list[Move]:
    """One spreads it over middlemen, they bring it together again at the end."""
    size = _size(stage, full, 0.15, 1, 3 if full else 2, 15)
    ends_ours = _centre(stage, full)
    origin, end = stage.member(ends_ours), stage.member(ends_ours)
    begin, rail, leg = stage.begin(7), stage.rail(), stage.sum(8_000, 0.7)
    moves = []
    for _ in range(size):
        middle, amount = stage.member(not ends_ours), stage.near(leg, 0.3)
        at = begin + stage.hours(0, 44)
        moves.append(Move(at, amount, origin, middle, rail))
        moves.append(Move(at + stage.hours(10, 88), amount * stage.between(0.84, 1.0), middle, end, rail))
    return moves


def gather_scatter(stage: Stage, full: bool) -> list[Move]:
    """Many pay one, who then pays many."""
    centre_ours = _centre(stage, full)
    centre = stage.member(centre_ours)
    begin, rail, leg = stage.begin(10), stage.rail(), stage.sum(8_000, 0.8)
    into = _size(stage, full, 0.12, 1, 4 if full else 2, 13)
    out = 1 if into == 1 else stage.count(4 if full else 2, 13)
    span = stage.hours(70, 110)
    moves = [
        Move(begin + stage.between(0, span), stage.near(leg, 0.3), stage.member(not centre_ours), centre, rail)
        for _ in range(into)
    ]
    total = sum(m.amount for m in moves) * stage.between(0.75, 1.02)
    shares = stage.rng.dirichlet([6.0] * out)
    later = begin + span + stage.hours(0, 14)
    moves += [
        Move(later + stage.hours(0, 85), total * float(share), centre, stage.member(not centre_ours), rail)
        for share in shares
    ]
    return moves


def bipartite(stage: Stage, full: bool) -> list[Move]:
    """A few pay a few others, crosswise."""
    rows = stage.skewed(4, 0.75, 4 if full else 1, 13)
    payers = [stage.member(ours=True) for _ in range(max(1, round(rows**0.5)))]
    payees = [stage.member(ours=False) for _ in range(-(-rows // len(payers)))]
    begin, span, rail, leg = stage.begin(4), stage.hours(16, 54), stage.rail(), stage.sum(9_000, 0.8)
    pairs = [(payer, payee) for payee in payees for payer in payers][:rows]
    swapped = stage.chance(0.4)
    return [
        Move(begin + stage.between(0, span), stage.near(leg, 0.3), *((b, a) if swapped else (a, b)), rail)
        for a, b in pairs
    ]


def stack(stage: Stage, full: bool) -> list[Move]:
    """Two layers of payments: what a few pay to a few goes on to a few others."""
    width = _size(stage, full, 0.2, 1, 3 if full else 2, 7)
    middle_ours = stage.chance(0.6)
    first, last = ([stage.member(not middle_ours) for _ in range(width)] for _ in range(2))
    middle = [stage.member(middle_ours) for _ in range(width)]
    begin, rail, leg = stage.begin(6), stage.rail(), stage.sum(9_000, 0.7)
    moves = []
    for k in range(width):
        for other in {k, (k + 1) % width} if stage.chance(0.6) else {k}:
            at, amount = begin + stage.hours(0, 36), stage.near(leg, 0.25)
            moves.append(Move(at, amount, first[k], middle[other], rail))
            moves.append(Move(at + stage.hours(18, 60), stage.near(amount, 0.06), middle[other], last[k], rail))
    return moves
