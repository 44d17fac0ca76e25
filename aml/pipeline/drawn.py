"""A sample of a run's legs, spread evenly over it, to tell whether the models know such data."""

from __future__ import annotations

from typing import Final

import numpy as np

from aml.engine.engine import LegRows
from aml.learn.features import Legs
from aml.pipeline.scored import Instruments, legs_for_models

MOST: Final = 40_000


class Drawn:
    """Every n-th leg; n doubles whenever the sample grows too large."""

    def __init__(self) -> None:
        self._every = 1
        self._next = 0  # place of the next leg to draw in the next batch
        self._parts: list[Legs] = []
        self._size = 0

    def take(self, rows: LegRows, instruments: Instruments) -> None:
        """Draw from a batch."""
        while rows.tx.size > self._every * MOST // 4:
            self._thin()
        at = np.arange(self._next, rows.tx.size, self._every)
        self._next += at.size * self._every - rows.tx.size
        if at.size:
            some = LegRows(*(column[at] for column in rows))
            self._parts.append(legs_for_models(some, instruments.all))
            self._size += at.size
        while self._size > MOST:
            self._thin()

    def legs(self) -> Legs | None:
        """The sample, None where there is none."""
        if not self._parts:
            return None
        names = Legs.__slots__
        return Legs(*(np.concatenate([getattr(part, name) for part in self._parts]) for name in names))

    def _thin(self) -> None:
        self._every *= 2
        whole = self.legs()
        if whole is not None:
            self._parts = [whole.take(np.arange(0, whole.size, 2))]
            self._size = self._parts[0].size
