"""One-sided tails: how rare a value this high is among a leg's peers, t = min(−ln P(X ≥ x), cap), summed over features.

A table keeps, per group of peers and feature, sorted training values ("knots") with the tail of each. Between two
kept values the tail moves by at most the chosen step; with step 0 every distinct value is kept and the tail is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.tables import inner, jit
from aml.learn.features import F32, F64, FEATURES, Legs, Matrix
from aml.learn.peers import CELLS, cells, ranked

WIDTH: Final = len(FEATURES)
ALL: Final = 0  # the group of all peers; UNRANKED legs have none
UNRANKED: Final = -1
ABREAST: Final = 8  # legs searched for, or walking a tree, together, so that their loads overlap
BLOCK: Final = 512  # legs that pass one table or tree before the next: it stays in the nearest cache
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
    where = np.zeros(BLOCK, np.int64)
    block = np.zeros((BLOCK, WIDTH), np.float32)
    i = 0
    while i < group.size:
        i, filled = next_block(group, i, where)
        tails_block(x, group, where, filled, start, knots, tail, block)
        for k in range(filled):
            out[where[k]] = block[k]


@inner
def next_block(group: Any, i: int, where: Any) -> tuple[int, int]:
    """Fill where[] with the next ranked legs from i on; returns where to go on, and how many there are.

    What is left of the last eight repeats the last leg, so that eight can always be searched for together.
    """
    filled = 0
    while i < group.size and filled < where.size:
        if group[i] != UNRANKED:
            where[filled] = i
            filled += 1
        i += 1
    for k in range(filled, min(where.size, filled + ABREAST)):
        where[k] = where[filled - 1] if filled > 0 else 0
    return i, filled


@jit
def tails_block(x: Any, group: Any, where: Any, filled: int, start: Any, knots: Any, tail: Any, out: Any) -> None:
    """Tails of the legs where[0:filled], out[filled, 18]: feature by feature, eight searches side by side.

    Each finds the first of the feature's sorted knots that is ≥ the value, without a branch; NaN counts as low.
    """
    at, left, value = np.zeros(ABREAST, np.int32), np.zeros(ABREAST, np.int32), np.zeros(ABREAST, np.float32)
    for j in range(WIDTH):
        for k in range(0, filled, ABREAST):
            most = 0
            for a in range(ABREAST):
                i = where[k + a]
                at[a], left[a], value[a] = start[group[i], j, 0], start[group[i], j, 1], np.float32(x[i, j])
                most = max(most, left[a])
            while most > 1:
                most -= most >> 1
                for a in range(ABREAST):
                    half = left[a] >> 1
                    # With one knot left half is 0, and the knot before it does not count.
                    at[a] += half if knots[at[a] + half - 1] < value[a] and half > 0 else 0
                    left[a] -= half
            for a in range(ABREAST):
                out[k + a, j] = tail[at[a]]


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
