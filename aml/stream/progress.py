"""How far a stream has come: progress per source partition and institution, from what blocks say, and the watermarks.

The watermark of an institution is the least progress of its source partitions and never falls. A partition that was
read to its end does not hold it back while the others come no more than one hour of event time further: an idle
partition is not a slow one. What counts of the others is what the broker had from them when that end was seen: more may
have come to both since. All of it is a function of the blocks alone, so every shard comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from aml.engine.identity import NO_TIME
from aml.pipeline.watermark import RANK, Progress, advance

HOUR: Final = 3_600_000_000
NEVER: Final = -(1 << 62)


class SourceProgress(Progress):
    """Progress with one source per source partition, told by blocks instead of record by record."""

    def __init__(self) -> None:
        super().__init__(0)
        self._ended = np.empty((0, 0), np.int64)  # how far the others were when the partition was last at its end
        self._at = np.empty(0, np.int64)  # latest broker timestamp by source partition

    def reach(
        self, source: int, tenants: np.ndarray, t: np.ndarray, keys: np.ndarray, reached_at: int, ended_at: int
    ) -> None:  # fmt: skip
        """Take a range of a source partition: the highest readable times by tenant number, each with its key.

        reached_at: its latest broker timestamp; ended_at: up to which it has nothing more, 0 where more is known.
        """
        self._widen(source + 1, int(tenants.max(initial=-1)) + 1)
        # The marks are this class's own: the kernel only keeps the highest.
        spare, before = self.marks.copy(), np.empty(t.size, np.int64)
        advance(self._heaps, self._keys, self._counts, spare, source, tenants.astype(np.int32), t, keys, before)
        reached = self._reached()
        furthest = reached.max(axis=0, initial=NO_TIME)
        self._at[source] = max(self._at[source], reached_at)
        there = reached[self._at <= ended_at].max(axis=0, initial=NO_TIME)
        self._ended[source] = there if ended_at else np.full(there.size, NEVER)
        self._mark(reached, furthest)

    def expect(self, sources: int) -> None:
        """How many source partitions there are: those that said nothing yet hold the watermarks back."""
        self._widen(sources, 0)

    def _reached(self) -> np.ndarray:
        full = self._counts == RANK
        least = self._heaps[:, :, 0] if self._heaps.size else np.zeros(self._counts.shape, np.int64)
        return np.where(full, least, NO_TIME)

    def _mark(self, reached: np.ndarray, furthest: np.ndarray) -> None:
        excused = (self._ended > NEVER) & (furthest <= np.maximum(self._ended, NEVER) + HOUR)
        holding = np.where(excused & (reached < furthest), furthest, reached)
        self.marks = np.maximum(self.marks, holding.min(axis=0, initial=np.iinfo(np.int64).max))

    def _widen(self, sources: int, tenants: int) -> None:
        self._make_room(tenants)
        more = sources - self._counts.shape[0]
        wide = self._counts.shape[1]
        if more > 0:
            self._heaps = np.concatenate([self._heaps, np.zeros((more, wide, RANK), np.int64)])
            self._keys = np.concatenate([self._keys, np.zeros((more, wide, RANK), np.uint64)])
            self._counts = np.concatenate([self._counts, np.zeros((more, wide), np.int32)])
            self._at = np.concatenate([self._at, np.zeros(more, np.int64)])
        ended = np.full(self._counts.shape, NEVER)
        ended[: self._ended.shape[0], : self._ended.shape[1]] = self._ended
        self._ended = ended

    def state(self) -> dict[str, np.ndarray]:
        """As `Progress.state`, and where partitions were at their ends."""
        return {**super().state(), "ended": self._ended.copy(), "at": self._at.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> SourceProgress:
        """The progress whose `state` this is."""
        self = cls()
        self._heaps, self._keys = state["heaps"].copy(), state["keys"].copy()
        self._counts, self.marks = state["counts"].copy(), state["marks"].copy()
        self._ended, self._at = state["ended"].copy(), state["at"].copy()
        return self

    @classmethod
    def moved(cls, state: Mapping[str, np.ndarray], numbers: np.ndarray) -> SourceProgress:
        """The progress whose `state` this is, every tenant under another number: `numbers` by the one it had, -1 for
        one of whom no time is known."""
        self = cls()
        self._widen(state["counts"].shape[0], int(numbers.max(initial=-1)) + 1)
        timed = np.flatnonzero(numbers[: state["marks"].size] >= 0)
        known = numbers[timed]
        for name, held in (("heaps", self._heaps), ("keys", self._keys), ("counts", self._counts),
                           ("ended", self._ended)):  # fmt: skip
            held[:, known] = state[name][:, timed]
        self.marks[known] = state["marks"][timed]
        self._at = state["at"].copy()
        return self
