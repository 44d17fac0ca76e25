"""Laundering among ordinary life: which attempts, where they stand, and what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from aml.feed.simulate.book import Book, Columns
from aml.feed.simulate.plant import accounts, cash, graphs
from aml.feed.simulate.plant.stage import Move, Stage
from aml.feed.simulate.world import World

Planter = Callable[[Stage, bool], list[Move]]

# Typology -> who stages it and how often, relative to the others.
TYPOLOGIES: Final[dict[str, tuple[Planter, float]]] = {
    "kept_under": (cash.kept_under, 1.5), "slow_structuring": (cash.slow_structuring, 0.6),
    "same_unit": (cash.same_unit, 1.0), "micro_atm": (cash.micro_atm, 0.6), "smurfing": (cash.smurfing, 1.2),
    "structured_withdrawals": (cash.structured_withdrawals, 1.0),
    "sub_record_abroad": (cash.sub_record_abroad, 0.6), "cash_for_instruments": (cash.cash_for_instruments, 0.5),
    "non_cash_structuring": (cash.non_cash_structuring, 0.6), "pass_through": (accounts.pass_through, 1.5),
    "chain": (graphs.chain, 1.5), "rapid_chain": (graphs.rapid_chain, 1.0), "round_trip": (graphs.round_trip, 1.5),
    "fan_in": (graphs.fan_in, 1.5), "fan_out": (graphs.fan_out, 1.5), "scatter_gather": (graphs.scatter_gather, 1.5),
    "gather_scatter": (graphs.gather_scatter, 1.5), "bipartite": (graphs.bipartite, 1.3), "stack": (graphs.stack, 1.3),
    "funnel": (cash.funnel, 0.6), "young_mule": (accounts.young_mule, 0.8), "u_turn": (accounts.u_turn, 0.6),
    "crypto_in_out": (accounts.crypto_in_out, 0.6), "dormant_wakes": (accounts.dormant_wakes, 0.8),
    "out_of_profile": (accounts.out_of_profile, 0.6), "risky_corridor": (accounts.risky_corridor, 0.6),
    "round_amounts": (accounts.round_amounts, 0.5),
}  # fmt: skip
_ROWS_PER_ATTEMPT: Final = 9.5
_ALL_FROM: Final = 100_000  # rows of ordinary life from which every typology is planted
DEGENERATE: Final = 2
_WAKING, _INSTEAD = "dormant_wakes", "pass_through"  # where nobody sleeps any more
_COPIED: Final = (
    "originator", "beneficiary", "instrument", "channel", "conductor", "branch", "terminal", "bought",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    """Rows of all attempts and, row by row, what they are: place in TYPOLOGIES, number of the attempt, rows of its
    shape."""

    rows: Columns
    typology: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    attempt: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    shape_rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def plant(world: World) -> Planted:
    """Stage the attempts of the settings; ordinary life is read, never changed."""
    rng = world.settings.rng("plant")
    stage, book = Stage(world, rng), Book()
    names = list(TYPOLOGIES)
    facts: list[tuple[int, int, int]] = []
    for number, (wanted, full) in enumerate(_bill(world, rng)):
        name = wanted if wanted != _WAKING or stage.sleeps else _INSTEAD
        moves = _fitting(stage, TYPOLOGIES[name][0], full)
        _write(world, book, moves)
        facts += [(names.index(name), number, sum(m.shape for m in moves))] * len(moves)
    typology, attempt, shape = np.array(facts, dtype=np.int64).reshape(-1, 3).T
    return Planted(book.columns(), typology, attempt, shape)


def attempts(settings_attempts: int | None, transactions: int) -> int:
    """How many attempts: as asked for, or about one row in a thousand."""
    if settings_attempts is not None:
        return settings_attempts
    wanted = round(transactions / 1_000 / _ROWS_PER_ATTEMPT)
    return max(wanted, len(TYPOLOGIES) if transactions >= _ALL_FROM else 1)


def _bill(world: World, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """Typology of each attempt and whether it must be whole: first each once, then by their weights."""
    names = list(TYPOLOGIES)
    total = attempts(world.settings.attempts, world.settings.transactions)
    for k in rng.permutation(len(names))[:total]:
        yield names[k], True
    weights = np.array([weight for _, weight in TYPOLOGIES.values()])
    for k in rng.choice(len(names), max(0, total - len(names)), p=weights / weights.sum()):
        yield names[k], False


def _fitting(stage: Stage, planter: Planter, full: bool) -> list[Move]:
    """An attempt in the order of its moves; drawn again while somebody pays himself or a whole one is degenerate."""
    while True:
        moves = sorted(planter(stage, full), key=lambda move: move.at)
        whole = sum(move.shape for move in moves) > DEGENERATE or not full
        if whole and all(move.originator != move.beneficiary for move in moves):
            return moves


def _write(world: World, book: Book, moves: list[Move]) -> None:
    """Into the book; what would lie beyond the end of the span is brought to its last hours, in the same order."""
    moment = np.array([move.at for move in moves])
    end = world.settings.days - 0.002 * np.arange(len(moves), 0, -1)
    moment = np.minimum(moment, end)
    day = np.floor(moment).astype(np.int64)
    at = world.clock.at(day, (moment - day) * 86_400)
    # A night when the clock is put back or forward must not turn the order of the moves.
    at = np.maximum.accumulate(at - np.arange(at.size) * 1_000) + np.arange(at.size) * 1_000
    book.add(
        at, np.array([max(round(move.amount * 100), 100) for move in moves], dtype=np.int64),
        **{
            name: np.array([getattr(move, name) for move in moves])
            for name in _COPIED
        },
    )  # fmt: skip
