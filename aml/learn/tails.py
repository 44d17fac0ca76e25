"""One-sided tails: how rare a value this high is among a leg's peers, t = min(−ln P(X ≥ x), cap), summed over features.

A table keeps, per group of peers and feature, sorted training values ("knots") with the tail of each. Between two
kept values the tail moves by at most the chosen step; with step 0 every distinct value is kept and the tail is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.tables import jit
from aml.learn.features import F32, F64, FEATURES, Legs, Matrix
from aml.learn.peers import CELLS, cells, ranked

WIDTH: Final = len(FEATURES)
ALL: Final = 0  # the group of all peers; UNRANKED legs have none
UNRANKED: Final = -1
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TailTable:
    """group_of: [CELLS] group of each cell (0 where it was too small); start: [groups, 18, 2] first knot and number
    of knots; knots: values, each run ends in +inf; tail: −ln P(X ≥ x), capped, for x in (previous knot, knot]."""

    group_of: npt.NDArray[np.int16]
    start: I32
    knots: F32
    tail: F32
    rows: I32

    def groups(self, legs: Legs) -> npt.NDArray[np.int16]:
        """[n] group of each leg, UNRANKED where the models do not look."""
        return np.where(ranked(legs), self.group_of[cells(legs)], np.int16(UNRANKED))


def tails(table: TailTable, legs: Legs) -> F32:
    """[n, 18] tails of each leg's features among its peers, 0 for an unranked leg."""
    out = np.zeros((legs.size, WIDTH), dtype=np.float32)
    tails_into(legs.x, table.groups(legs), table.start, table.knots, table.tail, out)
    return out


@jit
def tails_into(x: Any, group: Any, start: Any, knots: Any, tail: Any, out: Any) -> None:
    """Fill out[n, 18]; rows of unranked legs are left as they are."""
    for i in range(group.size):
        if group[i] >= 0:
            for j in range(x.shape[1]):
                at, n = start[group[i], j]
                out[i, j] = tail[first_not_below(knots, at, n, np.float32(x[i, j]))]


@jit
def first_not_below(knots: Any, at: int, n: int, value: Any) -> int:
    """Index of the first of n sorted knots from `at` that is ≥ value (a search without branches); NaN counts as low."""
    while n > 1:
        half = n >> 1
        at = at + half if knots[at + half - 1] < value else at
        n -= half
    return at


def fit_tails(legs: Legs, most_values: int, least_rows: int, cap: float, step: float) -> TailTable:
    """Learn the tables. Legs must come in sampling order: a group keeps its first `most_values` legs.

    least_rows: smaller groups are judged among all; cap, step: of the tail, in nats. Raises ValueError without a leg.
    """
    use = ranked(legs)
    if not use.any():
        raise ValueError("no leg to learn from")
    cell = cells(legs)
    members = [np.flatnonzero(use)]
    group_of = np.zeros(CELLS, dtype=np.int16)
    for c in range(CELLS):
        rows = np.flatnonzero(use & (cell == c))
        if rows.size >= least_rows:
            group_of[c] = len(members)
            members.append(rows)
    start = np.zeros((len(members), WIDTH, 2), dtype=np.int32)
    knots: list[F32] = []
    tail: list[F32] = []
    at = 0
    for g, rows in enumerate(members):
        for j in range(WIDTH):
            kept, rare = thin(*exact_tail(legs.x[rows[:most_values], j]), cap, step)
            start[g, j] = at, kept.size
            at += kept.size
            knots.append(kept)
            tail.append(rare)
    sizes = np.array([min(r.size, most_values) for r in members], dtype=np.int32)
    return TailTable(group_of, start, np.concatenate(knots), np.concatenate(tail), sizes)


def exact_tail(values: Matrix) -> tuple[F32, F64]:
    """Distinct values and +inf, with −ln((N − number below + ½) / (N + 1)) for x up to each."""
    distinct, counts = np.unique(values.astype(np.float32), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    n = values.size
    return np.append(distinct, np.float32(np.inf)), -np.log((n - below + 0.5) / (n + 1.0))


def thin(knots: F32, tail: F64, cap: float, step: float) -> tuple[F32, F32]:
    """Of the knots whose tail falls into one step keep the last, which speaks for all of them."""
    tail = np.minimum(tail, cap)
    keep = np.zeros(tail.size, dtype=np.bool_)
    if step > 0:
        bucket = np.floor(tail / step)
        keep[:-1] = bucket[:-1] != bucket[1:]
    else:
        keep[:] = True
    keep[0] = keep[-1] = True
    return knots[keep], tail[keep].astype(np.float32)
