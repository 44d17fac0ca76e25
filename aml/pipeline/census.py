"""How many customers of which kind moved money, and over which span: what alerts are counted against.

A host writes the census of its run among the database's counters (`RunStore.set_counters`); `aml evaluate` reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.arrays import grown
from aml.engine.intern import I32
from aml.engine.layout import DAY, NONE, PERSON, UNKNOWN
from aml.learn.outcome import Population
from aml.pipeline.detection import Step
from aml.pipeline.holders import HolderBook

CUSTOMERS: Final = "customers:"
SPAN: Final = "span"
BEGUN: Final = "begun"
KINDS: Final = ("person", "business")  # retail customers, and all others
EDGE: Final = 0.001  # of the movements at either end that do not make a span: strays lie years before the others


def kind_of(segment: str) -> str:
    """Retail or not, of a segment's name."""
    return KINDS[0] if segment in ("person", "unknown") else KINDS[1]


class Census:
    """Follows the steps of a detection; the kind of a holder is that of its latest leg."""

    def __init__(self) -> None:
        self._segment = np.empty(0, np.int8)
        self._at = np.empty(0, np.int64)
        self._days: Counter[int] = Counter()

    def step(self, step: Step) -> None:
        """Take the new movements of a batch and their legs."""
        columns, rows = step.arrivals.columns, step.applied.rows
        day, number = np.unique(columns["t"].astype(np.int64) // DAY, return_counts=True)
        self._days.update(dict(zip(day.tolist(), number.tolist(), strict=True)))
        new = np.flatnonzero(rows.tx >= step.arrivals.first_transaction)
        place = rows.tx[new] - step.arrivals.first_transaction
        debit = rows.side[new] == 1
        self._meet(
            np.where(debit, columns["debit_holder"][place], columns["credit_holder"][place]),
            np.where(debit, rows.sender[new], rows.receiver[new]).astype(np.int8),
            columns["t"][place].astype(np.int64),
        )

    def counters(self, holders: HolderBook) -> dict[str, dict[str, int]]:
        """What to write by institution: how many of its customers of each kind moved money, and the span.

        Holders at other institutions may be subjects, if the party table has them, but are nobody's customers here.
        """
        tenant, here = (holders.texts.frame.get_column(n).to_numpy() for n in ("institution", "party_institution"))
        segment = np.full(len(holders), NONE, np.int8)
        known = self._segment[: len(holders)]  # it grows ahead of them
        segment[: known.size] = known
        moved = (segment != NONE) & holders.ours & (tenant == here)
        retail = (segment == PERSON) | (segment == UNKNOWN)
        begun, span = self._span()
        return {
            str(name): {
                f"{CUSTOMERS}{KINDS[0]}": int(np.count_nonzero(moved & retail & (tenant == name))),
                f"{CUSTOMERS}{KINDS[1]}": int(np.count_nonzero(moved & ~retail & (tenant == name))),
                BEGUN: begun,
                SPAN: span,
            }
            for name in np.unique(tenant[moved])
        }

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything, for a snapshot."""
        days = np.array(sorted(self._days.items()), np.int64).reshape(-1, 2)
        return {"segment": self._segment.copy(), "at": self._at.copy(), "days": days}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take over what `state` gave."""
        self._segment, self._at = state["segment"].copy(), state["at"].copy()
        self._days = Counter(dict(state["days"].tolist()))

    def _meet(self, holder: I32, segment: npt.NDArray[np.int8], t: npt.NDArray[np.int64]) -> None:
        need = int(holder.max(initial=-1)) + 1
        self._segment, self._at = grown(self._segment, need, NONE), grown(self._at, need, -(1 << 62))
        order = np.argsort(t, kind="stable")
        order = order[t[order] >= self._at[holder[order]]]
        # Of several legs of one holder the last assignment stays, which is the latest leg.
        self._segment[holder[order]], self._at[holder[order]] = segment[order], t[order]

    def _span(self) -> tuple[int, int]:
        """Beginning (UTC µs) and length of the days on which there were movements, strays apart."""
        if not self._days:
            return 0, 0
        days = np.array(sorted(self._days), np.int64)
        share = np.cumsum([self._days[day] for day in days.tolist()]) / self._days.total()
        first, last = np.searchsorted(share, [EDGE, 1.0 - EDGE])
        return int(days[first]) * DAY, int(days[last] - days[first] + 1) * DAY


def population(counters: Mapping[tuple[str, str], int]) -> Population:
    """The census of all institutions of a database, from its counters; nobody where no host wrote one."""
    customers = {kind: sum(v for (_, n), v in counters.items() if n == f"{CUSTOMERS}{kind}") for kind in KINDS}
    begun, span = (max((v for (_, n), v in counters.items() if n == name), default=0) for name in (BEGUN, SPAN))
    return Population(customers, span, begun)
